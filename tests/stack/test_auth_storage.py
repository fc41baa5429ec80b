"""Auth and Storage answer the official clients as a hosted project does."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import jwt
import psycopg
import pytest
from storage3.exceptions import StorageApiError
from supabase import Client, create_client
from supabase_auth.errors import AuthApiError

from stack.cluster import REPO
from stack.services import Services

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module", autouse=True)
def schema(hosted: Services) -> Iterator[psycopg.Connection[Any]]:
    """What a small project's migrations would make, as role postgres."""
    with hosted.cluster.connect("hosted", "postgres") as owner:
        owner.execute("""
            create table public.names (id uuid primary key, name text);
            create schema private;
            create function private.welcome() returns trigger language plpgsql security definer set search_path = ''
            as $$ begin
                if new.raw_user_meta_data ->> 'name' = 'refuse me' then raise exception 'refused'; end if;
                insert into public.names values (new.id, new.raw_user_meta_data ->> 'name');
                return new;
            end $$;
            create trigger welcome after insert on auth.users for each row execute function private.welcome();
            insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types) values
                ('open', 'open', true, null, null), ('own', 'own', false, 20, array['text/plain']);
            create policy own on storage.objects for all to authenticated
                using (bucket_id = 'own' and (storage.foldername(name))[1] = (select auth.uid())::text)
                with check (bucket_id = 'own' and (storage.foldername(name))[1] = (select auth.uid())::text);
        """)
        yield owner


def client(services: Services, key: str | None = None) -> Client:
    return create_client(services.url, key or services.anon_key)


def signed_up(services: Services, **metadata: str) -> tuple[Client, str]:
    fresh = client(services)
    answer = fresh.auth.sign_up(
        {"email": f"{uuid.uuid4().hex}@example.com", "password": PASSWORD, "options": {"data": metadata}}
    )
    assert answer.user
    assert answer.session
    return fresh, answer.user.id


def claims(services: Services, token: str) -> dict[str, Any]:
    return jwt.decode(token, services.jwt_secret, algorithms=["HS256"], audience="authenticated")


def test_sign_up_fires_the_trigger_and_gives_a_hosted_token(hosted: Services, schema: psycopg.Connection[Any]) -> None:
    person, user_id = signed_up(hosted, name="Zoë 🎷", role="admin")
    assert schema.execute("select name from public.names where id = %s", [user_id]).fetchone() == ("Zoë 🎷",)
    session = person.auth.get_session()
    assert session
    token = claims(hosted, session.access_token)
    assert token["sub"] == user_id
    assert token["role"] == "authenticated"
    assert token["aal"] == "aal1"
    assert token["amr"][0]["method"] == "password"
    assert abs(token["amr"][0]["timestamp"] - time.time()) < 10
    assert token["app_metadata"] == {"provider": "email", "providers": ["email"]}
    assert token["user_metadata"]["name"] == "Zoë 🎷"
    assert token["session_id"]


def test_a_refresh_keeps_when_the_session_was_opened(hosted: Services, schema: psycopg.Connection[Any]) -> None:
    person, _ = signed_up(hosted)
    session = person.auth.get_session()
    assert session
    session_id = claims(hosted, session.access_token)["session_id"]
    with hosted.cluster.connect("hosted") as admin:
        admin.execute(
            "update auth.mfa_amr_claims set created_at = now() - interval '2 hours' where session_id = %s", [session_id]
        )
    refreshed = person.auth.refresh_session().session
    assert refreshed
    amr = claims(hosted, refreshed.access_token)["amr"]
    assert len(amr) == 1
    assert 7100 < time.time() - amr[0]["timestamp"] < 7300


