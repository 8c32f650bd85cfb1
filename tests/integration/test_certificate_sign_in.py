"""Communicator clients sign in with certificates (TLS-DSK), which end when they are withdrawn."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64encode
from collections.abc import Iterator

import pytest
from cryptography import x509

from parley.sip.message import make_response
from parley.sipae.fields import REALM
from tests.integration.test_bad_input import metric
from tests.support.dsk import DskClient, rsa_key, self_signed
from tests.support.ocs_client import OcsClient
from tests.support.parley_server import DOMAIN, ParleyServer, quiet_limits
from tests.support.ports import free_port
from tests.support.web_client import WebClient

pytestmark = pytest.mark.valkey


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    limits = quiet_limits() | {"failures_per_source": 1000, "failures_per_user": 1000}
    running = ParleyServer(tmp_path_factory.mktemp("parley"), config={"frontend": {"limits": limits}})
    running.offer_certificates(["NTLM", "TLS-DSK"])
    try:
        asyncio.run(running.start())
        yield running
    finally:
        asyncio.run(running.stop())


async def certificate(server: ParleyServer, user: str, *, number: int = 0, device: str = "{pc}") -> x509.Certificate:
    """One for a user, from the web services."""
    async with WebClient(server.web_url, server.ca_file, user) as web:
        return await web.provision(now=time.time(), number=number, device=device)


async def client(server: ParleyServer, user: str, *, epid: str = "0123456789ab") -> OcsClient:
    """A client that has not signed in."""
    return await OcsClient(user, epid=epid).connect(server.ports["tcp"])


async def signed_in(server: ParleyServer, user: str, held: x509.Certificate, *, number: int = 0) -> OcsClient:
    """A client that has."""
    made = await client(server, user)
    answer = await made.sign_in_with_certificate(DskClient(held, rsa_key(number)))
    assert answer.status == 200
    assert made.is_signed(answer)
    assert (answer.get("Authentication-Info") or "").startswith("TLS-DSK rspauth=")
    return made


async def test_a_certificate_signs_in_and_every_message_is_signed(server: ParleyServer) -> None:
    alice = await signed_in(server, "alice", await certificate(server, "alice"))
    bob = await signed_in(server, "bob", await certificate(server, "bob", number=1), number=1)
    for one, other in ((alice, bob), (bob, alice)):
        one.send(bytes(one.sign(one.ocs_request("OPTIONS", f"sip:{other.user}@{DOMAIN}"))))
        request = await other.expect("OPTIONS")
        assert other.is_signed(request)
        other.send(bytes(other.sign(make_response(request, 200, to_tag="t"))))
        got = await one.response()
        assert got.status == 200
        assert one.is_signed(got)
    refreshed = await alice.ask_signed(alice.register_bare())
    assert refreshed.status == 200
    assert "presence-state" not in refreshed
    alice.send(bytes(alice.sign(alice.register_bare(), wrong=True)))
    assert (await alice.response()).status == 401
    await alice.abort()
    await bob.abort()


async def test_the_offer_says_where_certificates_come_from(server: ParleyServer) -> None:
    alice = await client(server, "alice")
    alice.send(bytes(alice.register_bare()))
    ntlm, dsk = (await alice.response()).get_all("WWW-Authenticate")
    assert ntlm.startswith("NTLM ")
    assert "sts-uri" not in ntlm
    assert f'sts-uri="{server.web_url}/CertProv/CertProvisioningService.svc"' in dsk
    assert (await alice.sign_in()).status == 200  # the password still does
    await alice.abort()


async def test_doctor_looks_at_the_web_service(server: ParleyServer) -> None:
    async def finding() -> dict[str, str]:
        findings = json.loads((await server.parley("--json", "doctor")).stdout)
        (found,) = [found for found in findings if found["what"] == "certificate service"]
        return dict(found)

    assert (await finding())["state"] == "ok"
    config = server.folder / "parley.yaml"
    before = config.read_text()
    config.write_text(
        before.replace(f"certificate_url: {server.web_url}", f"certificate_url: https://127.0.0.1:{free_port()}")
    )
    try:
        wrong = await finding()
    finally:
        config.write_text(before)
    assert wrong["state"] == "fail"
    assert "nothing answers at https://127.0.0.1:" in wrong["detail"]


async def test_nobody_signs_in_with_somebody_elses_certificate(server: ParleyServer) -> None:
    held = await certificate(server, "alice")
    bob = await client(server, "bob")
    refused = await bob.sign_in_with_certificate(DskClient(held, rsa_key()))
    assert refused.status == 403
    assert "4004" in (refused.get("ms-diagnostics") or "")
    assert not bob.is_signed(refused)
    await bob.abort()


@pytest.mark.parametrize("kind", ["self-signed", "same name"])
async def test_certificates_that_were_not_issued_here(server: ParleyServer, kind: str) -> None:
    own = self_signed(rsa_key(), f"alice@{DOMAIN}")
    if kind == "same name":
        issued = await certificate(server, "alice", number=1)
        name = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        own = self_signed(rsa_key(), f"alice@{DOMAIN}", name)
    failed = await metric(server, 'parley_frontend_sign_ins_total{outcome="failed"}')
    alice = await client(server, "alice")
    refused = await alice.sign_in_with_certificate(DskClient(own, rsa_key()))
    assert refused.status == 401
    assert all("gssapi-data" not in value for value in refused.get_all("WWW-Authenticate"))
    assert await metric(server, 'parley_frontend_sign_ins_total{outcome="failed"}') == failed + 1
    await alice.abort()


async def test_a_withdrawn_certificate_ends_the_connection_and_opens_no_other(server: ParleyServer) -> None:
    await server.create_users(["carla"])
    first = await certificate(server, "carla", device="{pc}")
    other = await certificate(server, "carla", device="{laptop}", number=1)
    carla = await signed_in(server, "carla", first)
    listed = json.loads((await server.parley("--json", "user", "certificates", f"carla@{DOMAIN}")).stdout)
    name = next(entry["certificate"] for entry in listed if entry["device"] == "{pc}")
    done = await server.parley("user", "withdraw", f"carla@{DOMAIN}", "--certificate", name[:16])
    assert "1 certificates withdrawn" in done.stdout, done.stderr
    await asyncio.wait_for(carla.closed.wait(), 5)
    again = await client(server, "carla")
    assert (await again.sign_in_with_certificate(DskClient(first, rsa_key()))).status == 401
    await again.abort()
    laptop = await signed_in(server, "carla", other, number=1)
    done = await server.parley("user", "passwd", f"carla@{DOMAIN}", "--password-file", "-", stdin="Other-22\n")
    assert done.returncode == 0, done.stderr
    await asyncio.wait_for(laptop.closed.wait(), 5)
    again = await client(server, "carla")
    assert (await again.sign_in_with_certificate(DskClient(other, rsa_key(1)))).status == 401
    await again.abort()


def dsk(data: bytes, *, opaque: str = "") -> str:
    """Credentials of a handshake."""
    fields = f', opaque="{opaque}"' if opaque else ""
    token = b64encode(data).decode()
    return f'TLS-DSK qop="auth", realm="{REALM}", targetname="{DOMAIN}"{fields}, gssapi-data="{token}", version=4'


async def test_what_is_no_handshake_begins_anew(server: ParleyServer) -> None:
    alice = await client(server, "alice")
    for value in (dsk(b""), dsk(b"\x16\x03\x01"), dsk(b"x" * 17_000), dsk(b"x", opaque="FFFFFFFF"),
                  f'TLS-DSK realm="{REALM}", targetname="{DOMAIN}", opaque="FFFFFFFF", version=4'):  # fmt: skip
        request = alice.register_bare()
        request.set("Authorization", value)
        alice.send(bytes(request))
        answer = await alice.response()
        assert answer.status in (401, 513)
        assert all("gssapi-data" not in challenge for challenge in answer.get_all("WWW-Authenticate"))
        if alice.closed.is_set():
            alice = await client(server, "alice")
    await alice.abort()


async def test_a_handshake_is_its_connections(server: ParleyServer) -> None:
    held = await certificate(server, "alice")
    alice, other = await client(server, "alice"), await client(server, "alice", epid="ba9876543210")
    holder = DskClient(held, rsa_key())
    assert (await alice.sign_in_with_certificate(holder)).status == 200
    # The keys are right, the connection is another.
    other.scheme, other._cipher, other._challenge = alice.scheme, holder, dict(alice._challenge)
    assert (await other.finish_with_certificate("another-call")).status == 401
    await alice.abort()
    await other.abort()
