"""The procrastinate application, and how our tasks get onto it."""

import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec

import procrastinate
from procrastinate.jobs import Job
from procrastinate.types import TimeDeltaParams

from workers import logs
from workers.db import BusinessError
from workers.metrics import JOB_SECONDS, JOBS
from workers.providers import ProviderConflict
from workers.services import Services

log = logs.get(__name__)

P = ParamSpec("P")
Task = Callable[Concatenate[Services, P], Awaitable[None]]

# Opened with the process's own pool, see work.py.
queue = procrastinate.App(connector=procrastinate.PsycopgConnector())

# The tasks as plain functions, by name: what `avenue jobs run` offers.
TASKS: dict[str, Callable[..., Awaitable[None]]] = {}


class Backoff(procrastinate.BaseRetryStrategy):
    """Exponential with jitter, up to an hour, for about two days: longer than a provider's bad day.

    An answer that will not change by asking again (a business error, a conflict) is not retried but fails the job.
    """

    FIRST_SECONDS = 2.0
    LONGEST_SECONDS = 3600.0
    ATTEMPTS = 60

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> procrastinate.RetryDecision | None:
        if isinstance(exception, BusinessError | ProviderConflict) or job.attempts >= self.ATTEMPTS:
            return None
        wait = min(self.FIRST_SECONDS * 2 ** min(job.attempts, 20), self.LONGEST_SECONDS)
        delay: TimeDeltaParams = {"seconds": int(wait * random.uniform(0.75, 1.25)) or 1}
        return procrastinate.RetryDecision(retry_in=delay)


# What waits for pictures, or for who makes them: money never waits for it.
SLOW = "slow"
QUEUES = ("default", SLOW)


def task(name: str, *, retry: bool = True, on: str = "default") -> Callable[[Task[P]], Task[P]]:
    """Register a function as the task `name`, the name SQL enqueues under. It gets the services and the job's args.

    `on`: the queue; SQL names the same one.
    """

    def register(function: Task[P]) -> Task[P]:
        async def run(context: procrastinate.JobContext, /, **args: Any) -> None:
            # Periodic jobs are handed the tick they are for; ours look at the rows instead.
            args.pop("timestamp", None)
            await function(context.additional_context["services"], **args)  # type: ignore[call-arg]

        queue.task(name=name, queue=on, pass_context=True, retry=Backoff() if retry else False)(run)
        TASKS[name] = function
        return function

    return register


async def observed(call_next: Callable[[], Awaitable[Any]], context: procrastinate.JobContext, worker: Any) -> Any:
    """Worker middleware: counts, times and logs each job."""
    name, started, outcome = context.job.task_name, time.perf_counter(), "failed"
    job_log = log.bind(task=name, job=context.job.id, attempt=context.job.attempts + 1)
    try:
        result = await call_next()
        outcome = "done"
        return result
    except Exception as error:
        # Without traceback: most are a provider or a database that is away for a moment.
        job_log.warning("job failed", error=f"{type(error).__name__}: {error}", args=context.job.task_kwargs)
        raise
    finally:
        seconds = time.perf_counter() - started
        JOBS.labels(name, outcome).inc()
        JOB_SECONDS.labels(name).observe(seconds)
        job_log.debug("job", outcome=outcome, ms=round(seconds * 1000, 1))
