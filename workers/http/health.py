"""For whoever runs this: is the process alive, can it work, how much does it do. Not routed by the gateway."""

from typing import Any

import psycopg
from fastapi import APIRouter, Request, Response

from workers import logs, metrics
from workers.db import DatabaseUnavailable
from workers.http.context import ServicesDep
from workers.problems import Problem

log = logs.get(__name__)
router = APIRouter(tags=["operations"], include_in_schema=False)
# The database's gauges come from one kind of process only, or each would be counted twice.
gauges = APIRouter(tags=["operations"], include_in_schema=False)
counters = APIRouter(tags=["operations"], include_in_schema=False)


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request, services: ServicesDep) -> dict[str, str]:
    """The database is there with migrations and queue; 503 says what is missing."""
    try:
        missing = await services.db.missing()
    except DatabaseUnavailable as error:
        raise Problem.unavailable(f"database: {error}", retry_after=2) from error
    if not missing and (unpublished := getattr(request.app.state, "unpublished", None)):
        missing = [unpublished]
    if missing:
        raise Problem("not_ready", " ".join(missing))
    return {"status": "ready"}


@gauges.get("/metrics")
async def prometheus(services: ServicesDep) -> Response:
    """This process's counters and the database's gauges."""
    rows: list[dict[str, Any]] = []
    try:
        rows = await services.db.rows("metrics")
    except (DatabaseUnavailable, psycopg.Error) as error:
        log.error("no metrics from the database", error=str(error))
    rows.append({"name": "avenue_database_up", "labels": None, "value": bool(rows)})
    return Response(metrics.render(rows), media_type=metrics.CONTENT_TYPE)


@counters.get("/metrics")
async def own_counters() -> Response:
    """This process's counters."""
    return Response(metrics.render([]), media_type=metrics.CONTENT_TYPE)
