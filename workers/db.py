"""The database as the workers see it: a set of functions in schema private, called by name.

Connections are in autocommit mode, so one call is one statement, one transaction and one round trip.
"""

import select
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal, LiteralString, get_args

import psycopg
from procrastinate.schema import SchemaManager
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

# The contract with sql/: the type checker refuses a name that is not here, /readyz reports one the database lacks.
Function = Literal[
    "account_balances",
    "account_changes_due",
    "accounts_to_check",
    "advance_account",
    "advance_service_orders",
    "apply_read_event",
    "approve_payout",
    "archive_built",
    "archive_to_build",
    "archives_to_build",
    "archives_to_erase",
    "assume_deliveries",
    "attach_payment_intent",
    "attach_payment_ref",
    "audit_books",
    "authorize_archive",
    "authorize_demo_photo",
    "authorize_download",
    "authorize_media",
    "cancel_for_host",
    "claim_gift_mail",
    "claim_invitation",
    "claim_mail",
    "claim_payout",
    "claim_photos",
    "claim_refund",
    "complete_late_extras",
    "complete_payout",
    "delay_provider_call",
    "enqueue_due_webhook_events",
    "events_read_until",
    "expire_credits",
    "expire_media",
    "expire_offers",
    "expire_photo_jobs",
    "expire_photos",
    "expire_refund_requests",
    "expire_resolutions",
    "expire_unstarted_payments",
    "fail_payout",
    "file_erasures_due",
    "fold_counts",
    "fold_views",
    "follow_bundles",
    "follow_time_zones",
    "forget_mails",
    "forget_old_event_persons",
    "forget_title_words",
    "gift_mailed",
    "grant_recordings",
    "invitation_failed",
    "invitation_sent",
    "keep_estimated_fee",
    "list_payouts",
    "list_refunds",
    "list_webhook_events",
    "mail_failed",
    "mail_sent",
    "media_failed",
    "media_files_to_erase",
    "media_purpose",
    "media_ready",
    "media_to_process",
    "metrics",
    "money_waiting",
    "pay_refund_outside",
    "payment_attempt",
    "payment_cancelled",
    "payment_state",
    "payment_unknown",
    "payments_missing_fee",
    "payments_to_cancel",
    "payments_to_reconcile",
    "payouts_to_resume",
    "pending_media",
    "photo_attempt",
    "photo_delivered",
    "photo_not_sent",
    "photo_sent",
    "photo_unknown",
    "photos_to_check",
    "picture_remade",
    "pictures_to_remake",
    "prepare_digests",
    "prepare_onboarding",
    "process_webhook_event",
    "provider_position",
    "publish_media",
    "publish_reviews_due",
    "publish_workers",
    "purposes_of_address",
    "rate_services",
    "record_account_status",
    "record_provider_fee",
    "record_refund",
    "recount",
    "refunds_to_resume",
    "release_matured_earnings",
    "remind_service_buyers",
    "remind_webinar",
    "replay_webhook_event",
    "retry_refund",
    "set_payout_destination",
    "settle_batch",
    "settle_photo",
    "show_remade",
    "start_payment",
    "store_webhook_events",
    "stray_media_files",
    "sweep_offers",
    "sweep_webinars",
    "tell_expiring_credits",
    "tell_versions",
    "tell_wishers",
    "unsent_attachments",
    "unsubscribe",
    "unused_delivery_files",
    "update_response_times",
    "update_trending_items",
    "update_trending_tags",
    "uploads_to_erase",
    "use_pass",
    "user_files_to_erase",
    "webhook_event_payload",
    "webinars_without_host",
]
FUNCTIONS: tuple[str, ...] = get_args(Function)

# The last step of the installed library's schema, by file name; `avenue jobs install` notes it on the queue's table.
QUEUE_SCHEMA = max(step.stem for step in Path(SchemaManager.get_migrations_path()).glob("*.sql"))

