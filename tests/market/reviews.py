"""What tests of reviews do and look at."""

from __future__ import annotations

import json

from tests.money.market import Json, Market

HIDDEN = "edit_review"

# Said again without asking the code that keeps it: of each buyer and item the newest that is to be counted.
TRUTH = """
with valid as (
    select distinct on (r.reviewer_id, r.item_id) r.*
    from public.reviews as r
    join public.profiles as w on w.id = r.reviewer_id and not w.is_banned
    where r.side = 'buyer' and r.status = 'published' and not r.is_hidden and w.profile_visibility <> 'private'
        and exists (
            select from public.purchases as p
            where p.order_item_id = r.order_item_id and p.item_id = r.item_id and p.owner_id = r.reviewer_id
                and p.revoked_at is null
        )
        and not exists (
            select from public.transaction_payees as y join public.transactions as t on t.id = y.transaction_id
            where t.related_id = r.item_id and y.payee_id = r.reviewer_id
        )
    order by r.reviewer_id, r.item_id, r.created_at desc, r.id desc
)
select c.id, c.reviews_count, c.rating_average, n.*
from public.catalog_items as c
left join public.item_ratings as s on s.item_id = c.id
cross join lateral (
    select
        count(*) as n, round(avg(v.rating), 2) as mean,
        array[
            count(*) filter (where v.rating = 1), count(*) filter (where v.rating = 2),
            count(*) filter (where v.rating = 3), count(*) filter (where v.rating = 4),
            count(*) filter (where v.rating = 5)
        ] as stars
    from valid as v where v.item_id = c.id
) as n
where (c.reviews_count, c.rating_average) is distinct from (n.n, n.mean)
    or (coalesce(s.reviews_count, 0), s.rating_average) is distinct from (n.n, n.mean)
    or s.item_id is not null and array[s.stars_1, s.stars_2, s.stars_3, s.stars_4, s.stars_5]::bigint[] <> n.stars
"""
VOTES = """
select r.id, r.helpful_count, v.n from public.reviews as r
cross join lateral (
    select count(*) as n from public.review_votes as v where v.review_id = r.id and v.is_helpful
) as v
where r.helpful_count <> v.n
"""
COUNTED = (
    "select reviewer_id, item_id from public.reviews where is_counted group by reviewer_id, item_id having count(*) > 1"
)


class Reviews:
    """Reviews of a market."""

    def __init__(self, market: Market) -> None:
        self.market = market

    def write(self, buyer: str, item: str, rating: int, text: str | None = None) -> Json:
        """review_item()."""
        return self.market.rpc(buyer, "review_item", item_id=item, rating=rating, review_text=text)

    def edit(self, buyer: str, review: str, rating: int, text: str | None = None) -> Json:
        """edit_review()."""
        return self.market.rpc(buyer, "edit_review", review_id=review, rating=rating, review_text=text)

    def vote(self, reader: str, review: str, is_helpful: bool | None) -> None:
        """vote_on_review()."""
        self.market.rpc(reader, "vote_on_review", review_id=review, is_helpful=is_helpful)

    def row(self, review: str) -> dict[str, Json]:
        """A review as it is."""
        return self.market.row("select * from public.reviews where id = %s", review)

    def as_visitor(self, query: str, *values: object) -> list[dict[str, Json]]:
        """Rows of a statement run by somebody who is not signed in."""
        with self.market.connection.transaction():
            self.market.rows(
                "select set_config('role', 'anon', true), set_config('request.jwt.claims', %s, true)",
                json.dumps({"role": "anon"}),
            )
            rows = self.market.rows(query, *values)
            self.market.rows("select set_config('role', 'none', true), set_config('request.jwt.claims', '', true)")
        return rows

    def seen(self, reader: str | None, item: str) -> list[dict[str, Json]]:
        """An item's reviews as somebody reads them; None: a visitor."""
        query = "select * from public.item_reviews(%s, 'newest', max_rows => 100)"
        return self.market.member(reader, query, item) if reader else self.as_visitor(query, item)

    def rating(self, item: str) -> tuple[int, str | None]:
        """What the shop shows: how many, and their mean."""
        row = self.market.row(
            "select reviews_count, rating_average::text from public.catalog_items where id = %s", item
        )
        return row["reviews_count"], row["rating_average"]

    def histogram(self, item: str) -> dict[str, Json]:
        """What a visitor is told."""
        (row,) = self.as_visitor("select * from public.rating_histogram(%s)", item)
        average = row["rating_average"]
        return {
            "counts": row["counts"],
            "percentages": row["percentages"],
            "rating_average": average if average is None else str(average),
        }

    def pass_days(self, item: str, days: int) -> None:
        """Time passes for an item's blind reviews, and a minute more: a transaction began before it wrote."""
        self.market.rows(
            "update public.reviews set publish_at = publish_at - make_interval(hours => 24 * %s, mins => 1) "
            "where item_id = %s and status = 'blind'",
            days,
            item,
        )

    def check(self) -> None:
        """Averages, counts and votes equal a recount, ours and the platform's own."""
        assert (rows := self.market.rows(TRUTH)) == [], rows
        assert (rows := self.market.rows(VOTES)) == [], rows
        assert (rows := self.market.rows(COUNTED)) == [], rows
        assert (rows := self.market.rows("select * from private.recount()")) == [], rows
