"""Groups over HTTP: their life, who may know of secret ones, and what happens when many change one at once."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from stack.services import Services
from tests.harness.people import Api, Member, Person, SignUp, code_of, enroll, follow_accounts
from tests.harness.server import Database
from tests.harness.together import together

NOBODY = "00000000-0000-4000-8000-000000000000"


def found(owner: Member, name: str, **values: Any) -> str:
    answer = owner.api.http.post(
        "/rest/v1/groups", json={"name": name, **values}, headers={"prefer": "return=representation"}
    )
    assert answer.status_code == 201, answer.text
    group: str = answer.json()[0]["id"]
    return group


def call(member: Member, function: str, group: str, user: str | None = None, **values: Any) -> httpx.Response:
    return member.api.rpc(function, group_id=group, **({"user_id": user} if user else {}), **values)


def ok(answer: httpx.Response) -> Any:
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


def roles(database: Database, group: str) -> dict[str, str]:
    """Role of each active member."""
    rows = database.run(
        "select user_id::text, role from public.group_members where group_id = %s and status = 'active'", group
    )
    return {row["user_id"]: row["role"] for row in rows}


def assert_sound(database: Database) -> None:
    """Counters equal their recount; every group has one owner, an active member whose account exists."""
    assert database.run("select * from private.recount()") == []
    assert database.run("select * from private.pending_counts") == []
    wrong = database.run(
        "select g.id, g.owner_id, p.deleted_at, m.status, m.role from public.groups as g "
        "inner join public.profiles as p on p.id = g.owner_id "
        "left join public.group_members as m on m.group_id = g.id and m.role = 'owner' "
        "where p.deleted_at is not null or m.user_id is distinct from g.owner_id or m.status <> 'active'"
    )
    assert wrong == []


@pytest.fixture(scope="module")
def crowd(services: Services, database: Database) -> list[Member]:
    return enroll(services, database, 12)


def test_the_life_of_a_group_with_supabase_py(sign_up: SignUp, anon: Api) -> None:
    ana, ben = sign_up(username="ana-groups"), sign_up(username="ben-groups")
    new = {"name": "Beat Makers", "tags": ["Beats", "#Lo-Fi"], "rules": "Be kind."}
    group = ana.client.table("groups").insert(new).execute().data[0]
    assert (group["slug"], group["owner_id"], group["tags"], group["members_count"]) == (
        "beat-makers",
        ana.id,
        ["beats", "lo-fi"],
        1,
    )
    assert ben.client.rpc("join_group", {"group_id": group["id"]}).execute().data == "active"
    assert ben.client.rpc("join_group", {"group_id": group["id"]}).execute().data == "active"
    assert anon.one("groups", slug="eq.beat-makers", select="name,members_count,owner:profiles!owner_id(username)") == {
        "name": "Beat Makers",
        "members_count": 2,
        "owner": {"username": "ana-groups"},
    }
    assert ben.api.one("groups", id=f"eq.{group['id']}", select="my_role") == {"my_role": "member"}
    members = ben.api.select(
        "group_members",
        group_id=f"eq.{group['id']}",
        select="role,member:profiles!user_id(username)",
        order="joined_at.desc,user_id.desc",
    )
    assert [(row["role"], row["member"]["username"]) for row in members] == [
        ("member", "ben-groups"),
        ("owner", "ana-groups"),
    ]
    ok(call(ana, "set_member_role", group["id"], ben.id, role="admin"))
    changed = ben.client.table("groups").update({"description": "All about beats"}).eq("id", group["id"]).execute()
    assert changed.data[0]["description"] == "All about beats"
    assert code_of(call(ana, "leave_group", group["id"])) == "owner_must_transfer"
    ok(call(ana, "transfer_group", group["id"], ben.id))
    ok(call(ana, "leave_group", group["id"]))
    mine = ben.api.select(
        "groups", select="name,group_members!inner(role)", **{"group_members.user_id": f"eq.{ben.id}"}
    )
    assert mine == [{"name": "Beat Makers", "group_members": [{"role": "owner"}]}]
    ok(call(ben, "delete_group", group["id"]))
    assert anon.select("groups", slug="eq.beat-makers") == []


def test_what_clients_may_not_write(sign_up: SignUp, database: Database) -> None:
    ana, eve = sign_up(), sign_up()
    group = found(ana, "Mine")
    for values in (
        {"owner_id": eve.id},
        {"members_count": 99},
        {"posts_count": 99},
        {"is_verified": True},
        {"slug": "admin"},
        {"id": NOBODY},
    ):
        insert = ana.api.http.post("/rest/v1/groups", json={"name": "x", **values})
        update = ana.api.http.patch("/rest/v1/groups", params={"id": f"eq.{group}"}, json=values)
        assert (insert.status_code, update.status_code) == (403, 403), values
    row = {"group_id": group, "user_id": eve.id, "role": "owner"}
    assert eve.api.http.post("/rest/v1/group_members", json=row).status_code == 403
    mine = {"params": {"group_id": f"eq.{group}"}}
    assert ana.api.http.patch("/rest/v1/group_members", json={"role": "admin"}, **mine).status_code == 403
    assert ana.api.http.delete("/rest/v1/group_members", **mine).status_code == 403
    del row["role"]
    assert eve.api.http.post("/rest/v1/group_invitations", json=row).status_code == 403
    assert ana.api.http.delete("/rest/v1/groups", params={"id": f"eq.{group}"}).status_code == 403
    assert eve.api.http.patch("/rest/v1/groups", params={"id": f"eq.{group}"}, json={"name": "x"}).status_code == 204
    assert database.value("select name from public.groups where id = %s", group) == "Mine"


def test_a_secret_group_is_invisible_by_every_route(
    sign_up: SignUp, services: Services, database: Database, admin: Person
) -> None:
    owner, member, invited, kept_out, stranger = enroll(services, database, 5)
    secret = found(owner, "Xylophone Society", visibility="secret", tags=["xylophone"])
    for other in (member, kept_out):
        ok(call(owner, "invite_to_group", secret, other.id))
        assert ok(call(other, "join_group", secret)) == "active"
    ok(call(owner, "ban_member", secret, kept_out.id))
    ok(call(owner, "invite_to_group", secret, invited.id))

    def known(api: Api) -> set[str]:
        """By which routes this identity can tell that the group exists."""
        routes: dict[str, Callable[[], Any]] = {
            "select": lambda: api.select("groups", id=f"eq.{secret}"),
            "slug": lambda: api.select("groups", slug="like.xylophone*"),
            "tags": lambda: api.select("groups", tags="cs.{xylophone}"),
            "search": lambda: api.rpc("search_groups", query="xylophone society").json(),
            "embed in the owner": lambda: api.one("profiles", id=f"eq.{owner.id}", select="groups!owner_id(id)")[
                "groups"
            ],
        }
        count = api.http.head("/rest/v1/groups", params={"id": f"eq.{secret}"}, headers={"prefer": "count=exact"})
        planned = api.http.head(
            "/rest/v1/groups", params={"owner_id": f"eq.{owner.id}"}, headers={"prefer": "count=exact"}
        )
        seen = {name for name, route in routes.items() if route()}
        seen |= {"count"} if not count.headers["content-range"].endswith("/0") else set()
        seen |= {"count by owner"} if not planned.headers["content-range"].endswith("/0") else set()
        return seen

    def people(api: Api) -> int:
        return len(api.select("group_members", group_id=f"eq.{secret}")) + len(
            api.select("group_invitations", group_id=f"eq.{secret}")
        )

    everything = {"select", "slug", "tags", "search", "embed in the owner", "count", "count by owner"}
    assert known(owner.api) == known(member.api) == known(invited.api) == known(admin.api) == everything
    assert (people(owner.api), people(member.api), people(invited.api)) == (4, 2, 1)
    assert known(stranger.api) == known(kept_out.api) == known(Api(services)) == set()
    assert (people(stranger.api), people(kept_out.api)) == (0, 0)
    assert kept_out.api.rpc("export_my_data").json()["group_members"] == []

    def refusal(who: Member, function: str, group: str, **values: Any) -> tuple[int, str]:
        answer = who.api.rpc(function, group_id=group, **values)
        return answer.status_code, answer.text.replace(group, "…")

    target = {"user_id": member.id}
    functions: list[tuple[str, dict[str, Any]]] = [
        ("join_group", {}),
        ("leave_group", {}),
        ("delete_group", {}),
        ("decline_invitation", {}),
        ("approve_member", target),
        ("reject_member", target),
        ("remove_member", target),
        ("ban_member", target),
        ("unban_member", target),
        ("invite_to_group", target),
        ("cancel_invitation", target),
        ("transfer_group", target),
        ("set_member_role", target | {"role": "admin"}),
        ("verify_group", {}),
    ]
    for who in (stranger, kept_out):
        for function, values in functions:
            assert refusal(who, function, secret, **values) == refusal(who, function, NOBODY, **values), function
        for path, row in (
            ("groups", {"name": "renamed"}),
            ("groups", {"visibility": "public"}),
        ):
            answers = [
                who.api.http.patch(
                    f"/rest/v1/{path}",
                    params={"id": f"eq.{group}"},
                    json=row,
                    headers={"prefer": "return=representation"},
                )
                for group in (secret, NOBODY)
            ]
            assert [(answer.status_code, answer.text) for answer in answers] == [(200, "[]")] * 2
    # The name is free to others, who are told nothing by the address they get.
    twin = found(stranger, "Xylophone Society")
    assert stranger.api.one("groups", id=f"eq.{twin}")["slug"] == "xylophone-society"
    # Whom the invitation is withdrawn, or who leaves, knows it no more.
    ok(call(owner, "cancel_invitation", secret, invited.id))
    ok(call(member, "leave_group", secret))
    routes = everything - {"slug", "tags", "search"}
    assert not known(invited.api) & routes
    assert not known(member.api) & routes
    # A public group that goes into hiding.
    ok(call(stranger, "delete_group", twin))
    public = found(owner, "Zither Club")
    assert ok(call(stranger, "join_group", public)) == "active"
    ok(call(stranger, "leave_group", public))
    owner.api.http.patch("/rest/v1/groups", params={"id": f"eq.{public}"}, json={"visibility": "secret"})
    assert stranger.api.select("groups", slug="eq.zither-club") == []
    assert stranger.api.one("groups", id=f"eq.{found(stranger, 'Zither Club')}")["slug"] == "zither-club"


def test_hidden_people_are_not_listed_nor_invited(services: Services, database: Database) -> None:
    owner, hidden, member = enroll(services, database, 3)
    group = found(owner, "Listed", visibility="private")
    for other in (hidden, member):
        call(other, "join_group", group)
        ok(call(owner, "approve_member", group, other.id))
    hidden.api.rpc("set_profile_visibility", visibility="private")
    rows = member.api.select("group_members", group_id=f"eq.{group}")
    assert {row["user_id"] for row in rows} == {owner.id, member.id}
    for function, values in (("set_member_role", {"role": "admin"}), ("transfer_group", {}), ("approve_member", {})):
        answers = [call(owner, function, group, other, **values) for other in (hidden.id, NOBODY)]
        assert answers[0].json() | {"details": ""} == answers[1].json() | {"details": ""}
        assert code_of(answers[0]) == "member_not_found"
    assert code_of(call(owner, "invite_to_group", group, hidden.id)) == "user_not_found"
    assert len(hidden.api.select("group_members", group_id=f"eq.{group}")) == 3


def test_a_banned_owner_leaves_the_group_as_it_is(services: Services, database: Database, admin: Person) -> None:
    owner, member = enroll(services, database, 2)
    group = found(owner, "Stays")
    ok(call(member, "join_group", group))
    ok(admin.api.rpc("ban_user", user_id=owner.id, reason="spam"))
    assert member.api.one("groups", id=f"eq.{group}", select="name,owner:profiles!owner_id(username)") == {
        "name": "Stays",
        "owner": None,
    }
    for function in ("delete_group", "leave_group", "join_group"):
        assert code_of(call(owner, function, group)) == "banned"
    answer = owner.api.http.patch("/rest/v1/groups", params={"id": f"eq.{group}"}, json={"name": "Gone"})
    assert answer.status_code == 204
    assert admin.api.one("groups", id=f"eq.{group}")["name"] == "Stays"
    assert owner.api.select("group_members", group_id=f"eq.{group}") == []
    ok(call(admin, "transfer_group", group, member.id))
    assert roles(database, group) == {owner.id: "admin", member.id: "owner"}


def test_moderators_act_on_lower_ranks_only(services: Services, database: Database) -> None:
    """A moderator hides a member's post, not the owner's; neither what the owner hid comes back by a moderator."""
    owner, moderator, member = enroll(services, database, 3)
    group = found(owner, "Ranks")
    for person in (moderator, member):
        ok(call(person, "join_group", group))
    ok(call(owner, "set_member_role", group, moderator.id, role="moderator"))

    def write(person: Member) -> str:
        row = {"content": "Mine", "group_id": group}
        answer = person.api.http.post("/rest/v1/posts", json=row, headers={"prefer": "return=representation"})
        return str(ok(answer)[0]["id"])

    theirs, lower = write(owner), write(member)
    refused = moderator.api.rpc("hide_content", target_type="post", target_id=theirs, reason="No")
    assert code_of(refused) == "group_role_too_low", refused.text
    assert member.api.select("posts", id=f"eq.{theirs}")
    ok(moderator.api.rpc("hide_content", target_type="post", target_id=lower, reason="No"))
    assert owner.api.select("posts", id=f"eq.{lower}", is_hidden="is.false") == []


def test_many_join_and_leave_at_once(crowd: list[Member], services: Services, database: Database) -> None:
    owner, *people = crowd
    group = found(owner, "Crowd")
    # Everybody clicks twice.
    answers = together([lambda who=who: call(who, "join_group", group) for who in people * 2])
    assert {ok(answer) for answer in answers} == {"active"}
    assert owner.api.one("groups", id=f"eq.{group}")["members_count"] == len(crowd)
    half = people[: len(people) // 2]
    together([lambda who=who: call(who, "leave_group", group) for who in half * 2])
    assert owner.api.one("groups", id=f"eq.{group}")["members_count"] == len(crowd) - len(half)
    assert_sound(database)


def test_a_transfer_and_a_leave_at_once(crowd: list[Member], database: Database) -> None:
    owner, ana, ben = crowd[:3]

    def race(group: str) -> list[httpx.Response]:
        return together(
            [
                lambda: call(owner, "transfer_group", group, ana.id),
                lambda: call(ana, "leave_group", group),
                lambda: call(owner, "transfer_group", group, ben.id),
            ]
        )

    for number in range(8):
        group = found(owner, f"Transfer {number}")
        for other in (ana, ben):
            ok(call(other, "join_group", group))
        answers = race(group)
        codes = [code_of(answer) for answer in answers]
        # At most one transfer, and not to somebody who left.
        assert (codes[0] is None) + (codes[2] is None) == 1
        assert codes[1] == ("owner_must_transfer" if codes[0] is None else None)
        assert roles(database, group)[ana.id if codes[0] is None else ben.id] == "owner"
    assert_sound(database)


def test_a_ban_wins_over_an_approval_at_the_same_instant(crowd: list[Member], database: Database) -> None:
    owner, moderator, troll = crowd[:3]

    def race(group: str) -> list[httpx.Response]:
        return together(
            [
                lambda: call(owner, "ban_member", group, troll.id),
                lambda: call(moderator, "approve_member", group, troll.id),
                lambda: call(troll, "join_group", group),
                lambda: call(moderator, "reject_member", group, troll.id),
            ]
        )

    for number in range(8):
        group = found(owner, f"Ban {number}", join_approval_required=True)
        call(moderator, "join_group", group)
        ok(call(owner, "approve_member", group, moderator.id))
        ok(call(owner, "set_member_role", group, moderator.id, role="moderator"))
        call(troll, "join_group", group)
        answers = race(group)
        assert answers[0].is_success
        assert {code_of(answer) for answer in answers} <= {None, "member_not_found", "banned_from_group"}
        assert code_of(call(troll, "join_group", group)) == "banned_from_group"
        assert set(roles(database, group)) == {owner.id, moderator.id}
    assert_sound(database)


def test_owners_delete_their_accounts_at_once(services: Services, database: Database) -> None:
    """The owner, both admins and a member go while others join and leave: the group goes to who stays."""

    def race(group: str, people: list[Member]) -> list[httpx.Response]:
        return together(
            [lambda who=who: who.api.rpc("delete_my_account") for who in people[:4]]
            + [lambda who=who: call(who, "join_group", group) for who in people[6:9]]
            + [lambda: call(people[5], "leave_group", group)]
            + [lambda: call(people[1], "ban_member", group, people[4].id)]
        )

    for number in range(3):
        people = enroll(services, database, 9)
        owner = people[0]
        group = found(owner, f"Succession {number}")
        for other in people[1:6]:
            ok(call(other, "join_group", group))
        for other in people[1:3]:
            ok(call(owner, "set_member_role", group, other.id, role="admin"))
        answers = race(group, people)
        assert [answer.status_code for answer in answers[:4]] == [204] * 4
        assert {answer.status_code for answer in answers} <= {200, 204, 401, 403, 404, 409}, [a.text for a in answers]
        follow_accounts(database)
        left = roles(database, group)
        assert not {person.id for person in people[:4]} & set(left)
        assert sorted(left.values()).count("owner") == 1
        assert_sound(database)
        # The last ones go: nothing is left of the group.
        for person in people[4:]:
            person.api.rpc("delete_my_account")
        follow_accounts(database)
        assert database.run("select * from public.groups where id = %s", group) == []
    assert_sound(database)


def test_groups_after_anything_at_random(services: Services, database: Database) -> None:
    people = enroll(services, database, 10)
    groups = [found(people[0], "Random"), found(people[1], "Random", visibility="private"), found(people[2], "Random")]

    acts = ["join_group"] * 4 + ["leave_group", "approve_member", "set_member_role", "remove_member", "ban_member"]
    acts += ["unban_member", "invite_to_group", "transfer_group", "transfer_group"]

    def live(number: int) -> list[str]:
        me, dice, wrong = people[number], random.Random(number), []
        for _ in range(12):
            group, other = dice.choice(groups), dice.choice(people)
            act = dice.choice(acts)
            values: dict[str, Any] = {}
            if act == "set_member_role":
                values = {"role": dice.choice(["member", "moderator", "admin"])}
            user = None if act in ("join_group", "leave_group") else other.id
            answer = call(me, act, group, user, **values)
            if answer.status_code not in (200, 204, 401, 403, 404, 409):
                wrong.append(f"{act}: {answer.status_code} {answer.text}")
        if number % 4 == 1:
            answer = me.api.rpc("delete_my_account")
            if answer.status_code != 204:
                wrong.append(answer.text)
        elif number == 2:
            call(me, "delete_group", groups[2])
        return wrong

    lives = together([lambda number=number: live(number) for number in range(len(people))])
    assert [wrong for life in lives for wrong in life] == []
    follow_accounts(database)
    assert_sound(database)