# Class 08 connection, 53 resources, 57P server shutting down, 25006 read-only standby after a failover.
_UNAVAILABLE = ("08", "53", "57P", "25006")


class BusinessError(Exception):
    """The database refused for a reason the caller can act on (SQLSTATE PTxxx).

    `status` is the HTTP status, `code` the stable key of private.error_codes, `message` a sentence for people.
    """

    def __init__(self, status: int, code: str, message: str, detail: str | None = None) -> None:
        super().__init__(f"{code}: {message}" + (f" ({detail})" if detail else ""))
        self.status = status
        self.code = code
        self.message = message
        self.detail = detail


class Contradiction(BusinessError):
    """What the provider reports contradicts our books (SQLSTATE AVxxx). Nothing was changed; a person must look."""


class DatabaseUnavailable(Exception):
    """No connection could be had, or it was lost: nothing is known to have happened; try again."""


def _translate(error: psycopg.Error) -> Exception:
    state = error.sqlstate or ""
    diag = error.diag
    said = (diag.message_hint or "refused", diag.message_primary or "", diag.message_detail or None)
    if state.startswith("PT") and state[2:].isdigit():
        return BusinessError(int(state[2:]), *said)
    if state.startswith("AV"):
        return Contradiction(409, *said)
    if isinstance(error, PoolTimeout | TooManyRequests) or state.startswith(_UNAVAILABLE):
        return DatabaseUnavailable(str(error))
    # psycopg gives no SQLSTATE to a connection that broke under a statement.
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and not state:
        return DatabaseUnavailable(str(error))
    return error


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Turn psycopg's errors into BusinessError and DatabaseUnavailable."""
    try:
        yield
    except psycopg.Error as error:
        translation = _translate(error)
        if translation is error:
            raise
        raise translation from error


@cache
def _statement(verb: LiteralString, function: Function, count: int) -> bytes:
    placeholders = sql.SQL(", ").join([sql.Placeholder()] * count)
    return sql.SQL("{} private.{}({})").format(sql.SQL(verb), sql.Identifier(function), placeholders).as_bytes(None)


def _adapt(argument: object) -> object:
    return Jsonb(argument) if isinstance(argument, dict) else argument


async def _configure(connection: psycopg.AsyncConnection[Any]) -> None:
    # Not a connection argument: the queue's listener passes its own.
    await connection.set_autocommit(True)
    # The queue's statements are unqualified; ours do not care (they set their own search_path). Not a startup option:
    # poolers drop those.
    await connection.execute("set search_path = jobs")


async def _still_there(connection: psycopg.AsyncConnection[Any]) -> None:
    # Asking the server before each call would double the round trips. A server that went away has left an end of file
    # on the socket; only if there is something to read is it worth asking.
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        await AsyncConnectionPool.check_connection(connection)


