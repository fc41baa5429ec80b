"""What Prometheus sees of this process. What the database knows comes from private.metrics() at scrape time."""

from collections.abc import Iterable
from math import nan
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST

WEBHOOKS = Counter("avenue_webhook_deliveries", "Provider deliveries by outcome.", ["provider", "outcome"])
WEBHOOK_BATCH = Histogram(
    "avenue_webhook_batch_events", "Events that shared one commit.", buckets=(1, 2, 4, 8, 16, 32, 64, 128)
)
REQUESTS = Histogram(
    "avenue_http_request_seconds",
    "Time to answer a function call.",
    ["route", "method", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
JOBS = Counter("avenue_jobs", "Jobs run by outcome.", ["task", "outcome"])
JOB_SECONDS = Histogram(
    "avenue_job_seconds", "Time a job took.", ["task"], buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60)
)
AUDIT_FINDINGS = Gauge(
    "avenue_audit_findings", "Findings of the last audit of the books; anything but 0 needs a person."
)
COUNTER_DRIFT = Gauge("avenue_counter_drift", "Counters that differed from the last recount; expected: none.")
# Neither is known before this process has looked: 0 would say that all is well.
AUDIT_FINDINGS.set(nan)
COUNTER_DRIFT.set(nan)
PROVIDER_DIFFERENCE = Gauge(
    "avenue_provider_difference_cents", "Provider balance minus what our books say it should be.", ["provider"]
)


class _DatabaseGauges(Collector):
    def __init__(self, rows: Iterable[dict[str, Any]]) -> None:
        self._rows = list(rows)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        families: dict[str, GaugeMetricFamily] = {}
        for row in self._rows:
            labels: dict[str, Any] = row["labels"] or {}
            name: str = row["name"]
            if name not in families:
                families[name] = GaugeMetricFamily(name, "From private.metrics().", labels=sorted(labels))
            families[name].add_metric([str(labels[key]) for key in sorted(labels)], float(row["value"] or 0))
        return families.values()


def render(database_rows: Iterable[dict[str, Any]]) -> bytes:
    """This process's metrics followed by the database's, in the text exposition format."""
    database = CollectorRegistry(auto_describe=False)
    database.register(_DatabaseGauges(database_rows))
    return generate_latest() + generate_latest(database)
