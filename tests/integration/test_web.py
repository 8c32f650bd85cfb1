"""The web services of a real Parley: tickets for passwords, certificates for tickets, and what gets neither."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from parley.sipae.certificates import address_of, digest_of
from services.addressbook.certificates import USERS_CA
from services.web.routes import CERTIFICATE_ENTRY, CERTIFICATES, TICKET_ENTRY, TICKETS
from tests.integration.test_bad_input import metric
from tests.support.dsk import certificate_request, rsa_key
from tests.support.parley_server import DOMAIN, ParleyServer
from tests.support.waiting import eventually
from tests.support.web_client import DEVICE, Refused, WebClient, basic

pytestmark = pytest.mark.valkey


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    running = ParleyServer(
        tmp_path_factory.mktemp("parley"),
        config={
            "web": {
                "limits": {"failures_per_source": 1000, "body_bytes": 32_768, "request_seconds": 3, "request_burst": 1000}
            }
        },
    )
    try:
        asyncio.run(running.start())
        yield running
    finally:
        asyncio.run(running.stop())


def client(server: ParleyServer, user: str = "alice", password: str = "Secret-1") -> WebClient:
    return WebClient(server.web_url, server.ca_file, user, password)


async def test_metadata_leads_from_the_certificate_service_to_both_entries(server: ParleyServer) -> None:
    async with client(server) as alice:
        certificates = etree.fromstring(await alice.send("GET", f"{CERTIFICATES.lower()}/mex"))
        (issuer,) = (element.text for element in certificates.iter("{*}Issuer") for element in element)
        assert issuer == server.web_url + TICKETS
        (location,) = (element.get("location") for element in certificates.iter("{*}address"))
        assert location == server.web_url + CERTIFICATE_ENTRY
        tickets = etree.fromstring(await alice.send("GET", f"{TICKETS.upper()}/MEX"))
        (location,) = (element.get("location") for element in tickets.iter("{*}address"))
        assert location == server.web_url + TICKET_ENTRY


@pytest.mark.parametrize(
    ("scheme", "login", "domain"),
    [
        ("ntlm", "alice", ""), ("ntlm", "alice", "EXAMPLE"), ("ntlm", f"alice@{DOMAIN}", ""),
        ("basic", "alice", ""), ("basic", "EXAMPLE\\alice", ""),
    ],
)  # fmt: skip
async def test_a_password_gets_a_ticket_and_a_ticket_a_certificate(
    server: ParleyServer, scheme: str, login: str, domain: str
) -> None:
    async with client(server) as alice:
        assertion, key = await alice.ticket(scheme, login=login, login_domain=domain)
        certificate = await alice.certificate(assertion, key, now=time.time())
    der = certificate.public_bytes(Encoding.DER)
    assert address_of(der) == f"sip:alice@{DOMAIN}"
    assert certificate.public_key() == rsa_key().public_key()
    ca = x509.load_pem_x509_certificate((server.folder / USERS_CA / "ca.pem").read_bytes())
    certificate.verify_directly_issued_by(ca)
    with pytest.raises(ValueError, match="does not match"):  # those of servers are another's
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(server.ca_file.read_bytes()))
    listed = json.loads((await server.parley("--json", "user", "certificates", "alice")).stdout)
    assert [entry["certificate"] for entry in listed] == [digest_of(der).hex()]  # one device has one


@pytest.mark.parametrize("scheme", ["ntlm", "basic"])
async def test_wrong_passwords_and_unknown_users_are_refused_alike(server: ParleyServer, scheme: str) -> None:
    answers = set()
    for user, password in (("alice", "Wrong-1"), ("nobody", "Secret-1")):
        async with client(server, user, password) as somebody:
            with pytest.raises(Refused) as refused:
                await somebody.ticket(scheme)
            headers = tuple(refused.value.headers["www-authenticate"])
            answers.add((refused.value.status, refused.value.text, headers))
    ((status, _, challenges),) = answers
    assert status == 401
    assert challenges == ("NTLM", f'Basic realm="{DOMAIN}", charset="UTF-8"')


async def test_what_asks_for_no_ticket_that_can_be_given(server: ParleyServer) -> None:
    async with client(server) as alice:
        with pytest.raises(Refused, match="401"):
            await alice.send("POST", TICKET_ENTRY, b"<a/>")
        with pytest.raises(Refused, match=r"400: .*not a SOAP envelope"):
            await alice.send("POST", TICKET_ENTRY, b"<a/>", basic("alice", "Secret-1"))
        with pytest.raises(Refused, match=r"403: .*not that of the login"):
            await alice.ticket(claim=f"sip:bob@{DOMAIN}")
        with pytest.raises(Refused, match=r"400: .*no SIP address"):
            await alice.ticket(claim="mailto:alice")
        with pytest.raises(Refused, match=r"400: .*names no service"):
            await alice.ticket(applies_to=f"{alice.base}/elsewhere")
        await alice.ticket(claim="")


async def test_what_asks_for_no_certificate_that_can_be_given(server: ParleyServer) -> None:
    now = time.time()
    async with client(server) as alice:
        assertion, key = await alice.ticket()
        with pytest.raises(Refused, match=r"403: .*signature is wrong"):
            await alice.certificate(assertion, bytes(32), now=now)
        with pytest.raises(Refused, match=r"403: .*not of now"):
            await alice.certificate(assertion, key, now=now - 1000)
        with pytest.raises(Refused, match=r"403: .*of another user"):
            await alice.certificate(assertion, key, now=now, entity=f"bob@{DOMAIN}")
        with pytest.raises(Refused, match=r"400: .*no PKCS#10"):
            await alice.certificate(assertion, key, now=now, request=b"nothing")
        with pytest.raises(Refused, match=r"400: .*RSA of 2048"):
            await alice.certificate(assertion, key, now=now, request=certificate_request(rsa_key(0, 1024)))
        with pytest.raises(Refused, match=r"400: .*no name that can be kept"):
            await alice.certificate(assertion, key, now=now, device="my device")
        (ticket,) = assertion.iter("{*}Ticket")
        ticket.text = (ticket.text or "")[:-8] + "AAAAAAA="
        with pytest.raises(Refused, match=r"403: .*none of ours"):
            await alice.certificate(assertion, key, now=now)


async def test_a_ticket_ends_with_the_password_it_was_given_for(server: ParleyServer) -> None:
    await server.create_users(["dora"])
    async with client(server, "dora") as dora:
        assertion, key = await dora.ticket()
        done = await server.parley("user", "passwd", f"dora@{DOMAIN}", "--password-file", "-", stdin="Other-22\n")
        assert done.returncode == 0, done.stderr
        with pytest.raises(Refused, match=r"403: .*ask for another"):
            await dora.certificate(assertion, key, now=time.time())
        with pytest.raises(Refused, match="401"):
            await dora.ticket()
        dora.password = "Other-22"
        await dora.provision(now=time.time())
        done = await server.parley("user", "disable", f"dora@{DOMAIN}")
        assert done.returncode == 0, done.stderr
        with pytest.raises(Refused, match="401"):
            await dora.ticket()
    listed = await server.parley("--json", "user", "certificates", f"dora@{DOMAIN}")
    assert json.loads(listed.stdout) == []


async def test_certificates_on_the_command_line(server: ParleyServer) -> None:
    await server.create_users(["erin"])
    none = await server.parley("user", "certificates", f"erin@{DOMAIN}")
    assert "there are no certificates" in none.stdout
    async with client(server, "erin") as erin:
        certificate = await erin.provision(now=time.time())
    name = digest_of(certificate.public_bytes(Encoding.DER)).hex()[:16]
    table = await server.parley("user", "certificates", f"erin@{DOMAIN}")
    assert name in table.stdout
    assert DEVICE in table.stdout
    assert certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:") in table.stdout
    for wrong, code in (("xyz", 2), ("abcd", 6)):
        refused = await server.parley("user", "withdraw", f"erin@{DOMAIN}", "--certificate", wrong)
        assert refused.returncode == code, refused.stdout
    assert (await server.parley("user", "withdraw", "nobody")).returncode == 3
    done = await server.parley("--json", "user", "withdraw", f"erin@{DOMAIN}", "--certificate", name)
    assert json.loads(done.stdout) == {"withdrawn": 1}


async def test_http_that_is_none_of_the_services(server: ParleyServer) -> None:
    async with client(server) as alice:
        with pytest.raises(Refused, match="404"):
            await alice.send("GET", "/")
        with pytest.raises(Refused, match="405") as refused:
            await alice.send("GET", TICKET_ENTRY)
        assert refused.value.headers["allow"] == ["POST"]
        with pytest.raises(Refused, match="413"):
            await alice.send("POST", TICKET_ENTRY, b" " * 40_000)
    assert await metric(server, 'parley_web_limited_total{limit="body_bytes"}') >= 1


async def exchange(server: ParleyServer, *sent: bytes) -> bytes:
    """What is answered until the end of a connection, on which pieces are sent one after the other."""
    context = ssl.create_default_context(cafile=str(server.ca_file))
    host, port = server.web_url.removeprefix("https://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    for piece in sent:
        writer.write(piece)
        await asyncio.sleep(0.2)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /api/v1/me HTTP/1.1\r\nHost: x\r\nAuthorization: Basic c2VjcmV0\x01\r\n\r\n",
        b"GET /c2VjcmV0" + b"/" * 10_000 + b" HTTP/1.1\r\n\r\n", b"\x16c2VjcmV0 / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nc2VjcmV0\r\n",
    ],
)  # fmt: skip
async def test_what_is_no_http_is_not_written_down(server: ParleyServer, sent: bytes) -> None:
    counted = 'parley_web_requests_total{route="unknown",status="400"}'
    before, written = await metric(server, counted), len(server.log())
    head, _, body = (await exchange(server, sent)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 400 ")
    assert b"\r\nServer: Parley\r\n" in head + b"\r\n"
    assert b"X-Content-Type-Options" in head
    assert (b"c2VjcmV0" in body, await metric(server, counted)) == (False, before + 1)
    new = server.log()[written:]
    assert "c2VjcmV0" not in new
    assert "Traceback" not in new
    assert "ERROR" not in new


@pytest.mark.parametrize(
    "body", [b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"]
)
async def test_a_body_that_is_compressed_is_refused(server: ParleyServer, body: bytes) -> None:
    written = len(server.log())
    head = f"POST {TICKET_ENTRY} HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\nConnection: close\r\n"
    head += f"Authorization: {basic('alice', 'Secret-1')}\r\nContent-Encoding: gzip\r\n"
    answer = await exchange(server, head.encode() + body)
    assert answer.startswith(b"HTTP/1.1 415 ")
    assert b"\r\nAccept-Encoding: identity\r\n" in answer
    assert "Traceback" not in server.log()[written:]


async def test_slow_and_silent_connections_are_closed(server: ParleyServer) -> None:
    context = ssl.create_default_context(cafile=str(server.ca_file))
    host, port = server.web_url.removeprefix("https://").split(":")
    for begin in (b"", f"POST {TICKET_ENTRY} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n<".encode()):
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
        writer.write(begin)
        try:
            answer = await asyncio.wait_for(reader.read(), 10)
        except ConnectionError:
            answer = b""
        assert answer.startswith(b"HTTP/1.1 408 ") if begin else answer == b""
        writer.close()
        await asyncio.wait_for(writer.wait_closed(), 5)


async def test_many_failures_and_connections_are_refused(tmp_path: Path) -> None:
    limits = {
        "failures_per_source": 2, "connections_per_address": 3, "request_burst": 6, "requests_per_second": 0.01
    }  # fmt: skip
    server = ParleyServer(tmp_path, config={"web": {"limits": limits}})
    try:
        await server.start()
        context = ssl.create_default_context(cafile=str(server.ca_file))
        host, port = server.web_url.removeprefix("https://").split(":")
        # Three that say nothing, not even of TLS, leave no room for one more.
        opened = [await asyncio.open_connection(host, int(port)) for _ in range(3)]
        for _ in range(2):
            with pytest.raises(ConnectionError):
                await asyncio.open_connection(host, int(port), ssl=context)
        assert await metric(server, 'parley_web_limited_total{limit="connections_per_address"}') == 2

        async def all_count() -> bool:
            return await metric(server, "parley_web_connections") == 3

        await eventually(all_count)
        for _, writer in opened:
            writer.close()
            with suppress(ConnectionError):
                await asyncio.wait_for(writer.wait_closed(), 5)

        async def none_counts() -> bool:
            return await metric(server, "parley_web_connections") == 0

        await eventually(none_counts)
        async with client(server, "alice", "Wrong-1") as somebody:
            for _ in range(2):
                with pytest.raises(Refused, match="401"):
                    await somebody.ticket("basic")
            with pytest.raises(Refused, match="503") as refused:
                await somebody.ticket("basic")
            assert refused.value.headers["retry-after"] == ["60"]
            for _ in range(3):
                await somebody.send("GET", f"{TICKETS}/mex")
            with pytest.raises(Refused, match="429"):
                await somebody.send("GET", f"{TICKETS}/mex")
    finally:
        await server.stop()
