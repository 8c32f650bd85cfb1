"""Who one is over HTTP by every scheme, as curl says it: passwords, tickets of a real KDC, tokens of an issuer, sessions."""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_bad_input import metric
from tests.support.curl import Answer, Curl
from tests.support.kdc import Kdc, kerberos_missing
from tests.support.oidc import AUDIENCE, Issuer, new_key
from tests.support.parley_server import DOMAIN, ParleyServer
from tests.support.ports import free_port

pytestmark = pytest.mark.valkey

NAME = "web.example.test"
ME = "/api/v1/me"
ALICE = ("--user", "alice:Secret-1")
SCIM_SCOPE = "parley.provision"


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    with Issuer(tmp_path_factory.mktemp("issuer")) as running:
        yield running


@pytest.fixture(scope="module")
def kdc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kdc | None]:
    if kerberos_missing():
        yield None
        return
    with Kdc(tmp_path_factory.mktemp("kdc")) as running:
        running.admin(f"addprinc -randkey HTTP/{NAME}")
        yield running


@pytest.fixture(scope="module")
def server(issuer: Issuer, kdc: Kdc | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    port = free_port()
    config = {
        "port": port, "url": f"https://{NAME}:{port}", "administrators": [f"alice@{DOMAIN}"],
        "limits": {"failures_per_source": 1000, "failures_per_user": 1000, "request_burst": 1000},
        "oidc": [{"issuer": issuer.url, "audience": AUDIENCE, "ca": str(issuer.ca), "leeway_seconds": 10}],
        "scim": {"scope": SCIM_SCOPE}, "kerberos": {"keytab": str(kdc.keytab(f"HTTP/{NAME}"))} if kdc else {},
    }  # fmt: skip
    running = ParleyServer(tmp_path_factory.mktemp("parley"), config={"web": config}, env={"KRB5_CONFIG": "/dev/null"})
    running.web_url = config["url"]  # type: ignore[assignment]
    try:
        asyncio.run(running.start())
        yield running
    finally:
        asyncio.run(running.stop())


def curl(server: ParleyServer, **env: str) -> Curl:
    port = server.web_url.rpartition(":")[2]
    return Curl(server.web_url, server.ca_file, at=f"{NAME}:{port}:127.0.0.1", env=env)


@pytest.mark.parametrize("scheme", ["--ntlm", "--basic"])
@pytest.mark.parametrize("login", ["alice", "EXAMPLE\\alice", f"alice@{DOMAIN}"])
async def test_passwords(server: ParleyServer, scheme: str, login: str) -> None:
    answer = await curl(server)(ME, scheme, "--user", f"{login}:Secret-1")
    assert answer.status == 200
    said = answer.json
    assert (said["address"], said["administrator"], said["scheme"]) == (f"alice@{DOMAIN}", True, scheme[2:])


@pytest.mark.parametrize("scheme", ["--ntlm", "--basic"])
async def test_wrong_passwords_and_nobody_are_told_the_same(server: ParleyServer, scheme: str) -> None:
    answers = [await curl(server)(ME, scheme, "--user", login) for login in ("alice:Wrong-1", "nobody:Secret-1")]
    first, second = [
        (answer.status, answer.headers["www-authenticate"], {**answer.json, "request_id": ""}) for answer in answers
    ]
    assert first == second
    assert first[0] == 401


@pytest.mark.kerberos
async def test_kerberos_tickets(server: ParleyServer, kdc: Kdc | None) -> None:
    assert kdc is not None, kerberos_missing()
    env = {"KRB5_CONFIG": str(kdc.config), "KRB5CCNAME": f"FILE:{kdc.tickets('alice')}"}
    answer = await curl(server, **env)(ME, "--negotiate", "--user", ":")
    assert answer.status == 200, answer.body
    assert (answer.json["address"], answer.json["scheme"]) == (f"alice@{DOMAIN}", "negotiate")
    assert re.fullmatch("Negotiate [A-Za-z0-9+/=]+", answer.headers["www-authenticate"][0])
    unknown = {"KRB5_CONFIG": str(kdc.config), "KRB5CCNAME": f"FILE:{kdc.tickets('mallory')}"}
    refused = await curl(server, **unknown)(ME, "--negotiate", "--user", ":")
    assert refused.status == 401
    assert refused.headers["www-authenticate"][0] == "Negotiate"


@pytest.mark.kerberos
async def test_a_kerberos_token_is_taken_once(
    server: ParleyServer, kdc: Kdc | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kdc is not None, kerberos_missing()
    token = b64encode(kdc.initiator("bob", monkeypatch).token(f"HTTP/{NAME}")).decode()
    statuses = [(await curl(server)(ME, "--header", f"Authorization: Negotiate {token}")).status for _ in range(2)]
    assert statuses == [200, 401]


def bearer(token: str) -> tuple[str, str]:
    return "--header", f"Authorization: Bearer {token}"


@pytest.mark.parametrize("kid", ["first", "curve"])
async def test_tokens_of_an_issuer(server: ParleyServer, issuer: Issuer, kid: str) -> None:
    answer = await curl(server)(ME, *bearer(issuer.token(kid=kid, aud=["other", AUDIENCE])))
    assert (answer.status, answer.json["scheme"], answer.json["address"]) == (200, "bearer", f"alice@{DOMAIN}")


def _unsigned(issuer: Issuer) -> str:
    parts = [
        {"alg": "none", "kid": "first"},
        {"iss": issuer.url, "aud": AUDIENCE, "exp": time.time() + 60, "email": "alice"},
    ]
    return ".".join(urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


def _by_public_key(issuer: Issuer) -> str:
    """Signed with HMAC and the public key as the secret, as a server that believes the header would check it."""
    head, claims, _ = issuer.token().split(".")
    head = urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": "first"}).encode()).decode().rstrip("=")
    secret = json.dumps(issuer.key_set()["keys"][0]).encode()
    signature = hmac.digest(secret, f"{head}.{claims}".encode(), "sha256")
    return f"{head}.{claims}.{urlsafe_b64encode(signature).decode().rstrip('=')}"


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda issuer: issuer.token(exp=time.time() - 11), id="expired"),
        pytest.param(lambda issuer: issuer.token(exp=None), id="without end"),
        pytest.param(lambda issuer: issuer.token(nbf=time.time() + 60), id="not yet"),
        pytest.param(lambda issuer: issuer.token(aud="another"), id="audience"),
        pytest.param(lambda issuer: issuer.token(aud=None), id="without audience"),
        pytest.param(lambda issuer: issuer.token(iss="https://evil.example"), id="issuer"),
        pytest.param(lambda issuer: issuer.token(key=new_key()), id="forged"),
        pytest.param(lambda issuer: issuer.token(key=new_key("ES256")), id="other algorithm"),
        pytest.param(lambda issuer: issuer.token(f"nobody@{DOMAIN}"), id="nobody"),
        pytest.param(lambda issuer: issuer.token(email_verified=False), id="not verified"),
        pytest.param(lambda issuer: issuer.token()[:-6] + "AAAAAA", id="signature"),
        pytest.param(_unsigned, id="none"),
        pytest.param(_by_public_key, id="HMAC by the public key"),
        pytest.param(lambda issuer: "not.a.token", id="garbage"),
        pytest.param(lambda issuer: "x" * 20_000, id="long"),
    ],
)  # fmt: skip
async def test_tokens_that_are_not_taken(server: ParleyServer, issuer: Issuer, make: object) -> None:
    token = make(issuer)  # type: ignore[operator]
    answer = await curl(server)(ME, *bearer(token))
    assert answer.status in (400, 401)  # a header that is too long never reaches us
    assert answer.status == 401 or len(token) > 8_190


