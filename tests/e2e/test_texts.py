"""Texts as clients send them: names, tags, mentions, addresses and searches in every script."""

from __future__ import annotations

import pytest

from tests.harness.people import Api, Person, SignUp, code_of
from tests.harness.server import Database

INVISIBLE = ["\u200b", "\u2800\u2800", "\u3164", "\u0301", "\u202e\u200f", "\U000e0041", " \n\t"]
RETURN = {"prefer": "return=representation"}


@pytest.fixture(scope="module")
def ana(sign_up: SignUp) -> Person:
    return sign_up(username="texts-ana", display_name="Ana")


@pytest.fixture(scope="module")
def ben(sign_up: SignUp) -> Person:
    return sign_up(username="texts-ben", display_name="The Who")


def post(person: Person, content: str) -> dict[str, object]:
    answer = person.api.http.post("/rest/v1/posts", json={"content": content}, headers=RETURN)
    assert answer.status_code == 201, answer.text
    return answer.json()[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("words", INVISIBLE, ids=ascii)
def test_what_shows_nothing_is_no_text(ana: Person, words: str) -> None:
    refused = {
        "products": {"title": words},
        "groups": {"name": words},
        "artist_profiles": {"artist_name": words},
    }
    for relation, row in refused.items():
        answer = ana.api.http.post(f"/rest/v1/{relation}", json=row)
        assert (answer.status_code, code_of(answer)) == (400, "text_not_visible"), (relation, answer.text)
    assert ana.api.http.post("/rest/v1/posts", json={"content": words}).status_code == 400
    poll = ana.api.rpc("create_poll", content="Which?", options=["one", words])
    assert code_of(poll) == "invalid_poll"


def test_names_are_on_one_line_and_in_one_form(ana: Person) -> None:
    answer = ana.api.http.post(
        "/rest/v1/products", json={"title": "Cafe\u0301\n \u202eＢＥＡＴＳ\u2069"}, headers=RETURN
    )
    assert answer.status_code == 201, answer.text
    assert (answer.json()[0]["title"], answer.json()[0]["slug"]) == ("Café BEATS", "cafe-beats")
    answer = ana.api.http.post("/rest/v1/products", json={"title": "Рассвет"}, headers=RETURN)
    assert answer.json()[0]["slug"] == "rassvet"


@pytest.mark.parametrize("hidden", ["\u200b", "\u202e", "\u2066", "\u00ad", "\u2800", "\u3164"], ids=ascii)
def test_an_address_shows_where_it_leads(ana: Person, hidden: str) -> None:
    web = f"https://exa{hidden}mple.com/a{hidden}gnp.exe"
    me = f"id=eq.{ana.id}"
    tried = [
        ana.api.http.patch(f"/rest/v1/profiles?{me}", json={"website_url": web}),
        ana.api.http.patch(f"/rest/v1/profiles?{me}", json={"avatar_url": web}),
        ana.api.http.post("/rest/v1/posts", json={"content": "x", "post_type": "link", "link_url": web}),
        ana.api.http.post("/rest/v1/posts", json={"content": "x", "post_type": "image", "media_urls": [web]}),
    ]
    assert [(answer.status_code, code_of(answer)) for answer in tried] == [(400, "23514")] * len(tried)
    # Texts inside objects are tidied first; what is left of them then is refused.
    preview = {"content": "x", "post_type": "link", "link_url": "https://example.com", "link_preview": {"image": web}}
    for relation, row in (
        ("artist_profiles", {"artist_name": "Ana", "social_links": {"site": web}}),
        ("posts", preview),
    ):
        answer = ana.api.http.post(f"/rest/v1/{relation}", json=row, headers=RETURN)
        assert code_of(answer) == "23514" or (answer.status_code == 201 and hidden not in answer.text)
    answer = ana.api.http.patch(f"/rest/v1/profiles?{me}", json={"smart_link": f"rolink.me/{hidden}ana"})
    assert (answer.status_code, code_of(answer)) == (400, "invalid_smart_link")


def test_addresses_have_letters_of_every_script(ana: Person) -> None:
    web = "https://b\u00fccher.example/\u043a\u043d\u0438\u0433\u0430?\u672c"
    answer = ana.api.http.patch(f"/rest/v1/profiles?id=eq.{ana.id}", json={"website_url": web}, headers=RETURN)
    assert answer.json()[0]["website_url"] == web


def test_hashtags_are_whole_words_in_one_form(ana: Person, anon: Api) -> None:
    assert post(ana, "#हिन्दी #Cafe\u0301 #CAFÉ #می\u200cخواهم")["tags"] == ["हिन्दी", "café", "می\u200cخواهم"]
    assert [tag["name"] for tag in anon.select("tags", name="eq.हिन्दी", select="name")] == ["हिन्दी"]


def test_a_mention_is_told_once_and_only_when_it_is_one(ana: Person, ben: Person) -> None:
    def told() -> list[str]:
        rows = ben.api.select("notifications", type="eq.mention", select="related_id", order="created_at")
        return [row["related_id"] for row in rows]

    for text in ("@texts-ben@elsewhere.org", "@texts-bené", "x@texts-ben.org", "@texts-benny"):
        post(ana, text)
    assert told() == []
    written = post(ana, "Hello")["id"]
    for text in ("Hello @texts-ben", "Hello", "Hello again, @texts-ben!"):
        edited = ana.api.http.patch(f"/rest/v1/posts?id=eq.{written}", json={"content": text})
        assert edited.status_code == 204, edited.text
    assert told() == [written]


def test_no_name_comes_from_the_email_address(sign_up: SignUp, anon: Api) -> None:
    plain = sign_up(email="jane.roe.private@example.com")
    provider = sign_up(email="jon.roe.private@example.com", name="jon.roe.private@example.com")
    named = sign_up(email="no.name@example.com", display_name="Елена Соколова")
    for person, start in ((plain, "user-"), (provider, "user-"), (named, "elena-sokolova")):
        profile = anon.one("profiles", id=f"eq.{person.id}")
        assert profile["username"].startswith(start)
        assert "roe" not in str(profile)


def test_names_that_speak_for_the_platform_or_belonged_to_somebody(ana: Person, sign_up: SignUp) -> None:
    def rename(person: Person, username: str) -> str | None:
        return code_of(person.api.http.patch(f"/rest/v1/profiles?id=eq.{person.id}", json={"username": username}))

    for username in ("Admin_", "avenue.support", "4dm1n", "support-avenue", "moderator.ana", "adrnin"):
        assert rename(ana, username) == "username_reserved", username
    former = sign_up(username="texts-former")
    assert rename(former, "texts-latter") is None
    assert rename(ana, "Texts-Former") == "username_taken"
    assert rename(former, "texts-former") is None


def test_a_badge_ends_with_the_name_and_the_picture(ana: Person, admin: Person) -> None:
    ana.api.http.post("/rest/v1/artist_profiles", json={"artist_name": "Ana"})
    group = ana.api.http.post("/rest/v1/groups", json={"name": "Texts"}, headers=RETURN).json()[0]["id"]
    for change in ({"display_name": "Somebody Famous"}, {"avatar_url": "https://example.com/famous.png"}):
        assert admin.api.rpc("verify_artist", user_id=ana.id, verified=True).status_code == 204
        assert ana.api.http.patch(f"/rest/v1/profiles?id=eq.{ana.id}", json=change).status_code == 204
        assert ana.api.one("artist_profiles", user_id=f"eq.{ana.id}")["is_verified"] is False
    for change in ({"name": "Famous"}, {"avatar_url": "https://example.com/famous.png"}):
        assert admin.api.rpc("verify_group", group_id=group).status_code == 204
        assert ana.api.http.patch(f"/rest/v1/groups?id=eq.{group}", json=change).status_code == 204
        assert ana.api.one("groups", id=f"eq.{group}")["is_verified"] is False


def test_names_of_stop_words_and_of_two_letters_are_found(ana: Person, ben: Person, anon: Api) -> None:
    written = post(ana, "Saw The Who at 新東京楽団")["id"]
    for words in ("The Who", "東京", "楽団"):
        assert [row["id"] for row in ana.api.rpc("search_posts", query=words).json()] == [written], words
    assert [row["id"] for row in anon.rpc("search_profiles", query="the who").json()] == [ben.id]
    ana.api.http.patch(f"/rest/v1/profiles?id=eq.{ana.id}", json={"display_name": "新東京楽団"})
    assert [row["id"] for row in anon.rpc("search_profiles", query="東京").json()] == [ana.id]


def test_no_query_is_too_odd_to_be_answered(ana: Person) -> None:
    for name in ("articles", "catalog", "groups", "posts", "profiles"):
        for query in ("-" * 500 + "a", "- " * 99 + "a", "-(" * 99 + "a", "\u2014" * 100, '"-' * 99, "or " * 60):
            assert ana.api.rpc(f"search_{name}", query=query).status_code == 200, (name, query)


def test_what_is_far_too_long_is_refused_before_it_is_worked_on(ana: Person) -> None:
    """U+FDFA becomes eighteen characters."""
    long = "\ufdfa" * 330_000
    for relation, row in (
        ("groups", {"name": long}),
        ("groups", {"name": "Long", "tags": [long]}),
        ("posts", {"content": "Long", "tags": [long]}),
        ("products", {"title": long}),
        ("products", {"title": "Long", "genre_tags": [long]}),
    ):
        answer = ana.api.http.post(f"/rest/v1/{relation}", json=row)
        assert code_of(answer) == ("invalid_tags" if len(row) == 2 else "23514"), (relation, answer.text)


def test_who_has_not_confirmed_an_address_is_not_public(
    ana: Person, sign_up: SignUp, anon: Api, database: Database
) -> None:
    new = sign_up(username="texts-new")
    database.run("update auth.users set email_confirmed_at = null where id = %s", new.id)
    for reader in (anon, ana.api):
        assert reader.select("profiles", handle="eq.texts-new") == []
        found = reader.rpc("search_profiles", query="texts-new").json()
        assert new.id not in [row["id"] for row in found]
    database.run("update auth.users set email_confirmed_at = now() where id = %s", new.id)
    for reader in (anon, ana.api):
        assert reader.one("profiles", handle="eq.texts-new")["id"] == new.id


def test_three_new_accounts_make_no_skill(sign_up: SignUp, database: Database) -> None:
    database.run("update private.settings set custom_field_account_age = '7 days'")
    people = [sign_up() for _ in range(4)]
    answers = [p.api.rpc("request_custom_field", field_type="skill", field_value="Buy Now").json() for p in people]
    assert [(a["status"], a["request_count"]) for a in answers] == [("pending", n) for n in range(1, 5)]
    database.run(
        "update public.profiles set created_at = now() - interval '8 days' where id = any(%s)",
        [person.id for person in people[:3]],
    )
    decided = people[3].api.rpc("request_custom_field", field_type="skill", field_value="Buy Now").json()
    assert decided["status"] == "auto_approved"
