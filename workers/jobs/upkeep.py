"""Work that time brings: releasing earnings, erasing files, keeping the queue itself in order."""

from uuid import UUID

from procrastinate.jobs import Status

from workers import logs
from workers.jobs.queue import queue, task
from workers.services import Services

log = logs.get(__name__)

RELEASE_BATCH = 1000
KEEP_FAILED_JOBS_HOURS = 30 * 24


@task("release_earnings", retry=False)
async def release_earnings(services: Services) -> None:
    """Earnings held long enough become available, batch by batch."""
    total = 0
    while released := await services.db.call("release_matured_earnings", RELEASE_BATCH):
        total += released
    if total:
        log.info("earnings released", sales=total)


@task("erase_user_files")
async def erase_user_files(services: Services, user_id: str) -> None:
    """Delete everything a deleted account uploaded, in every bucket."""
    # As a UUID: an empty or crooked id would name a folder above the user's own.
    folder = str(UUID(user_id))
    for bucket in await services.storage.buckets():
        paths = await services.storage.files_under(bucket, folder)
        if paths:
            await services.storage.remove(bucket, paths)
            log.info("files erased", user_id=folder, bucket=bucket, count=len(paths))


@task("retry_stalled_jobs", retry=False)
async def retry_stalled_jobs(services: Services) -> None:
    """Jobs of workers that died are started again; periodic ones will come round by themselves."""
    for job in await queue.job_manager.get_stalled_jobs(seconds_since_heartbeat=services.settings.stalled_seconds):
        log.warning("job of a dead worker", task=job.task_name, job=job.id, args=job.task_kwargs)
        if (job.task_name, "") in queue.periodic_registry.periodic_tasks:
            await queue.job_manager.finish_job(job, Status.FAILED, delete_job=True)
        else:
            await queue.job_manager.retry_job(job)


@task("forget_old_jobs", retry=False)
async def forget_old_jobs(services: Services) -> None:
    """Jobs that gave up are kept for a month; successful ones are deleted at once."""
    await queue.job_manager.delete_old_jobs(
        nb_hours=KEEP_FAILED_JOBS_HOURS, include_failed=True, include_cancelled=True, include_aborted=True
    )
