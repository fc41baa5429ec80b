"""The queue in front of the inbox: an event that cannot be stored takes no other with it, whatever is wrong with it."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.harness.server import Database
from workers.db import Database as Pool
from workers.http.inbox import Inbox
from workers.providers import Event
from workers.providers.storable import storable

TRAP = """
create or replace function private.trap() returns trigger language plpgsql as $$
begin
    raise exception 'no room for this one' using errcode = '{}';
end
$$;
create or replace trigger trap before insert on private.webhook_events
for each row when (new.event_id like '%bad%') execute function private.trap();
"""


@pytest.mark.parametrize(
    "state", ["22P05", "23514", "40001", "40P01", "54001", "57014", "55P03", "P0001", "PT400", "XX000"]
)
def test_any_error_of_the_database_splits_the_batch(database: Database, state: str) -> None:
    database.run(TRAP.format(state))
    names = [f"evt_{state}_{'bad' if number == 17 else number}" for number in range(50)]

    async def store() -> list[object]:
        pool = Pool(database.url("avenue_worker"))
        await pool.open(wait=True)
        inbox = Inbox.for_database("stripe", pool)
        inbox.start()
        try:
            events = [Event("stripe", name, "customer.created", 1, "{}") for name in names]
            return list(await asyncio.gather(*map(inbox.store, events), return_exceptions=True))
        finally:
            await inbox.stop()
            await pool.close()

    outcomes = asyncio.run(store())
    assert [isinstance(outcome, Exception) for outcome in outcomes] == [name.endswith("bad") for name in names]
    kept = database.value("select count(*) from private.webhook_events where event_id = any(%s)", names)
    assert kept == len(names) - 1


@pytest.mark.parametrize(
    ("text", "held"),
    [
        (r'{"a": "\u0000"}', {"a": "\ufffd"}),
        (r'{"a": "\\u0000"}', {"a": "\\u0000"}),
        (r'{"a": "\\\u0000b"}', {"a": "\\\ufffdb"}),
        (r'{"\ud83d\ude00": "\ud83d", "b": "\ude00\ud83d\ude00"}', {"\U0001f600": "\ufffd", "b": "\ufffd\U0001f600"}),
        ('{"a": "[{\\"]", "b": [1, -2.5e3, 1e99999, ' + "7" * 41 + "]}", {"a": '[{"]', "b": [1, -2500.0, None, None]}),
        ("[" * 64 + "]" * 64, None),
        ('{"a": ' + "[" * 70 + '"x", {"y": [1]}' + "]" * 70 + ', "b": 2}', None),
    ],
)  # fmt: skip
def test_what_postgresql_holds_stays_and_the_rest_is_replaced(text: str, held: object) -> None:
    result = storable(text)
    if held is not None:
        assert json.loads(result) == held
    else:
        assert result == text or json.loads(result)["b"] == 2
    assert storable(result) == result
