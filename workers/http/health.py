"""For whoever runs this: is the process alive, can it work, how much does it do. Not routed by the gateway."""

from fastapi import APIRouter, Response

from workers import metrics
from workers.db import DatabaseUnavailable
from workers.http.context import ServicesDep
from workers.problems import Problem, unavailable

router = APIRouter(tags=["operations"], include_in_schema=False)


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(services: ServicesDep) -> dict[str, str]:
    """The database is there with migrations and queue; 503 says what is missing."""
    try:
        missing = await services.db.missing()
    except DatabaseUnavailable as error:
        raise unavailable(f"database: {error}", retry_after=2) from error
    if missing == ["jobs"]:
        raise Problem(503, "not_ready", "The job queue is not installed.", "Run `avenue jobs install`.")
    if missing:
        raise Problem(503, "not_ready", "Migrations are missing.", "Not callable: " + ", ".join(sorted(missing)))
    return {"status": "ready"}


@router.get("/metrics")
async def prometheus(services: ServicesDep) -> Response:
    """This process's counters and the database's gauges."""
    rows = []
    up = 1
    try:
        rows = await services.db.rows("metrics")
    except DatabaseUnavailable:
        up = 0
    rows.append({"name": "avenue_database_up", "labels": None, "value": up})
    return Response(metrics.render(rows), media_type=metrics.CONTENT_TYPE)
