"""Garbage, floods and slow clients: each gets the protocol's own answer or a closed connection, and the rest goes on."""

from __future__ import annotations

import asyncio
import socket
import urllib.request
from collections.abc import Iterator

import pytest

from bench.cpu import resident_bytes
from parley.sip.message import Response
from tests.support.parley_server import ParleyServer, quiet_limits
from tests.support.sip_client import DOMAIN, SipClient
from tests.support.waiting import eventually

pytestmark = pytest.mark.valkey


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    limits = quiet_limits() | {"message_seconds": 1.0, "first_message_seconds": 2.0, "failures_per_source": 1000}
    running = ParleyServer(tmp_path_factory.mktemp("bad"), config={"frontend": {"limits": limits}})
    try:
        asyncio.run(running.start())
        yield running
    finally:
        asyncio.run(running.stop())


async def metric(server: ParleyServer, name: str) -> float:
    """The sum of a metric's samples whose text begins so."""

    def read() -> str:
        with urllib.request.urlopen(f"http://{server.metrics}/metrics", timeout=5) as answer:
            text: str = answer.read().decode()
            return text

    lines = (await asyncio.to_thread(read)).splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


async def serves(server: ParleyServer) -> None:
    """The server still registers phones."""
    alice = await SipClient("alice").connect(server.ports["udp"])
    assert (await alice.register()).status == 200


HEAD = (
    "Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKbad{n};rport\r\nFrom: <sip:a@example.test>;tag=1\r\n"
    "To: <sip:b@example.test>\r\nCall-ID: bad{n}\r\nCSeq: 1 {method}\r\n"
)


@pytest.mark.parametrize(
    ("n", "method", "line", "extra", "status"),
    [
        (1, "OPTIONS", "OPTIONS sip:example.test SIP/3.0", "Max-Forwards: 70\r\n", 505),
        (2, "OPTIONS", "OPTIONS http://example.test SIP/2.0", "Max-Forwards: 70\r\n", 416),
        (3, "INVITE", "INVITE sip:b@example.test SIP/2.0", "Max-Forwards: 0\r\n", 483),
        (4, "INVITE", "INVITE sip:b@example.test SIP/2.0", "Max-Forwards: x\r\n", 400),
        (5, "INVITE", "INVITE sip:b@example.test SIP/2.0", "Max-Forwards: 70\r\nProxy-Require: nothere\r\n", 420),
        (6, "OPTIONS", "OPTIONS sip:example.test SIP/2.0", "Max-Forwards: 70\r\nRequire: nothere\r\n", 420),
        (7, "NEWMETHOD", "NEWMETHOD sip:example.test SIP/2.0", "Max-Forwards: 70\r\n", 501),
        (8, "MESSAGE", "MESSAGE sip:example.test SIP/2.0", "Max-Forwards: 70\r\n", 405),
        (9, "SUBSCRIBE", "SUBSCRIBE sip:example.test SIP/2.0", "Max-Forwards: 70\r\nEvent: none\r\n", 489),
        (10, "BYE", "BYE sip:example.test SIP/2.0", "Max-Forwards: 70\r\n", 481),
        (11, "CANCEL", "CANCEL sip:b@example.test SIP/2.0", "Max-Forwards: 70\r\n", 481),
        (12, "OPTIONS", "OPTIONS sip:" + "x" * 2500 + " SIP/2.0", "Max-Forwards: 70\r\n", 414),
        (13, "OPTIONS", "OPTIONS sip:example.test SIP/2.0", "Max-Forwards: 70\r\n" + "A: b\r\n" * 300, 513),
        (14, "INVITE", "INVITE sip:b@example.test SIP/2.0", "Max-Forwards: 70\r\n", 407),
        (15, "REGISTER", "REGISTER sip:elsewhere.test SIP/2.0", "Max-Forwards: 70\r\n", 404),
        (16, "REGISTER", "REGISTER sip:example.test SIP/2.0", "Require: nothere\r\n", 420),
    ],
)
async def test_the_answer_that_the_rfc_names(
    server: ParleyServer, n: int, method: str, line: str, extra: str, status: int
) -> None:
    client = await SipClient("a").connect(server.ports["udp"])
    head = HEAD.format(n=n, method=method)
    client.send(f"{line}\r\n{head}{extra}Content-Length: 0\r\n\r\n".encode())
    response = await client.response()
    assert response.status == status
    if status == 420:
        assert response.get("Unsupported") == "nothere"
    if status in (405, 501):
        assert "REGISTER" in (response.get("Allow") or "")