async def test_new_keys_are_fetched_and_unknown_ones_not_again_and_again(server: ParleyServer, issuer: Issuer) -> None:
    assert (await curl(server)(ME, *bearer(issuer.token()))).status == 200
    for number in range(5):
        key = new_key()
        assert (await curl(server)(ME, *bearer(issuer.token(kid=f"unknown{number}", key=key)))).status == 401
    assert issuer.requests.count("/keys") <= 2


async def test_who_may_provision(server: ParleyServer, issuer: Issuer) -> None:
    path = "/scim/v2/ServiceProviderConfig"
    assert (await curl(server)(path, *bearer(issuer.token(scope=f"openid {SCIM_SCOPE}")))).status == 200
    for options in ((), ALICE, bearer(issuer.token()), bearer("0" * 30), bearer(issuer.token(scope="openid"))):
        refused = await curl(server)(path, *options)
        assert (refused.status, refused.json["status"]) == (401, "401")


async def sign_in(server: ParleyServer, user: str = "alice", password: str = "Secret-1", *options: str) -> Answer:
    return await curl(server)("/api/v1/session", *options, body={"login": user, "password": password})


async def test_a_session_wants_its_token_and_is_over_for_everybody_when_it_is_ended(server: ParleyServer) -> None:
    await server.create_users(["dora"])
    answer = await sign_in(server, "dora")
    assert answer.status == 201
    cookie = answer.headers["set-cookie"][0]
    for part in ("__Host-parley=", "HttpOnly", "Secure", "SameSite=Strict", "Path=/"):
        assert part in cookie
    with_cookie = ("--cookie", cookie.partition(";")[0])
    run = curl(server)
    assert (await run("/api/v1/session", *with_cookie)).json["csrf_token"] == answer.json["csrf_token"]
    for token, status in (("", 403), ("0" * 48, 403), (answer.json["csrf_token"], 204)):
        ended = await run("/api/v1/session", *with_cookie, "--header", f"X-CSRF-Token: {token}", method="DELETE")
        assert ended.status == status
    assert "__Host-parley=" in ended.headers["set-cookie"][0]
    assert (await run(ME, *with_cookie)).status == 401  # whoever copied the cookie is out too
    forged = await run(ME, "--cookie", with_cookie[1][:-4] + "AAAA")
    assert forged.status == 401


