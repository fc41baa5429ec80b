"""The worker process: run jobs until told to stop, through restarts of the database."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psycopg
import uvicorn
from procrastinate import exceptions

from workers import logs
from workers.db import DatabaseUnavailable, translated
from workers.http.app import OperationsServer, create_operations
from workers.jobs import schedule
from workers.jobs.queue import QUEUES, observed, queue
from workers.services import Services, open_services
from workers.settings import Settings

log = logs.get(__name__)

GRACE_SECONDS = 20.0
LONGEST_PAUSE_SECONDS = 5.0


async def work(settings: Settings) -> None:
    """Run jobs until SIGTERM or SIGINT; running jobs get GRACE_SECONDS, then they are put back."""
    schedule.register(settings)
    stopping = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stopping.set)
    # A job may hold a lock on one connection while it calls on another; the queue itself needs a few.
    connections = len(QUEUES) * 2 * settings.job_concurrency + 4
    async with open_services(settings, "avenue-jobs", connections=connections) as services, _operations(services):
        await queue.open_async(services.db.pool)
        pause = 0.5
        while not stopping.is_set():
            pause = 0.5 if await _work_until(stopping, services) else min(pause * 2, LONGEST_PAUSE_SECONDS)
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), pause)
    log.info("worker stopped")


@asynccontextmanager
async def _operations(services: Services) -> AsyncIterator[None]:
    """Answer /healthz, /readyz and /metrics meanwhile, if a port is set."""
    settings = services.settings
    if settings.metrics_port is None:
        yield
        return
    config = uvicorn.Config(
        create_operations(services),
        host=settings.http_host,
        port=settings.metrics_port,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
    )
    server = OperationsServer(config)
    task = asyncio.create_task(server.serve())
    try:
        yield
    finally:
        server.should_exit = True
        await task


async def _work_until(stopping: asyncio.Event, services: Services) -> bool:
    """One worker's life: until asked to stop, or until the database goes away. False when it could not even start."""
    settings = services.settings
    try:
        if missing := await services.db.missing():
            log.error("the database is not ready", missing=missing)
            return False
    except DatabaseUnavailable as error:
        log.error("no database", error=str(error))
        return False
    workers = [
        asyncio.create_task(
            queue.run_worker_async(
                name="avenue",
                queues=[name],
                concurrency=settings.job_concurrency,
                install_signal_handlers=False,
                shutdown_graceful_timeout=GRACE_SECONDS,
                delete_jobs="successful",
                update_heartbeat_interval=settings.stalled_seconds / 3,
                stalled_worker_timeout=settings.stalled_seconds,
                additional_context={"services": services},
                worker_middleware=[observed],
            )
        )
        for name in QUEUES
    ]
    log.info("worker started", concurrency=settings.job_concurrency, queues=QUEUES)
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait({*workers, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    for worker in workers:
        if not worker.done():
            # procrastinate takes this as a request to finish what is running.
            worker.cancel()
    for worker in workers:
        try:
            async with translated():
                await worker
        except asyncio.CancelledError:
            pass
        except (exceptions.ConnectorException, psycopg.Error, DatabaseUnavailable) as error:
            log.error("worker lost the database", error=str(error.__cause__ or error))
    return True