async def test_no_open_relay(server: ParleyServer) -> None:
    alice = await SipClient("alice").connect(server.ports["udp"])
    answer = await alice.ask(alice.request("INVITE", "sip:victim@elsewhere.test"))
    assert answer.status == 403
    forged = alice.request(
        "BYE", "sip:victim@192.0.2.1", headers=[("Route", "<sip:AAAAAAAAAAAAAAAAAAAAAAAAAAAA@127.0.0.1;lr>")]
    )
    alice.send(bytes(forged))
    assert (await alice.response()).status in (403, 407)


async def test_somebody_elses_name_is_refused(server: ParleyServer) -> None:
    alice = await SipClient("alice").connect(server.ports["udp"])
    fake = alice.request("REGISTER", f"sip:{DOMAIN}", to=f"sip:bob@{DOMAIN}", headers=[("Contact", f"<{alice.contact}>")])
    assert (await alice.ask(fake)).status == 403
    fake = alice.request("INVITE", f"sip:carol@{DOMAIN}")
    fake.set("From", f"<sip:bob@{DOMAIN}>;tag=x")
    assert (await alice.ask(fake)).status == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("Contact", "*"), ("Expires", "60")], 400),
        ([("Contact", "*"), ("Contact", "<sip:x@y>"), ("Expires", "0")], 400),
        ([("Contact", "<sip:alice@127.0.0.1:9>;expires=5")], 423),
        ([("Contact", "<sip:alice@127.0.0.1:9>;q=7")], 400),
        ([("Contact", "<sip:alice@127.0.0.1:9")], 400),
        ([("Path", "<sip:p;lr>"), ("Contact", "<sip:alice@127.0.0.1:9>")], 421),
        ([("Contact", ", ".join(f"<sip:alice@127.0.0.1:{port}>" for port in range(2000, 2020)))], 403),
    ],
)
async def test_registers_that_are_refused(server: ParleyServer, headers: list[tuple[str, str]], status: int) -> None:
    alice = await SipClient("alice").connect(server.ports["udp"])
    response = await alice.ask(alice.request("REGISTER", f"sip:{DOMAIN}", to=f"sip:alice@{DOMAIN}", headers=headers))
    assert response.status == status
    if status == 423:
        assert response.get("Min-Expires") == "60"


@pytest.mark.parametrize(("name", "status"), [("User-Agent", 200), ("Contact", 400)])
async def test_bytes_that_are_no_utf_8(server: ParleyServer, name: str, status: int) -> None:
    alice = await SipClient("alice").connect(server.ports["udp"])
    value = b"\xff\xfe" if name == "User-Agent" else b"<sip:alice@127.0.0.1:9>;x=\xff"
    text = value.decode("utf-8", "surrogateescape")
    headers = [(name, text)] if name == "Contact" else [(name, text), ("Contact", f"<{alice.contact}>")]
    register = alice.request("REGISTER", f"sip:{DOMAIN}", to=f"sip:alice@{DOMAIN}", headers=headers)
    assert (await alice.ask(register)).status == status


async def test_full_set_gruu_outbound_and_removal(server: ParleyServer) -> None:
    carol = await SipClient("carol", transport="tcp").connect(server.ports["tcp"])
    instance = '+sip.instance="<urn:uuid:00000000-0000-1000-8000-000A95A0E128>"'
    both = [("Contact", f"<{carol.contact}>;reg-id=1;{instance}"), ("Supported", "outbound, gruu, path"), ("Expires", "900")]
    first = await carol.ask(carol.request("REGISTER", f"sip:{DOMAIN}", to=f"sip:carol@{DOMAIN}", headers=both))
    assert (first.status, first.get("Require"), first.get("Flow-Timer")) == (200, "outbound", "120")
    contact = first.get("Contact") or ""
    assert "pub-gruu=" in contact
    assert "temp-gruu=" in contact
    assert "expires=900" in contact
    assert first.get("Service-Route")
    assert "rspauth=" in (first.get("Authentication-Info") or "")
    other = await carol.register(contact="<sip:carol@127.0.0.1:2345>")
    assert len(other.get_all("Contact")) == 2
    gone = await carol.register(contact="*", expires=0)
    assert (gone.status, gone.get("Contact")) == (200, None)