def test_sign_in_needs_the_password_and_a_refused_sign_up_leaves_nothing(
    hosted: Services, schema: psycopg.Connection[Any]
) -> None:
    fresh = client(hosted)
    fresh.auth.sign_up({"email": "known@example.com", "password": PASSWORD})
    with pytest.raises(AuthApiError, match="Invalid login credentials"):
        fresh.auth.sign_in_with_password({"email": "known@example.com", "password": "wrong"})
    with pytest.raises(AuthApiError):
        fresh.auth.sign_up(
            {"email": "no@example.com", "password": PASSWORD, "options": {"data": {"name": "refuse me"}}}
        )
    with hosted.cluster.connect("hosted") as admin:
        found = admin.execute("select count(*) from auth.users where email = 'no@example.com'")
        assert found.fetchone() == (0,)


def test_admin_api(hosted: Services) -> None:
    admin = client(hosted, hosted.service_role_key).auth.admin
    made = admin.create_user(
        {"email": "Made@Example.com", "password": PASSWORD, "email_confirm": True, "app_metadata": {"team": "a"}}
    ).user
    assert (made.email, made.app_metadata["team"]) == ("made@example.com", "a")
    assert client(hosted).auth.sign_in_with_password({"email": "made@example.com", "password": PASSWORD}).user
    assert admin.update_user_by_id(made.id, {"user_metadata": {"x": 1}}).user.user_metadata["x"] == 1
    assert made.id in [user.id for user in admin.list_users()]
    stranger, _ = signed_up(hosted)
    with pytest.raises(AuthApiError, match="User not allowed"):
        stranger.auth.admin.delete_user(made.id)
    admin.delete_user(made.id)
    with pytest.raises(AuthApiError, match="not found"):
        admin.get_user_by_id(made.id)


def test_storage_asks_the_policies_with_the_callers_token(hosted: Services) -> None:
    owner, owner_id = signed_up(hosted)
    path = f"{owner_id}/a folder/ü.txt"
    bucket = owner.storage.from_("own")
    bucket.upload(path, b"hello", {"content-type": "text/plain"})
    assert bucket.download(path) == b"hello"
    with pytest.raises(StorageApiError, match="row-level security"):
        bucket.upload(f"{uuid.uuid4()}/x.txt", b"x", {"content-type": "text/plain"})
    stranger, _ = signed_up(hosted)
    for other in (stranger, client(hosted)):
        theirs = other.storage.from_("own")
        for forbidden in (theirs.download, lambda name, theirs=theirs: theirs.create_signed_url(name, 60)):
            with pytest.raises(StorageApiError):
                forbidden(path)
        assert theirs.list(owner_id) == []
        assert theirs.remove([path]) == []
    assert bucket.download(path) == b"hello"


@pytest.mark.parametrize(
    ("content", "mime", "refusal"),
    [(b"x" * 21, "text/plain", "maximum allowed size"), (b"x", "image/png", "not supported")],
    ids=["too large", "wrong type"],
)
def test_a_buckets_limits(hosted: Services, content: bytes, mime: str, refusal: str) -> None:
    owner, owner_id = signed_up(hosted)
    with pytest.raises(StorageApiError, match=refusal):
        owner.storage.from_("own").upload(f"{owner_id}/file", content, {"content-type": mime})


def test_signed_urls_need_no_token_and_open_one_object_only(hosted: Services) -> None:
    service = client(hosted, hosted.service_role_key).storage.from_("own")
    service.upload("somebody/a.txt", b"aaa", {"content-type": "text/plain"})
    service.upload("somebody/b.txt", b"bbb", {"content-type": "text/plain"})
    url = service.create_signed_url("somebody/a.txt", 60, {"download": "my name.txt"})["signedURL"]
    answer = httpx.get(url)
    assert answer.content == b"aaa"
    assert "my%20name.txt" in answer.headers["content-disposition"]
    assert httpx.get(url.replace("a.txt", "b.txt")).status_code == 403
    assert httpx.get(f"{hosted.url}/storage/v1/object/own/somebody/a.txt").status_code == 400
    assert httpx.get(f"{hosted.url}/storage/v1/object/public/own/somebody/a.txt").status_code == 400
    many = service.create_signed_urls(["somebody/b.txt", "missing"], 60)
    assert httpx.get(many[0]["signedURL"]).content == b"bbb"
    assert many[1]["error"] == "Object not found"
    expired = service.create_signed_url("somebody/a.txt", -10)["signedURL"]
    assert httpx.get(expired).status_code >= 400
    target = service.create_signed_upload_url("somebody/c.txt")
    client(hosted).storage.from_("own").upload_to_signed_url(
        target["path"], target["token"], b"ccc", {"content-type": "text/plain"}
    )
    assert service.download("somebody/c.txt") == b"ccc"


