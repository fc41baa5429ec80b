"""What runs when."""

from workers import logs
from workers.jobs import audit, events, mail, media, payments, payouts, photos, refunds, upkeep, webinars  # noqa: F401  registers their tasks
from workers.jobs.queue import queue
from workers.settings import Settings

log = logs.get(__name__)


def crons(settings: Settings) -> dict[str, str]:
    """Cron lines in UTC by task; a sixth field counts seconds. Sweepers look twice in the time after which they act."""
    return {
        "enqueue_due_events": "* * * * *",
        "cancel_expired_payments": "* * * * *",
        "resume_payouts": _every(settings.payout_resume_seconds / 2),
        "resume_refunds": "* * * * *",
        "retry_stalled_jobs": _every(settings.stalled_seconds / 2),
        "release_earnings": "*/5 * * * *",
        "expire_refund_requests": "*/5 * * * *",
        "assume_deliveries": "*/10 * * * *",
        "advance_service_orders": "* * * * *",
        "erase_unused_delivery_files": "59 4 * * *",
        "reconcile_payments": "*/10 * * * *",
        "read_missing_fees": "*/10 * * * *",
        "check_accounts": "*/10 * * * *",
        "read_provider_events": "37 * * * *",
        "forget_event_persons": "11 4 * * *",
        "publish_reviews": "* * * * *",
        "tell_versions": "* * * * *",
        "fold_counts": "* * * * *",
        "recount": "31 3 * * *",
        "resume_erasures": "23 * * * *",
        "resume_account_changes": "* * * * *",
        "erase_unsent_attachments": "53 4 * * *",
        "resume_media": "* * * * *",
        "erase_uploads": "*/10 * * * *",
        "expire_media": "27 * * * *",
        "erase_stray_copies": "43 4 * * *",
        "update_trending_tags": "*/15 * * * *",
        "update_trending_items": "*/10 * * * *",
        "fold_views": _every(5),
        "tell_wishers": _every(10),
        "follow_bundles": _every(10),
        "forget_title_words": "13 4 * * *",
        "update_response_times": "49 * * * *",
        "deliver_mails": _every(settings.mail_sweep_seconds),
        "prepare_digests": "7 * * * *",
        "check_photos": "* * * * *",
        "send_photos": _every(5),
        "sweep_webinars": "* * * * *",
        "grant_recordings": "* * * * *",
        "deliver_invitations": _every(settings.mail_sweep_seconds),
        "follow_time_zones": "7 5 * * *",
        "build_archives": _every(10),
        "expire_photo_jobs": "41 * * * *",
        "expire_credits": "*/10 * * * *",
        "nightly_audit": "17 3 * * *",
        "forget_old_jobs": "47 3 * * *",
    }


def register(settings: Settings) -> None:
    """Put the schedule onto the queue."""
    if settings.smtp_url is None:
        log.warning("AVENUE_SMTP_URL is not set: nothing is mailed")
    for name, cron in crons(settings).items():
        # One waiting job of each is enough, however long nobody worked.
        queue.periodic_registry.register_task(
            queue.tasks[name], cron=cron, periodic_id="", configure_kwargs={"queueing_lock": name}
        )


def _every(seconds: float) -> str:
    if seconds >= 60:
        return "* * * * *"
    return f"* * * * * */{max(1, int(seconds))}"