async def test_another_password_or_a_disabled_user_ends_sessions_at_once(server: ParleyServer) -> None:
    await server.create_users(["emil"])
    run, path = curl(server), f"/api/v1/users/emil@{DOMAIN}"

    async def cookie(password: str) -> tuple[str, str]:
        answer = await sign_in(server, "emil", password)
        assert answer.status == 201
        return "--cookie", answer.headers["set-cookie"][0].partition(";")[0]

    first = await cookie("Secret-1")
    assert (await run(ME, *first)).status == 200
    changed = await run(f"{path}/password", *ALICE, method="PUT", body={"password": "Other-22"})
    assert changed.status == 204
    assert (await run(ME, *first)).status == 401
    assert (await sign_in(server, "emil")).status == 401
    second = await cookie("Other-22")
    assert (await run(path, *ALICE, method="PATCH", body={"enabled": False})).status == 200
    assert (await run(ME, *second)).status == 401
    assert (await sign_in(server, "emil", "Other-22")).status == 401


@pytest.mark.parametrize("scheme", ["Basic", "NTLM", "Negotiate", "Bearer", "Nothing"])
async def test_headers_that_are_no_text_are_wrong_ones(server: ParleyServer, scheme: str) -> None:
    for value in ("\udcff\udcfe", "\udcff.e30.AAAA", "QTpC\udcff"):  # bytes that are no UTF-8
        assert (await curl(server)(ME, "--header", f"Authorization: {scheme} {value}")).status == 401
    ticket = await curl(server)("/abs/handler/F-0B8B.lsabs", "--header", "X-MS-WebTicket: opaque=\udcff")
    assert ticket.status == 401
    assert (await curl(server)(ME, "--header", "Cookie: __Host-parley=\udcff")).status == 401


async def test_scripts_are_not_made_to_ask_for_a_password(server: ParleyServer) -> None:
    asked = await curl(server)(ME, "--header", "Sec-Fetch-Dest: empty")
    assert asked.status == 401
    assert [value.split()[0] for value in asked.headers["www-authenticate"]] == ["Bearer"]


@pytest.mark.parametrize(
    "headers",
    [
        ("Sec-Fetch-Site: cross-site",), ("Sec-Fetch-Site: same-site",), ("Origin: https://evil.example",), ("Origin: null",)
    ],
)  # fmt: skip
async def test_pages_of_other_sites_change_nothing(server: ParleyServer, headers: tuple[str, ...]) -> None:
    options = [part for header in headers for part in ("--header", header)]
    body = {"address": f"eve@{DOMAIN}", "password": "Secret-22"}
    refused = await curl(server)("/api/v1/users", *ALICE, *options, body=body)
    assert refused.status == 403
    assert (await sign_in(server, "alice", "Secret-1", *options)).status == 403
    assert (await curl(server)(f"/api/v1/users/eve@{DOMAIN}", *ALICE)).status == 404
    assert await metric(server, 'parley_web_limited_total{limit="other_site"}') >= 2
    same = ("--header", f"Origin: {server.web_url}")
    assert (await sign_in(server, "alice", "Secret-1", *same)).status == 201


async def test_headers_are_told_without_the_body(server: ParleyServer) -> None:
    got, head = await curl(server)(ME, *ALICE), await curl(server)(ME, *ALICE, "--head")
    assert (head.status, head.headers["content-length"], head.body[:4]) == (200, got.headers["content-length"], b"HTTP")
    refused = await curl(server)(ME, *ALICE, method="DELETE", body={})
    assert (refused.status, refused.headers["allow"]) == (405, ["GET, HEAD"])


async def test_headers_of_every_answer(server: ParleyServer) -> None:
    for path in (ME, "/nothing", "/admin", "/healthz", "/WebTicket/WebTicketService.svc/mex"):
        answer = await curl(server)(path, "--header", "X-Request-Id: mine-1")
        assert answer.headers["x-request-id"] == ["mine-1"]
        assert answer.headers["x-content-type-options"] == ["nosniff"]
        assert answer.headers["x-frame-options"] == ["DENY"]
        assert answer.headers["strict-transport-security"] == ["max-age=31536000"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"][0]
    made = await curl(server)(ME, "--header", "X-Request-Id: <script>")
    assert re.fullmatch("[0-9a-f]{32}", made.headers["x-request-id"][0])


def test_no_secret_is_in_the_log(server: ParleyServer) -> None:
    log = Path(server.folder / "parley.log").read_text()
    assert "Secret-22" not in log
    assert "Other-22" not in log
    assert "Bearer ey" not in log
