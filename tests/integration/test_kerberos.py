"""Communicator clients sign in with tickets of a real KDC, on Parley as users start it."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parley.sip.message import Response, make_response
from tests.integration.test_bad_input import metric
from tests.support.kdc import SERVER_NAME, SERVICE, Kdc
from tests.support.ocs_client import OcsClient
from tests.support.parley_server import ParleyCluster, ParleyServer, quiet_limits
from tests.support.sip_client import DOMAIN, SipClient

pytestmark = [pytest.mark.kerberos, pytest.mark.valkey]

RC4 = ("permitted_enctypes = arcfour-hmac",)


def settings(kdc: Kdc, *schemes: str, **more: Any) -> dict[str, Any]:
    """The part of a front end's configuration that Kerberos needs."""
    kerberos = {"keytab": str(kdc.keytab(SERVICE)), **more.pop("kerberos", {})}
    return {"server_name": SERVER_NAME, "schemes": {DOMAIN: list(schemes)}, "kerberos": kerberos, **more}


@pytest.fixture(scope="module")
def kdc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kdc]:
    with Kdc(tmp_path_factory.mktemp("kdc")) as running:
        yield running


@pytest.fixture(scope="module")
def server(kdc: Kdc, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    limits = quiet_limits() | {"failures_per_source": 1000, "failures_per_user": 1000}
    config = {"frontend": {"limits": limits, "communicator": settings(kdc, "Kerberos", "NTLM")}}
    # It knows nothing of the KDC: the key is all it needs.
    env = {"KRB5_CONFIG": "/dev/null"}
    running = ParleyServer(tmp_path_factory.mktemp("parley"), config=config, env=env)
    try:
        asyncio.run(running.start())
        yield running
    finally:
        asyncio.run(running.stop())


async def client(server: ParleyServer, user: str, *, version: int = 4) -> OcsClient:
    """A client that has not signed in."""
    made = await OcsClient(user).connect(server.ports["tcp"])
    made.version = version
    return made


def overheard(talker: OcsClient, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """All that a client sends from now on."""
    sent: list[bytes] = []
    write = talker.send

    def send(data: bytes) -> None:
        sent.append(data)
        write(data)

    monkeypatch.setattr(talker, "send", send)
    return sent


def offered(answer: Response) -> list[str]:
    """The schemes of a challenge, which has no token."""
    values = answer.get_all("WWW-Authenticate")
    assert not any("gssapi-data" in value for value in values)
    return [value.partition(" ")[0] for value in values]


async def converse(one: OcsClient, other: OcsClient) -> None:
    """A request from one to the other and its answer: all of it is signed, with the signatures of both."""
    one.send(bytes(one.sign(one.ocs_request("OPTIONS", f"sip:{other.user}@{DOMAIN}"))))
    request = await other.expect("OPTIONS")
    assert other.is_signed(request)
    other.send(bytes(other.sign(make_response(request, 200, to_tag="t"))))
    got = await one.response()
    assert got.status == 200
    assert one.is_signed(got)


@pytest.mark.parametrize("version", [3, 4])
async def test_one_ticket_signs_in_and_every_message_is_signed(
    kdc: Kdc, server: ParleyServer, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    alice, bob = await client(server, "alice", version=version), await client(server, "bob", version=version)
    for one in (alice, bob):
        answer = await one.sign_in_with_ticket(kdc.initiator(one.user, monkeypatch))
        assert answer.status == 200
        assert one.is_signed(answer)
        assert (answer.get("Authentication-Info") or "").startswith("Kerberos rspauth=")
        assert "gssapi-data" not in (answer.get("Authentication-Info") or "")
    await converse(alice, bob)
    await converse(bob, alice)


@pytest.mark.parametrize(("defaults", "beginning"), [((), "0404"), (RC4, "602306092A864886F71201020201011100FFFFFFFF")])
async def test_signatures_have_the_form_of_the_kind_of_key(
    kdc: Kdc, server: ParleyServer, monkeypatch: pytest.MonkeyPatch, defaults: tuple[str, ...], beginning: str
) -> None:
    kdc.write_config(*defaults)
    try:
        alice = await client(server, "alice")
        answer = await alice.sign_in_with_ticket(kdc.initiator("alice", monkeypatch))
    finally:
        kdc.write_config()
    assert answer.status == 200
    assert alice.is_signed(answer)
    assert f'rspauth="{beginning}' in (answer.get("Authentication-Info") or "")


async def test_messages_may_come_in_another_order_and_none_twice(
    kdc: Kdc, server: ParleyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await client(server, "alice")
    assert (await alice.sign_in_with_ticket(kdc.initiator("alice", monkeypatch))).status == 200
    requests = [alice.sign(alice.ocs_request("OPTIONS", f"sip:{DOMAIN}")) for _ in range(4)]
    for request in (requests[2], requests[0], requests[3], requests[1]):
        alice.send(bytes(request))
        answer = await alice.response()
        assert (answer.status, answer.call_id) == (200, request.call_id)
        assert alice.is_signed(answer)
    before = await metric(server, 'parley_frontend_signatures_total{verdict="replayed"}')
    alice.send(bytes(requests[1]))
    assert (await alice.ask_signed(alice.ocs_request("OPTIONS", f"sip:{DOMAIN}"))).status == 200
    assert await metric(server, 'parley_frontend_signatures_total{verdict="replayed"}') == before + 1


async def test_a_wrong_signature_ends_the_connection(
    kdc: Kdc, server: ParleyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await client(server, "alice")
    assert (await alice.sign_in_with_ticket(kdc.initiator("alice", monkeypatch))).status == 200
    alice.send(bytes(alice.sign(alice.ocs_request("OPTIONS", f"sip:{DOMAIN}"), wrong=True)))
    await asyncio.wait_for(alice.closed.wait(), 5)


async def test_a_server_that_is_asked_to_proves_itself(
    kdc: Kdc, server: ParleyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await client(server, "alice", version=3)  # with version 4 it would have to sign before the server's token came
    initiator = kdc.initiator("alice", monkeypatch, mutual=True)
    answer = await alice.sign_in_with_ticket(initiator)
    assert answer.status == 200
    assert not initiator.is_complete()
    token = (answer.get("Authentication-Info") or "").partition('gssapi-data="')[2].partition('"')[0]
    initiator.take(b64decode(token))
    assert initiator.is_complete()
    assert alice.is_signed(answer)
    assert (await alice.ask_signed(alice.ocs_request("OPTIONS", f"sip:{DOMAIN}"))).status == 200


async def test_a_ticket_for_another_service_is_refused(
    kdc: Kdc, server: ParleyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await client(server, "alice")
    before = await metric(server, 'parley_frontend_sign_ins_total{outcome="failed"}')
    answer = await alice.sign_in_with_ticket(kdc.initiator("alice", monkeypatch), target="sip/other.example.test")
    assert answer.status == 401
    assert offered(answer) == ["Kerberos", "NTLM"]
    assert await metric(server, 'parley_frontend_sign_ins_total{outcome="failed"}') == before + 1
    assert (await alice.sign_in_with_ticket(kdc.initiator("alice", monkeypatch))).status == 200


@pytest.mark.parametrize("version", [3, 4])
async def test_a_token_is_taken_once(kdc: Kdc, server: ParleyServer, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    alice, thief = await client(server, "alice", version=version), await client(server, "alice", version=version)
    sent = overheard(alice, monkeypatch)
    assert (await alice.sign_in_with_ticket(kdc.initiator("alice", monkeypatch))).status == 200
    thief.send(sent[-1])
    answer = await thief.response()
    assert answer.status == 401
    assert offered(answer) == ["Kerberos", "NTLM"]
    assert "Request is a replay" in server.log()


@pytest.mark.parametrize(
    "token", [b"", b"\x60", b"NTLMSSP\0\x01\0\0\0", b"\x60\x06\x06\x04\x2b\x06\x01\x05", b"\x60" * 18_000]
)
async def test_what_is_no_token_is_refused(server: ParleyServer, token: bytes) -> None:
    class Nonsense:
        def token(self, target: str) -> bytes:
            return token

        def sign(self, text: bytes) -> bytes:
            return text[:16]

        def verify(self, text: bytes, signature: bytes) -> bool:
            return False

    alice = await client(server, "alice")
    answer = await alice.sign_in_with_ticket(Nonsense())
    assert answer.status == 401
    assert offered(answer) == ["Kerberos", "NTLM"]


async def test_a_principal_without_an_account_looks_like_a_wrong_password(
    kdc: Kdc, server: ParleyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mallory = await client(server, "mallory")
    answer = await mallory.sign_in_with_ticket(kdc.initiator("mallory", monkeypatch))
    assert answer.status == 401
    assert offered(answer) == ["Kerberos", "NTLM"]


async def test_a_user_is_nobody_else(kdc: Kdc, server: ParleyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = await client(server, "alice")
    answer = await alice.sign_in_with_ticket(kdc.initiator("bob", monkeypatch))
    assert (answer.status, answer.reason) == (403, "From Is Not You")


async def test_a_disabled_user_is_cut_off_and_stays_out(
    kdc: Kdc, server: ParleyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    carol = await client(server, "carol")
    kdc.admin("addprinc -randkey carol")
    assert (await carol.sign_in_with_ticket(kdc.initiator("carol", monkeypatch))).status == 200
    assert (await server.parley("user", "disable", f"carol@{DOMAIN}")).returncode == 0
    try:
        await asyncio.wait_for(carol.closed.wait(), 5)
        again = await client(server, "carol")
        answer = await again.sign_in_with_ticket(kdc.initiator("carol", monkeypatch))
        assert answer.status == 401
    finally:
        assert (await server.parley("user", "enable", f"carol@{DOMAIN}")).returncode == 0


async def test_a_new_key_is_in_force_without_a_restart(
    kdc: Kdc, server: ParleyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = kdc.initiator("alice", monkeypatch)
    assert (await (await client(server, "alice")).sign_in_with_ticket(old)).status == 200
    kdc.keytab(SERVICE, new_key=True)
    assert (await (await client(server, "alice")).sign_in_with_ticket(kdc.initiator("alice", monkeypatch))).status == 200
    assert (await (await client(server, "alice")).sign_in_with_ticket(old)).status == 200, "a ticket from before the change"


async def test_ntlm_and_digest_go_on_beside_it(server: ParleyServer) -> None:
    alice = await client(server, "alice")
    assert (await alice.sign_in()).status == 200
    phone = await SipClient("bob").connect(server.ports["udp"])
    assert (await phone.register()).status == 200


async def test_doctor_looks_at_the_keytab(kdc: Kdc, server: ParleyServer) -> None:
    async def finding() -> dict[str, str]:
        findings = json.loads((await server.parley("--json", "doctor")).stdout)
        (found,) = [finding for finding in findings if finding["what"] == "Kerberos"]
        return dict(found)

    keytab = kdc.keytab(SERVICE)
    keytab.chmod(0o600)
    assert await finding() == {
        "what": "Kerberos", "state": "ok", "next_step": "",
        "detail": f"tickets for {SERVICE}@EXAMPLE.TEST, users of {DOMAIN}",
    }  # fmt: skip
    keytab.chmod(0o644)
    assert (await finding())["next_step"] == f"chmod 600 {keytab}"
    away = keytab.rename(keytab.with_suffix(".away"))
    try:
        found = await finding()
        assert (found["state"], "cannot be read" in found["detail"]) == ("fail", True)
    finally:
        away.rename(keytab)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Kdc, ParleyCluster]]:
    """Two front ends with replay caches of their own, associations of three seconds, and a realm named unlike the domain."""
    with Kdc(tmp_path_factory.mktemp("corp"), realm="CORP.LOCAL") as kdc:
        named = {"realms": {"CORP.LOCAL": DOMAIN}, "service_principal": SERVICE}
        communicator = settings(kdc, "Kerberos", association_hours=3 / 3600, kerberos=named)
        running = ParleyCluster(
            tmp_path_factory.mktemp("cluster"), registrars=1, frontend={"communicator": communicator},
            env={"KRB5_CONFIG": "/dev/null"},
        )  # fmt: skip
        with running.for_module():
            yield kdc, running


async def at(cluster: ParleyCluster, front_end: int, user: str = "alice", *, version: int = 4) -> OcsClient:
    made = await OcsClient(user).connect(cluster.ports[front_end]["tcp"])
    made.version = version
    return made


async def test_a_realm_stands_for_the_domain_that_it_is_given(
    cluster: tuple[Kdc, ParleyCluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    kdc, running = cluster
    alice = await at(running, 0)
    assert (await alice.sign_in_with_ticket(kdc.initiator("alice", monkeypatch))).status == 200
    path = running.book.folder / "smith.csv"
    path.write_text("address,display_name,password,login_names\nalice.smith@example.test,A,Secret-1,asmith@example.test\n")
    assert (await running.book.parley("user", "import", str(path))).returncode == 0
    kdc.admin("addprinc -randkey asmith")
    smith = await at(running, 0, "alice.smith")
    answer = await smith.sign_in_with_ticket(kdc.initiator("asmith", monkeypatch))
    assert answer.status == 200, "the name of the principal is a login name"
    other = await at(running, 0)
    other.send(bytes(other.register_bare()))
    assert offered(await other.response()) == ["Kerberos"], "NTLM is not offered there"


async def test_a_client_signs_in_anew_at_another_front_end(
    cluster: tuple[Kdc, ParleyCluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    kdc, running = cluster
    initiator = kdc.initiator("alice", monkeypatch)
    first, bob = await at(running, 0), await at(running, 0, "bob")
    assert (await first.sign_in_with_ticket(initiator)).status == 200
    await first.abort()
    second = await at(running, 1)
    assert (await second.sign_in_with_ticket(initiator)).status == 200
    assert (await bob.sign_in_with_ticket(kdc.initiator("bob", monkeypatch))).status == 200
    await converse(bob, second)


@pytest.mark.parametrize("version", [3, 4])
async def test_a_token_is_taken_once_whatever_the_front_end(
    cluster: tuple[Kdc, ParleyCluster], monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    kdc, running = cluster
    alice, thief = await at(running, 0, version=version), await at(running, 1, version=version)
    sent = overheard(alice, monkeypatch)
    assert (await alice.sign_in_with_ticket(kdc.initiator("alice", monkeypatch))).status == 200
    thief.send(sent[-1])
    answer = await thief.response()
    assert answer.status == 401
    assert offered(answer) == ["Kerberos"]
    assert "Request is a replay of one to another front end" in running.front_ends[1].log()


async def test_a_token_is_taken_once_however_it_is_disguised(
    cluster: tuple[Kdc, ParleyCluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The options of an AP-REQ are not protected: another token in bytes, the same in meaning."""
    kdc, running = cluster
    alice, thief = await at(running, 0, version=3), await at(running, 1, version=3)
    sent = overheard(alice, monkeypatch)
    assert (await alice.sign_in_with_ticket(kdc.initiator("alice", monkeypatch))).status == 200
    before, _, rest = sent[-1].partition(b'gssapi-data="')
    token, _, after = rest.partition(b'"')
    options = bytes.fromhex("a20703050000000000")
    plain = b64decode(token)
    assert plain.count(options) == 1
    disguised = plain.replace(options, bytes.fromhex("a20703050000000001"))
    told = running.front_ends[1].log().count("Request is a replay of one to another front end")
    thief.send(b'%bgssapi-data="%b"%b' % (before, b64encode(disguised), after))
    assert (await thief.response()).status == 401
    assert running.front_ends[1].log().count("Request is a replay of one to another front end") == told + 1


async def test_an_association_that_expired_is_made_anew(
    cluster: tuple[Kdc, ParleyCluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    kdc, running = cluster
    initiator = kdc.initiator("alice", monkeypatch)
    alice = await at(running, 0)
    assert (await alice.sign_in_with_ticket(initiator)).status == 200
    assert (await alice.ask_signed(alice.ocs_request("OPTIONS", f"sip:{DOMAIN}"))).status == 200
    await asyncio.sleep(3.1)
    alice.send(bytes(alice.sign(alice.register_bare())))
    assert offered(await alice.response()) == ["Kerberos"]
    assert (await alice.sign_in_with_ticket(initiator)).status == 200
    assert (await alice.ask_signed(alice.ocs_request("OPTIONS", f"sip:{DOMAIN}"))).status == 200


@pytest.mark.parametrize(
    ("communicator", "told"),
    [
        ({"schemes": {DOMAIN: ["Kerberos"]}}, "set communicator.kerberos.keytab"),
        ({"schemes": {"elsewhere.test": ["NTLM"]}}, "elsewhere.test, which is not one of frontend.domains"),
        (
            {"schemes": {DOMAIN: ["Kerberos"]}, "kerberos": {"keytab": "/nowhere/sip.keytab"}},
            "/nowhere/sip.keytab cannot be read",
        ),
    ],
)
async def test_a_start_that_cannot_be_says_why(tmp_path: Path, communicator: dict[str, Any], told: str) -> None:
    server = ParleyServer(tmp_path / "parley", config={"frontend": {"communicator": communicator}})
    server.launch()
    with pytest.raises(AssertionError):
        await server.ready()
    assert server.exit_code == 5
    assert told in " ".join(server.log().split())