class Database:
    """One pool of connections as role avenue_worker."""

    def __init__(self, url: str, *, size: int = 10, timeout: float = 5.0, name: str = "avenue") -> None:
        self._url = url
        self._timeout = timeout
        self.pool: AsyncConnectionPool[psycopg.AsyncConnection[Any]] = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=size,
            timeout=timeout,
            # Give up soon instead of backing off for minutes: the next caller starts a fresh attempt, so service
            # resumes about a second after the server does.
            reconnect_timeout=2.0,
            name=name,
            open=False,
            check=_still_there,
            configure=_configure,
            kwargs={
                "connect_timeout": max(2, int(timeout)),
                "application_name": name,
                # Without these a machine that vanished is noticed after two hours.
                "keepalives_idle": 15,
                "keepalives_interval": 5,
                "keepalives_count": 3,
            },
        )

    async def open(self, *, wait: bool = False) -> None:
        """Start connecting. With `wait`, raise DatabaseUnavailable when no connection comes up in time."""
        async with translated():
            if wait:
                # A pool only knows that it got no connection; a plain attempt says why.
                await (await psycopg.AsyncConnection.connect(self._url, connect_timeout=int(self._timeout))).close()
            await self.pool.open(wait=wait, timeout=self._timeout)

    async def close(self) -> None:
        """Close all connections."""
        await self.pool.close()

    async def call(self, function: Function, *arguments: object) -> Any:
        """Call a function returning one value; jsonb arrives as dict or list, SQL null as None.

        Raises BusinessError when the database refuses, DatabaseUnavailable when it cannot be reached.
        """
        async with translated(), self.pool.connection() as connection:
            cursor = await connection.execute(
                _statement("select", function, len(arguments)), [_adapt(a) for a in arguments]
            )
            row = await cursor.fetchone()
            return row[0] if row else None

    async def rows(self, function: Function, *arguments: object) -> list[dict[str, Any]]:
        """Call a function returning a table; one dict a row. Raises like `call`."""
        async with (
            translated(),
            self.pool.connection() as connection,
            connection.cursor(row_factory=dict_row) as cursor,
        ):
            await cursor.execute(_statement("select * from", function, len(arguments)), [_adapt(a) for a in arguments])
            return await cursor.fetchall()

    @asynccontextmanager
    async def exclusive(self, key: str) -> AsyncIterator[bool]:
        """Hold the server-wide lock `key` for the block; yields False when somebody else has it.

        It belongs to the connection, so the death of this process releases it at once.
        """
        async with translated(), self.pool.connection() as connection:
            cursor = await connection.execute("select pg_try_advisory_lock(hashtextextended(%s, 0))", [key])
            row = await cursor.fetchone()
            held = bool(row and row[0])
            try:
                yield held
            finally:
                # Unlocking must not be skipped by a cancellation: a pooled connection would keep the lock.
                if held and not connection.closed:
                    try:
                        await connection.execute("select pg_advisory_unlock(hashtextextended(%s, 0))", [key])
                    except BaseException:
                        await connection.close()
                        raise

    async def missing(self) -> list[str]:
        """What the database lacks for this installation, in words an operator can act on; empty when it is ready."""
        async with translated(), self.pool.connection() as connection:
            lacking = await (await connection.execute(_MISSING_FUNCTIONS, [list(FUNCTIONS)])).fetchall()
            queue = await (await connection.execute(_QUEUE)).fetchone()
        found = []
        if lacking:
            names = ", ".join(sorted(row[0] for row in lacking))
            found.append(f"Migrations are missing, these functions are not callable: {names}.")
        assert queue is not None
        installed, visible, allowed, note = queue
        if not installed:
            found.append("The job queue is missing: run `avenue jobs install`.")
        elif not allowed:
            found.append("The job queue is closed to this role: run `avenue jobs install`, connect as avenue_worker.")
        elif not visible:
            found.append("The job queue is not on the search path: use the direct or the session mode address.")
        elif f"(schema {QUEUE_SCHEMA})" not in (note or ""):
            found.append(f"The job queue is not at {QUEUE_SCHEMA}, as this release needs: run `avenue jobs install`.")
        return found


_MISSING_FUNCTIONS = """
    select wanted.name from unnest(%s::text[]) as wanted (name)
    where not exists (
        select from pg_catalog.pg_proc as p
        where p.pronamespace = to_regnamespace('private') and p.proname = wanted.name
        and has_function_privilege(p.oid, 'execute')
    )
"""
# Whether the queue is there, found by its bare name, usable by this role; and the note that says its version.
_QUEUE = """
    select
        q.oid is not null, to_regclass('procrastinate_jobs') is not distinct from q.oid,
        coalesce(has_table_privilege(q.oid, 'insert') and has_table_privilege(q.oid, 'update'), false)
        and coalesce(has_schema_privilege('jobs', 'usage'), false),
        obj_description(q.oid, 'pg_class')
    from (select (
        select c.oid from pg_catalog.pg_class as c
        where c.relnamespace = to_regnamespace('jobs') and c.relname = 'procrastinate_jobs'
    )) as q (oid)
"""
