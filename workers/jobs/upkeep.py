"""Work that time brings: releasing earnings, erasing files, keeping the queue itself in order."""

from uuid import UUID

import psycopg
from procrastinate.jobs import Status

from workers import logs
from workers.db import Function
from workers.erasing import erase_files
from workers.jobs.queue import queue, task
from workers.metrics import COUNTER_DRIFT
from workers.services import Services
from workers.storage import StorageUnavailable

log = logs.get(__name__)

RELEASE_BATCH = 1000
ERASE_BATCH = 500
SERVICE_BATCH = 100
SERVICE_STEPS: tuple[Function, ...] = (
    "advance_service_orders",
    "complete_late_extras",
    "expire_resolutions",
    "expire_offers",
    "remind_service_buyers",
    "rate_services",
)
RESPONSE_BATCH = 200
KEEP_FAILED_JOBS_HOURS = 30 * 24
DRIFT_LOGGED = 100


@task("release_earnings", retry=False)
async def release_earnings(services: Services) -> None:
    """Earnings held long enough become available, batch by batch."""
    total = 0
    while released := await services.db.call("release_matured_earnings", RELEASE_BATCH):
        total += released
    if total:
        log.info("earnings released", sales=total)


@task("assume_deliveries", retry=False)
async def assume_deliveries(services: Services) -> None:
    """Tracked parcels nothing was heard of for long enough count as delivered: what was sold is done."""
    total = 0
    while assumed := await services.db.call("assume_deliveries", RELEASE_BATCH):
        total += assumed
    if total:
        log.info("deliveries assumed", parcels=total)


@task("advance_service_orders", retry=False)
async def advance_service_orders(services: Services) -> None:
    """What time has done to service orders, offers and proposals is written down, and buyers are reminded."""
    for step in SERVICE_STEPS:
        total = 0
        while done := await services.db.call(step, SERVICE_BATCH):
            total += done
        if total:
            log.info("service orders advanced", step=step, rows=total)


@task("erase_unused_delivery_files", retry=False)
async def erase_unused_delivery_files(services: Services) -> None:
    """Delete files that were uploaded for a service order and never sent."""
    await erase_files(services, "unused_delivery_files", ERASE_BATCH)


@task("expire_refund_requests", retry=False)
async def expire_refund_requests(services: Services) -> None:
    """Requests for a refund that nobody answered in time end."""
    while await services.db.call("expire_refund_requests", None):
        pass


@task("publish_reviews", retry=False)
async def publish_reviews(services: Services) -> None:
    """Blind reviews whose time has come are official: they count, and whom they are about is told."""
    while await services.db.call("publish_reviews_due"):
        pass


@task("tell_versions", retry=False)
async def tell_versions(services: Services) -> None:
    """Owners hear of new versions of what they have, some at a time."""
    while await services.db.call("tell_versions"):
        pass


@task("erase_user_files")
async def erase_user_files(services: Services, user_id: str) -> None:
    """Delete what a deleted account uploaded, as far as the database says: files that buyers own stay."""
    await erase_files(services, "user_files_to_erase", UUID(user_id), ERASE_BATCH)


@task("advance_account")
async def advance_account(services: Services, user_id: str) -> None:
    """What follows a ban, a change of visibility or the end of an account, step by step until nothing is left."""
    steps = 1
    while not await services.db.call("advance_account", UUID(user_id)):
        steps += 1
    log.info("account followed", user_id=user_id, steps=steps)


@task("resume_account_changes", retry=False)
async def resume_account_changes(services: Services) -> None:
    """Safety net: changes whose job was lost, gave up or met somebody in the way are taken up again."""
    for row in await services.db.rows("account_changes_due", ERASE_BATCH):
        try:
            await advance_account(services, str(row["user_id"]))
        except psycopg.errors.LockNotAvailable:
            log.info("account is busy", user_id=str(row["user_id"]))


@task("erase_unsent_attachments", retry=False)
async def erase_unsent_attachments(services: Services) -> None:
    """Delete attachments that were never sent or whose message was deleted for everyone."""
    await erase_files(services, "unsent_attachments", ERASE_BATCH)


@task("resume_erasures", retry=False)
async def resume_erasures(services: Services) -> None:
    """Safety net: erasures whose job was lost or gave up are taken up again."""
    for row in await services.db.rows("file_erasures_due", ERASE_BATCH):
        try:
            await erase_user_files(services, str(row["user_id"]))
        except StorageUnavailable as error:
            log.error("erasure not resumed", user_id=str(row["user_id"]), error=str(error))


@task("retry_stalled_jobs", retry=False)
async def retry_stalled_jobs(services: Services) -> None:
    """Jobs of workers that died are started again; periodic ones will come round by themselves."""
    for job in await queue.job_manager.get_stalled_jobs(seconds_since_heartbeat=services.settings.stalled_seconds):
        log.warning("job of a dead worker", task=job.task_name, job=job.id, args=job.task_kwargs)
        if (job.task_name, "") in queue.periodic_registry.periodic_tasks:
            await queue.job_manager.finish_job(job, Status.FAILED, delete_job=True)
        else:
            await queue.job_manager.retry_job(job)


@task("fold_counts", retry=False)
async def fold_counts(services: Services) -> None:
    """Shares of counters whose adder failed or was killed; mostly there are none."""
    if folded := await services.db.call("fold_counts"):
        log.warning("pending counts of failed transactions added", counters=folded)


@task("recount", retry=False)
async def recount(services: Services) -> None:
    """Compare every counter with what it counts and raise the alarm for each difference."""
    drift = await services.db.rows("recount")
    COUNTER_DRIFT.set(len(drift))
    for row in drift[:DRIFT_LOGGED]:
        log.error("counter differs from a recount", **{key: str(value) for key, value in row.items()})
    log.info("counters recounted", drift=len(drift))


@task("update_trending_tags", retry=False)
async def update_trending_tags(services: Services) -> None:
    """Uses of tags grow older; what many use now comes to the top."""
    await services.db.call("update_trending_tags")


@task("update_trending_items", retry=False)
async def update_trending_items(services: Services) -> None:
    """Views and sales grow older; what takes off comes to the top."""
    await services.db.call("update_trending_items")


@task("fold_views", retry=False)
async def fold_views(services: Services) -> None:
    """Views and what else was noted are added to their items and days, batch by batch."""
    while await services.db.call("fold_views"):
        pass


@task("tell_wishers", retry=False)
async def tell_wishers(services: Services) -> None:
    """What became cheaper or available is told to those who wish for it."""
    while await services.db.call("tell_wishers"):
        pass


@task("follow_bundles", retry=False)
async def follow_bundles(services: Services) -> None:
    """Bundles are in the shop while all their parts can be bought and their sellers agree."""
    while await services.db.call("follow_bundles"):
        pass


@task("forget_title_words", retry=False)
async def forget_title_words(services: Services) -> None:
    """Words that no title on sale has any more are not guessed at any longer."""
    await services.db.call("forget_title_words")


@task("update_response_times", retry=False)
async def update_response_times(services: Services) -> None:
    """How long sellers of services take to answer, of each once a day."""
    while await services.db.call("update_response_times", RESPONSE_BATCH) == RESPONSE_BATCH:
        pass


@task("forget_old_jobs", retry=False)
async def forget_old_jobs(services: Services) -> None:
    """Jobs that gave up are kept for a month; successful ones are deleted at once."""
    await queue.job_manager.delete_old_jobs(
        nb_hours=KEEP_FAILED_JOBS_HOURS, include_failed=True, include_cancelled=True, include_aborted=True
    )