async def test_garbage_datagrams_and_acks_for_nothing(server: ParleyServer) -> None:
    client = await SipClient("a").connect(server.ports["udp"])
    before = resident_bytes([server.pid])
    malformed = await metric(server, "parley_frontend_malformed_total")
    for n in range(3000):
        client.send(bytes([n % 256]) * (n % 700 + 1))
        client.send(f"ACK sip:b@example.test SIP/2.0\r\n{HEAD.format(n=n, method='ACK')}\r\n".encode())
        if n % 100 == 0:
            await asyncio.sleep(0.01)
    await serves(server)
    assert await metric(server, "parley_frontend_malformed_total") > malformed + 1000
    assert resident_bytes([server.pid]) - before < 40_000_000


async def test_a_stream_that_is_no_sip_is_closed(server: ParleyServer) -> None:
    client = await SipClient("a", transport="tcp").connect(server.ports["tcp"])
    client.send(
        f"OPTIONS sip:example.test SIP/2.0\r\n{HEAD.format(n=1, method='OPTIONS')}Content-Length: 99999999\r\n\r\n".encode()
    )
    assert (await client.response()).status == 413
    await asyncio.wait_for(client.closed.wait(), 5)


async def test_slow_and_silent_connections_are_closed(server: ParleyServer) -> None:
    slow = await SipClient("a", transport="tcp").connect(server.ports["tcp"])
    silent = await SipClient("a", transport="tcp").connect(server.ports["tcp"])
    for byte in b"OPTIONS sip:example":
        slow.send(bytes([byte]))
        await asyncio.sleep(0.2)
        if slow.closed.is_set():
            break
    await asyncio.wait_for(slow.closed.wait(), 10)
    await asyncio.wait_for(silent.closed.wait(), 10)
    assert await metric(server, 'parley_frontend_limited_total{limit="slow_sender"}') >= 1
    await serves(server)


async def test_thousands_of_idle_and_half_open_connections(server: ParleyServer) -> None:
    sockets: list[socket.socket] = []
    try:
        for _ in range(3000):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", server.ports["tls" if len(sockets) % 2 else "tcp"]))
            sockets.append(one)
            if len(sockets) % 200 == 0:
                await asyncio.sleep(0.05)
        await serves(server)
    finally:
        for one in sockets:
            one.close()

    async def gone() -> bool:
        return await metric(server, 'parley_frontend_flows{transport="TCP"}') < 20

    await eventually(gone, timeout=15, what="closed connections are forgotten")


async def test_guessing_is_slowed_per_user_but_not_for_others(server: ParleyServer) -> None:
    guesser = await SipClient("bob").connect(server.ports["udp"])
    loop = asyncio.get_running_loop()
    times = []
    for attempt in range(9):
        begun = loop.time()
        answer: Response = await guesser.ask(
            guesser.request("REGISTER", f"sip:{DOMAIN}", to=f"sip:bob@{DOMAIN}"), password=f"Wrong-{attempt}", timeout=12
        )
        assert answer.status == 401
        times.append(loop.time() - begun)
    assert times[-1] > 0.9 > times[0]
    assert await metric(server, 'parley_frontend_limited_total{limit="failures_per_user"}') >= 3
    await serves(server)


async def test_retransmissions_get_the_same_answer(server: ParleyServer) -> None:
    alice = await SipClient("alice").connect(server.ports["udp"])
    register = alice.request(
        "REGISTER", f"sip:{DOMAIN}", to=f"sip:alice@{DOMAIN}", headers=[("Contact", f"<{alice.contact}>")]
    )
    alice.send(bytes(register))
    signed = alice.authorize(register, await alice.response())
    answers = []
    for _ in range(2):
        alice.send(bytes(signed))
        answers.append(bytes(await alice.response()))
    assert answers[0] == answers[1]
    assert b" 200 OK" in answers[0]


async def test_keep_alives_are_answered(server: ParleyServer) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(3)
        probe.connect(("127.0.0.1", server.ports["udp"]))
        probe.send(b"\r\n\r\n")
        assert probe.recv(16) == b"\r\n"
        probe.send(b"\x00\x01\x00\x00\x21\x12\xa4\x42" + b"t" * 12)
        answer = probe.recv(100)
        assert answer[:4] == b"\x01\x01\x00\x0c"
        assert int.from_bytes(answer[26:28], "big") ^ 0x2112 == probe.getsockname()[1]
    with socket.create_connection(("127.0.0.1", server.ports["tcp"]), timeout=3) as stream:
        stream.sendall(b"\r\n")
        stream.sendall(b"\r\n")
        assert stream.recv(16) == b"\r\n"
