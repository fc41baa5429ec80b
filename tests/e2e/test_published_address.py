"""Where the workers are: published by themselves, told to clients, and nothing is sold by card without it."""

from __future__ import annotations

import json
import subprocess

from stack.cluster import REPO
from stack.services import Services
from tests.harness.market import order, publish_product, start
from tests.harness.people import Api, SignUp, code_of
from tests.harness.server import Database

INVOKE = """
import { createClient } from "@supabase/supabase-js";
import ws from "ws";
const [url, key] = process.argv.slice(1);
const supabase = createClient(url, key, { realtime: { transport: ws } });
const { error } = await supabase.functions.invoke("payouts/onboard", { body: {} });
const problem = error?.context ? await error.context.json() : null;
console.log(JSON.stringify(problem));
"""


def test_without_an_address_nothing_is_ordered_that_nobody_could_pay(
    services: Services, database: Database, sign_up: SignUp, anon: Api
) -> None:
    seller, buyer = sign_up(), sign_up()
    product, free = publish_product(seller), publish_product(seller, 0)
    assert anon.one("app_settings", select="workers_url") == {"workers_url": services.url}
    database.run("update public.app_settings set workers_url = null")
    refused = buyer.api.rpc("checkout", items=[{"item_id": product}])
    assert (refused.status_code, code_of(refused)) == (409, "payments_not_set_up")
    assert buyer.api.select("orders") == []
    assert order(buyer, free)["status"] == "completed"
    # A worker that starts publishes, and the link it is given works as it is.
    services.restart("http")
    ordered = order(buyer, product)
    assert ordered["start_url"] == f"{services.url}/functions/v1/payments/{ordered['payment_id']}/start"
    assert start(buyer, ordered)["client_secret"]
    for api in (anon, buyer.api):
        written = api.http.patch(
            "/rest/v1/app_settings?singleton=is.true", json={"workers_url": "https://evil.example"}
        )
        assert written.status_code in (401, 403)


def test_a_visitor_who_invokes_a_function_is_told_to_sign_in(services: Services) -> None:
    for key in (services.publishable_key, services.anon_key):
        done = subprocess.run(
            ["node", "--input-type=module", "-e", INVOKE, services.url, key],
            cwd=REPO,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["code"] == "not_signed_in"


def test_a_session_is_signed_with_a_published_key(services: Services, sign_up: SignUp) -> None:
    """Accepted by the Data API and by the workers, before and after a rotation."""
    import jwt

    missing = "downloads/00000000-0000-4000-8000-000000000000"
    for _ in range(2):
        member = sign_up()
        assert jwt.get_unverified_header(member.token)["alg"] == "ES256"
        assert member.api.one("wallets")["user_id"] == member.id
        answer = member.api.function("GET", missing)
        assert (answer.status_code, code_of(answer)) == (404, "item_not_found")
        services.rotate_signing_key()
        services.restart("http")
