"""Gifts over HTTP: in each state everybody tries every act; what is not theirs to do is refused and changes nothing."""

from __future__ import annotations

import pytest

from stack.services import Services
from tests.harness.market import Simulator, assert_books, drain, order, publish_product, start, wait_for_order
from tests.harness.people import Api, Json, Person, SignUp, code_of
from tests.harness.server import Database

# state → role → acts that are open. A claimed gift is nobody's any more to refuse; a code counts once.
ALLOWED: dict[str, dict[str, set[str]]] = {
    "ordered": {},
    "waiting": {"payer": {"mail", "claim"}, "receiver": {"claim"}, "stranger": {"claim"}, "admin": {"claim"}},
    "given": {"receiver": {"refuse"}},
    "claimed": {},
    "too late": {},
    "refused": {},
    "refunded": {},
}


@pytest.fixture(scope="module")
def cast(sign_up: SignUp, admin: Person) -> dict[str, Person]:
    names = ("seller", "payer", "receiver", "stranger")
    return {name: sign_up() for name in names} | {"admin": admin}


def code_for(database: Database, gift: str) -> str:
    """The code that the mail of this gift would have: its hash is all that is kept, so one is set."""
    code = f"code-of-{gift}"
    database.run(
        "update private.gift_codes set code_hash = sha256(convert_to(%s, 'UTF8')), mail_due_at = null "
        "where gift_id = %s",
        *(code, gift),
    )
    return code


@pytest.mark.parametrize("state", ALLOWED)
def test_forbidden_acts_on_a_gift(
    cast: dict[str, Person], services: Services, simulator: Simulator, database: Database, state: str
) -> None:
    seller, payer, receiver = (cast[name] for name in ("seller", "payer", "receiver"))
    item = publish_product(seller, 2000)
    by_code = state in ("waiting", "claimed")
    wanted: dict[str, Json] = {"gift_email": "friend@example.com"} if by_code else {"gift_to": receiver.id}
    ordered = order(payer, {"item_id": item, **wanted})
    gift = payer.api.one("gifts", item_id=f"eq.{item}")["id"]
    code = f"code-of-{gift}"
    if state != "ordered":
        simulator.confirm(start(payer, ordered)["client_secret"])
        wait_for_order(payer, ordered["order_id"])
        drain(database, simulator)
    if by_code:
        code_for(database, gift)
    if state == "claimed":
        assert receiver.api.rpc("claim_gift", code=code).json()["status"] == "given"
    elif state == "too late":
        database.run("update public.gifts set given_at = given_at - interval '15 days' where id = %s", gift)
    elif state == "refused":
        assert receiver.api.rpc("refuse_gift", gift_id=gift).is_success
    elif state == "refunded":
        line = payer.api.one("order_items", order_id=f"eq.{ordered['order_id']}")["id"]
        assert cast["admin"].api.rpc("refund_order_item", order_item_id=line, reason="asked").is_success
    drain(database, simulator)

    def rows() -> list[dict[str, Json]]:
        return database.run(
            "select g.status, g.receiver_id, g.claimed_at, p.owner_id, p.revoked_at, c.email from public.gifts as g "
            "left join public.purchases as p on p.item_id = g.item_id "
            "left join private.gift_codes as c on c.gift_id = g.id where g.id = %s",
            gift,
        )

    before = rows()
    acts: dict[str, tuple[str, dict[str, Json]]] = {
        "refuse": ("refuse_gift", {"gift_id": gift}),
        "claim": ("claim_gift", {"code": code}),
        "mail": ("mail_gift", {"gift_id": gift, "email": "me@example.com"}),
    }
    for act, (function, arguments) in acts.items():
        assert Api(services).rpc(function, **arguments).status_code == 401
        for role, person in cast.items():
            if act in ALLOWED[state].get(role, set()):
                continue
            answer = person.api.rpc(function, **arguments)
            # Whose gift it is not, and who tries a code that does not count, learn nothing; a seller their own item.
            expected = {"gift_not_found", "own_item"} if act != "refuse" else {"gift_not_found", "state_changed"}
            assert code_of(answer) in expected, f"{state} {act} by {role}: {answer.status_code} {answer.text}"
            if act == "refuse" and role != "receiver":
                assert code_of(answer) == "gift_not_found"
    for role, person in cast.items():
        written = person.api.http.patch(f"/rest/v1/gifts?id=eq.{gift}", json={"status": "refused"})
        assert written.status_code == 403, f"{role}: {written.text}"
        seen = person.api.select("gifts", id=f"eq.{gift}")
        reads = role in ("payer", "admin") or (role == "receiver" and state not in ("ordered", "waiting"))
        assert len(seen) == reads, f"{state} read by {role}"
    assert rows() == before
    # Whoever gave it reads nothing of what is in it.
    assert payer.api.select("product_files", item_id=f"eq.{item}") == []
    # What is open is open, else the refusals would say nothing.
    for role, open_acts in ALLOWED[state].items():
        for act in sorted(open_acts & {"refuse", "mail"}):
            function, arguments = acts[act]
            assert cast[role].api.rpc(function, **arguments).is_success
    if state == "waiting":
        # Mailed anew: the code from before has ended.
        assert code_of(receiver.api.rpc("claim_gift", code=code)) == "gift_not_found"
        assert receiver.api.rpc("claim_gift", code=code_for(database, gift)).is_success
    drain(database, simulator)
    assert_books(database, simulator)