def test_listing_names_objects_and_folders_of_one_level(hosted: Services) -> None:
    service = client(hosted, hosted.service_role_key).storage.from_("own")
    for name in ("tree/b.txt", "tree/a.txt", "tree/sub/c.txt", "tree/sub/d.txt"):
        service.upload(name, b"x", {"content-type": "text/plain"})
    listed = service.list("tree")
    assert [(entry["name"], entry["id"] is None) for entry in listed] == [
        ("a.txt", False),
        ("b.txt", False),
        ("sub", True),
    ]
    assert [entry["name"] for entry in service.list("tree", {"limit": 1, "offset": 1})] == ["b.txt"]
    assert len(service.remove(["tree/a.txt", "tree/sub/c.txt"])) == 2
    assert [entry["name"] for entry in service.list("tree/sub")] == ["d.txt"]


def test_names_cannot_leave_the_directory_or_clash_with_folders(hosted: Services) -> None:
    service = client(hosted, hosted.service_role_key).storage.from_("open")
    service.upload("x", b"file", {"content-type": "text/plain"})
    service.upload("x/y", b"below", {"content-type": "text/plain"})
    assert (service.download("x"), service.download("x/y")) == (b"file", b"below")
    url = f"{hosted.url}/storage/v1/object/open/%2e%2e%2f%2e%2e%2fkeys.json"
    token = {"authorization": f"Bearer {hosted.service_role_key}"}
    assert httpx.get(url, headers=token).status_code >= 400
    assert httpx.post(url, headers=token, content=b"x").status_code >= 400


def test_tokens_of_others_are_refused(hosted: Services) -> None:
    forged = jwt.encode({"role": "service_role", "exp": time.time() + 60}, "x" * 48, algorithm="HS256")
    bare = jwt.encode({"role": "service_role"}, "", algorithm="none")
    for token in (forged, bare, "nonsense"):
        header = {"authorization": f"Bearer {token}", "apikey": token}
        assert httpx.post(f"{hosted.url}/storage/v1/object/list/own", json={}, headers=header).status_code >= 400
        assert httpx.get(f"{hosted.url}/storage/v1/bucket", headers=header).status_code == 401
        assert httpx.get(f"{hosted.url}/auth/v1/admin/users", headers=header).status_code == 403


def test_supabase_js_signs_up_and_stores(hosted: Services) -> None:
    script = REPO / "tests/stack/storage.mjs"
    arguments = ["node", str(script), hosted.url, hosted.anon_key]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "first": "hello from js",
        "second": "once more",
        "listed": ["note.txt", "moved.txt", "signed.txt"],
        "signed": "hello from js",
    }


def test_auth_and_storage_grant_nothing(hosted: Services, schema: psycopg.Connection[Any]) -> None:
    """Lite would grant everything to anon in each schema with row level security."""
    schema.execute(
        "create schema closed; create table closed.t (id int); alter table closed.t enable row level security"
    )
    hosted.restart("auth")
    owner, owner_id = signed_up(hosted)
    owner.storage.from_("own").upload(f"{owner_id}/x", b"x", {"content-type": "text/plain"})
    query = (
        "select has_schema_privilege('anon', 'closed', 'usage') or has_table_privilege('anon', 'closed.t', 'select')"
    )
    assert schema.execute(query).fetchone() == (False,)
