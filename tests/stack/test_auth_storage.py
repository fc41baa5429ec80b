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
from cryptography.hazmat.primitives.asymmetric import ec
from storage3.exceptions import StorageApiError
from storage3.types import CreateSignedUploadUrlOptions
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
    """Verified with the published keys, as whoever is not the project would."""
    keys = jwt.PyJWKClient(f"{services.url}/auth/v1/.well-known/jwks.json")
    return jwt.decode(token, keys.get_signing_key_from_jwt(token), algorithms=["ES256"], audience="authenticated")


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


def test_an_object_is_what_its_row_says(hosted: Services, schema: psycopg.Connection[Any]) -> None:
    """As hosted: the bytes of a version are served while the row names it, also when another upload got further."""
    service = client(hosted, hosted.service_role_key).storage.from_("own")
    kind = {"content-type": "text/plain"}
    link = service.create_signed_upload_url("pin/a.txt", CreateSignedUploadUrlOptions(upsert="true"))
    service.upload("pin/a.txt", b"first", kind)
    schema.execute("""
        create function private.pin() returns trigger language plpgsql as $$ begin
            if old.name like 'pin/%' then raise insufficient_privilege using message = 'pinned'; end if;
            return new;
        end $$;
        create trigger pin before update of version, metadata on storage.objects
        for each row execute function private.pin()
    """)
    for upload in (
        lambda: service.upload_to_signed_url("pin/a.txt", link["token"], b"second", kind),
        lambda: service.update("pin/a.txt", b"third", kind),
    ):
        with pytest.raises(StorageApiError):
            upload()
        assert service.download("pin/a.txt") == b"first"
    service.copy("pin/a.txt", "copied.txt")
    schema.execute("drop trigger pin on storage.objects")
    service.update("pin/a.txt", b"fourth", kind)
    assert service.download("pin/a.txt") == b"fourth"
    assert service.download("copied.txt") == b"first"


def test_policies_learn_the_operation_and_sql_deletes_nothing(
    hosted: Services, schema: psycopg.Connection[Any]
) -> None:
    owner, owner_id = signed_up(hosted)
    bucket = owner.storage.from_("own")
    bucket.upload(f"{owner_id}/a.txt", b"a", {"content-type": "text/plain"})
    schema.execute("""
        create policy no_links on storage.objects as restrictive for select to authenticated
        using (storage.operation() not in ('storage.object.sign', 'storage.object.sign_many', 'storage.object.copy'))
    """)
    assert bucket.download(f"{owner_id}/a.txt") == b"a"
    assert [entry["name"] for entry in bucket.list(owner_id)] == ["a.txt"]
    for act in (
        lambda: bucket.create_signed_url(f"{owner_id}/a.txt", 60),
        lambda: bucket.copy(f"{owner_id}/a.txt", f"{owner_id}/b.txt"),
    ):
        with pytest.raises(StorageApiError):
            act()
    schema.execute("drop policy no_links on storage.objects")
    for relation in ("objects", "buckets"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="Use the Storage API"):
            schema.execute(f"delete from storage.{relation}")
    assert [entry["name"] for entry in bucket.remove([f"{owner_id}/a.txt"])] == [f"{owner_id}/a.txt"]


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


def test_a_new_signing_key_leaves_old_sessions_alone(hosted: Services) -> None:
    before, user_id = signed_up(hosted)
    session = before.auth.get_session()
    assert session
    hosted.rotate_signing_key()
    after, _ = signed_up(hosted)
    fresh = after.auth.get_session()
    assert fresh
    kids = [jwt.get_unverified_header(each.access_token)["kid"] for each in (session, fresh)]
    assert kids[0] != kids[1]
    published = httpx.get(f"{hosted.url}/auth/v1/.well-known/jwks.json").json()["keys"]
    assert kids == [key["kid"] for key in reversed(published)][-2:]
    assert not any("d" in key for key in published)
    for each in (session, fresh):
        assert claims(hosted, each.access_token)["aud"] == "authenticated"
        headers = {"apikey": hosted.publishable_key, "authorization": f"Bearer {each.access_token}"}
        assert httpx.get(f"{hosted.url}/rest/v1/names", headers=headers).status_code == 200
        assert httpx.get(f"{hosted.url}/auth/v1/user", headers=headers).status_code == 200
        listing = httpx.post(f"{hosted.url}/storage/v1/object/list/own", json={"prefix": ""}, headers=headers)
        assert listing.status_code == 200
    assert before.auth.refresh_session().user.id == user_id  # type: ignore[union-attr]


def test_keys_of_the_new_kind_are_no_tokens(hosted: Services) -> None:
    buckets, users = f"{hosted.url}/storage/v1/bucket", f"{hosted.url}/auth/v1/admin/users"
    secret, public = hosted.secret_key, hosted.publishable_key
    # A server sends the key alone; client libraries repeat it as the token.
    for headers in ({"apikey": secret}, {"apikey": secret, "authorization": f"Bearer {secret}"}):
        assert len(httpx.get(buckets, headers=headers).json()) == 2
        assert httpx.get(users, headers=headers).status_code == 200
    # By itself it is not a token, and another key's is not exchanged.
    for headers in (
        {"authorization": f"Bearer {secret}"},
        {"apikey": public, "authorization": f"Bearer {secret}"},
        {"apikey": public},
        {"apikey": "sb_secret_guessed"},
        {"apikey": secret[:-1]},
    ):
        assert httpx.get(users, headers=headers).status_code in (401, 403)
    assert httpx.get(buckets, headers={"apikey": "sb_secret_guessed"}).json() == {"message": "Invalid API key"}
    # Somebody's own token counts, whatever key comes with it.
    stranger, _ = signed_up(hosted)
    session = stranger.auth.get_session()
    assert session
    theirs = {"apikey": secret, "authorization": f"Bearer {session.access_token}"}
    assert httpx.get(users, headers=theirs).status_code == 403
    with_key = client(hosted, public)
    assert with_key.auth.sign_up({"email": f"{uuid.uuid4().hex}@example.com", "password": PASSWORD}).session


def test_tokens_of_others_are_refused(hosted: Services) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    kid = {"kid": hosted.signing_keys[0]["kid"]}
    claimed = {"role": "service_role", "exp": time.time() + 60}
    foreign = jwt.encode(claimed, key, algorithm="ES256", headers=kid)
    # The classic: the published key taken as a secret.
    point = hosted.signing_keys[0]["x"]
    confused = jwt.encode(claimed, point, algorithm="HS256", headers=kid)
    forged = jwt.encode({"role": "service_role", "exp": time.time() + 60}, "x" * 48, algorithm="HS256")
    bare = jwt.encode({"role": "service_role"}, "", algorithm="none")
    for token in (forged, bare, foreign, confused, "nonsense"):
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
