"""A random month of credits: bought, tried, held, spent, given back, ended, refunded, taken back, owed, repaid.

After each step lots, ledger and balances say the same (ledger.audit()), jobs are what their photos are, what is held is
what open photos cost, and each photo that ended has one journal.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.money.market import Market

EXAMPLES = os.environ.get("AVENUE_MONEY_EXAMPLES")
PACKS = {
    1000: "a7e0e000-0000-4000-8000-000000001000",
    2000: "a7e0e000-0000-4000-8000-000000002000",
    5000: "a7e0e000-0000-4000-8000-000000005000",
}
CUSTOMERS = 3
REFUSED = {
    *("insufficient_credits", "credits_owed", "credits_in_use", "no_unused_credits", "sale_not_found", "trial_used"),
    *("refund_amount_invalid", "nothing_to_retry", "state_changed", "too_many_photos", "insufficient_funds"),
}
pick = st.integers(0, 2**16)


class Month(RuleBasedStateMachine):
    """Three customers; every rule may be refused, with a code that is expected."""

    connection: ClassVar[psycopg.Connection[Any]]

    def __init__(self) -> None:
        super().__init__()
        self.outside = self.connection.transaction(force_rollback=True)
        self.outside.__enter__()
        self.market = Market(self.connection)
        self.charged = self.kept = 0

    def teardown(self) -> None:
        self.outside.__exit__(None, None, None)

    def attempt(self, user: str, function: str, **arguments: Any) -> Any:
        """The answer, or None when it was refused as it may be."""
        try:
            with self.connection.transaction():
                return self.market.rpc(user, function, **arguments)
        except psycopg.Error as error:
            if error.diag.message_hint not in REFUSED:
                raise
            return None

    def chosen(self, query: str, number: int) -> Any:
        """One of a query's rows; None without any."""
        rows = self.market.rows(query)
        return rows[number % len(rows)] if rows else None

    @initialize()
    def people(self) -> None:
        self.users = [self.market.sign_up() for _ in range(CUSTOMERS)]
        self.admin = self.market.sign_up(role="admin")
        self.market.rows(
            "update private.settings set photo_cost_cents = 333, open_photos_per_account = 1000 returning 1"
        )
        self.market.rows("insert into private.photo_discounts values (3, 700) returning 1")
        self.market.rows("update public.credit_packs set valid_days = 20 where price_cents = 5000 returning 1")
        self.photos = {
            user: [
                str(row["id"])
                for row in self.market.rows(
                    "insert into public.media (owner_id, purpose, status, ready_at, bucket, content_type, width, "
                    "height, color, is_animated, derivatives) select %s, 'photo_input', 'ready', now(), 'studio', "
                    "'image/jpeg', 8, 8, '#ffffff', false, jsonb_build_object('full', jsonb_build_object('path', 'a')) "
                    "from generate_series(1, 5) returning id",
                    user,
                )
            ]
            for user in self.users
        }

    @rule(who=pick, cents=st.sampled_from(sorted(PACKS)))
    def buy(self, who: int, cents: int) -> None:
        self.market.buy(self.users[who % CUSTOMERS], PACKS[cents])

    @rule(who=pick)
    def trial(self, who: int) -> None:
        self.attempt(self.users[who % CUSTOMERS], "claim_trial")

    @rule(who=pick, count=st.integers(1, 5))
    def job(self, who: int, count: int) -> None:
        user = self.users[who % CUSTOMERS]
        before = self.totals(user)
        # In braces: an array, where a list would be JSON.
        media = "{" + ",".join(self.photos[user][:count]) + "}"
        job = self.attempt(user, "create_photo_job", prompt="warmer", media_ids=media)
        if job is None:
            assert self.totals(user) == before, "what is refused holds nothing"
        else:
            assert self.totals(user)[1] == before[1] + job["cost_cents"]

    @rule(count=st.integers(1, 6))
    def send(self, count: int) -> None:
        self.market.worker("select count(*) from private.claim_photos('toy', %s)", count)

    @rule(which=pick, verdict=st.sampled_from(["succeeded", "succeeded", "failed", "unknown", "not_sent"]), again=pick)
    def verdict(self, which: int, verdict: str, again: int) -> None:
        attempt = self.chosen(
            "select a.id, j.user_id from private.photo_attempts as a "
            "join public.photo_job_items as i on i.id = a.item_id join public.photo_jobs as j on j.id = i.job_id "
            "order by a.ended_at is not null, a.created_at, a.id limit 12",
            which,
        )
        if attempt is None:
            return
        for _ in range(1 + again % 2):
            if verdict == "unknown":
                self.market.worker("select private.photo_unknown(%s, 'timeout')", attempt["id"])
            elif verdict == "not_sent":
                self.market.worker("select private.photo_not_sent(%s, 'refused')", attempt["id"])
                self.market.rows("update public.photo_job_items set available_at = now() returning 1")
            else:
                media = self.photos[str(attempt["user_id"])][0] if verdict == "succeeded" else None
                self.market.worker("select private.settle_photo(%s, %s, %s)", attempt["id"], verdict, media)

    @rule(which=pick)
    def cancel(self, which: int) -> None:
        job = self.chosen("select id, user_id from public.photo_jobs order by created_at desc, id limit 5", which)
        if job:
            self.attempt(str(job["user_id"]), "cancel_photo_job", job_id=str(job["id"]))

    @rule(which=pick)
    def retry(self, which: int) -> None:
        job = self.chosen("select id, user_id from public.photo_jobs order by created_at desc, id limit 5", which)
        if job:
            self.attempt(str(job["user_id"]), "retry_photo_job", job_id=str(job["id"]))

    @rule(hours=st.sampled_from([1, 30, 24 * 8]))
    def time_passes(self, hours: int) -> None:
        ago = f"- make_interval(hours => {hours})"
        self.market.rows(f"update public.credit_lots set expires_at = expires_at {ago} returning 1")
        self.market.rows(
            f"update public.photo_job_items set sent_at = sent_at {ago} where sent_at is not null returning 1"
        )
        self.market.worker("select count(*) from private.expire_photos(100)")

    @rule()
    def expire(self) -> None:
        self.market.worker("select private.expire_credits(100)")
        assert self.market.worker("select private.expire_credits(100)") == 0

    @rule(which=pick)
    def give_back(self, which: int) -> None:
        line = self.chosen("select id, buyer_id from public.order_items order by created_at, id", which)
        if line:
            self.attempt(str(line["buyer_id"]), "refund_credits", order_item_id=str(line["id"]))

    @rule(which=pick, cents=st.integers(1, 2500))
    def admin_refund(self, which: int, cents: int) -> None:
        line = self.chosen("select id from public.order_items order by created_at, id", which)
        if line:
            self.attempt(
                self.admin, "refund_order_item", order_item_id=str(line["id"]), amount_cents=cents, reason="goodwill"
            )

    @rule(which=pick, cents=st.integers(1, 2500))
    def dashboard_refund(self, which: int, cents: int) -> None:
        paid = self.chosen(
            "select p.id, p.amount_cents - p.refunded_cents - coalesce(("
            "select sum(r.amount_cents)::bigint from public.refunds as r where r.payment_id = p.id and r.is_open), 0) "
            "as rest from public.payments as p "
            "where p.succeeded_at is not null and p.charge_reversed_at is null order by p.created_at, p.id",
            which,
        )
        if paid and paid["rest"] > 0:
            assert self.market.provider_refund(str(paid["id"]), min(cents, paid["rest"])) == "processed"

    @rule(which=pick, status=st.sampled_from(["succeeded", "succeeded", "failed", "canceled"]))
    def refund_answer(self, which: int, status: str) -> None:
        refund = self.chosen(
            "select id, status, payment_id, amount_cents from public.refunds order by created_at, id", which
        )
        if refund:
            try:
                with self.connection.transaction():
                    self.market.refund_arrives(str(refund["id"]), status)
            except psycopg.Error as error:
                if error.diag.message_hint not in {"event_too_early", "event_rejected"}:
                    raise

    @rule(which=pick)
    def charge_declined(self, which: int) -> None:
        paid = self.chosen("select id, charge_id from public.payments order by created_at, id", which)
        if paid and paid["charge_id"]:
            self.market.decline(str(paid["id"]), charge=paid["charge_id"])

    @rule(which=pick)
    def disputed(self, which: int) -> None:
        line = self.chosen("select id from public.order_items order by created_at, id", which)
        if line:
            self.market.rows("select private.revoke_line(%s, 'disputed')", str(line["id"]))

    def totals(self, user: str) -> tuple[int, int, int]:
        rows = self.market.rows(
            "select available_cents as a, held_cents as h, debt_cents as d from private.credit_balances "
            "where user_id = %s",
            user,
        )
        return (rows[0]["a"], rows[0]["h"], rows[0]["d"]) if rows else (0, 0, 0)

    @invariant()
    def right(self) -> None:
        self.market.check()
        assert not self.market.rows(
            "select from public.photo_jobs as j cross join lateral ("
            "select sum(i.cost_cents) as all_cents, "
            "coalesce(sum(i.cost_cents) filter (where i.status = 'succeeded'), 0) as spent, "
            "count(*) filter (where i.status = 'succeeded') as made, count(*) as photos "
            "from public.photo_job_items as i where i.job_id = j.id) as i "
            "where (j.cost_cents, j.captured_cents, j.succeeded_count, j.photo_count) "
            "<> (i.all_cents, i.spent, i.made, i.photos)"
        ), "a job is what its photos are"
        # What is held is what open photos cost; what was ever captured for photos is what delivered ones cost.
        assert not self.market.rows(
            "select from private.credit_balances as b where b.held_cents <> coalesce(("
            "select sum(i.cost_cents) from public.photo_job_items as i join public.photo_jobs as j on j.id = i.job_id "
            "where j.user_id = b.user_id and i.status in ('queued', 'sent', 'unknown')), 0)"
        ), "held is what open photos cost"
        assert not self.market.rows(
            "select from public.photo_job_items as i where i.cost_cents > 0 and (i.status in "
            "('succeeded', 'failed', 'returned')) <> exists (select from ledger.journal as j "
            "where j.idempotency_key = 'photo:' || i.id || ':settled')"
        ), "one journal for each end"
        # Nobody spent, or was given back, more than was ever granted.
        assert not self.market.rows(
            "select from (select l.user_id, sum(l.amount_cents) as granted, sum(l.captured_cents + l.expired_cents "
            "+ l.taken_back_cents + l.repaid_cents + l.remaining_cents + l.held_cents) as used "
            "from public.credit_lots as l group by 1) as s where s.granted <> s.used"
        )


@pytest.mark.timeout(0 if EXAMPLES else 300)
def test_lots_equal_the_ledger_after_a_random_month(connection: psycopg.Connection[Any]) -> None:
    Month.connection = connection
    connection.execute("set log_min_messages = fatal")
    run_state_machine_as_test(
        Month,
        settings=settings(
            max_examples=int(EXAMPLES or 25),
            stateful_step_count=50,
            derandomize=EXAMPLES is None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate] if EXAMPLES is None else list(Phase),
        ),
    )
