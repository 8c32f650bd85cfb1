"""The torture messages of RFC 4475 and RFC 5118 against a running server, over UDP and TCP.

The server is registrar and proxy of example.com, the domain of most of the messages, and the sender is a stranger to it.
"""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Iterator

import pytest

from bench.cpu import resident_bytes
from parley.sip.errors import SipParseError
from parley.sip.message import Request, Response, parse_message
from tests.support.parley_server import ParleyServer, quiet_limits
from tests.support.sip_client import SipClient
from tests.support.torture import ALL, Case

pytestmark = pytest.mark.valkey

HOME = "example.com"

ON_A_STREAM: dict[str, int | None] = {
    "ncl": 400,
    "mcl01": 400,
    "inv2543": 400,  # without a length a stream cannot be cut
    "clerr": None,  # the rest of the body never comes
    "baddn": None,  # nor the empty line after the headers
    "dblreq": None,  # the second message claims less than it has: what follows is no SIP
}
"""Messages after which a stream is closed, and what they are answered with first."""

UNREADABLE = {
    "badinv01", "clerr", "ncl", "ltgtruri", "lwsruri", "lwsstart", "trws", "escruri", "badvers", "bigcode", "scalarlg",
    "insuf", "multi01", "mcl01",
}  # fmt: skip
"""Messages that are counted as malformed; what is wrong with the others is found when they are routed."""
COUNTED = {"udp": UNREADABLE | {"scalar02"}, "tcp": (UNREADABLE | {"inv2543", "dblreq"}) - {"clerr"}}

every_case = pytest.mark.parametrize("case", ALL, ids=[case.name for case in ALL])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    limits = quiet_limits() | {"message_seconds": 1.0}
    domains = ["example.test", HOME]
    config = {"frontend": {"limits": limits, "domains": domains}, "addressbook": {"domains": domains}}
    running = ParleyServer(tmp_path_factory.mktemp("torture"), config=config)

    async def begin() -> None:
        await running.start()
        await running.create_users(["watson", "user", "j.user", "null-%00-null"], domain=HOME)

    try:
        asyncio.run(begin())
        yield running
    finally:
        asyncio.run(running.stop())


async def malformed(server: ParleyServer) -> dict[str, float]:
    """The counter of malformed messages, by status."""

    def read() -> str:
        with urllib.request.urlopen(f"http://{server.metrics}/metrics", timeout=5) as answer:
            text: str = answer.read().decode()
            return text

    start = "parley_frontend_malformed_total{"
    lines = [line for line in (await asyncio.to_thread(read)).splitlines() if line.startswith(start)]
    return {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in lines}


async def fence(client: SipClient, *before: Response) -> None:
    """Everything the client sent was dealt with: the next it hears is the answer to this, but for retransmissions."""
    ping = client.request("OPTIONS", f"sip:{HOME}")
    client.send(bytes(ping))
    while True:
        answer = await client.receive()
        if bytes(answer) not in [bytes(earlier) for earlier in before]:
            break
    assert isinstance(answer, Response)
    assert (answer.status, answer.call_id) == (200, ping.call_id)


def acknowledge(client: SipClient, case: Case, answer: Response) -> None:
    """Ends the retransmissions of a refused INVITE, if it can be named."""
    try:
        invite = parse_message(case.data)
        if isinstance(invite, Request) and invite.method == "INVITE":
            client.acknowledge(invite, answer)
    except SipParseError:
        pass  # it had no transaction either


def what_was_sent(case: Case) -> Request:
    """The request, or what can be read of it."""
    message: Request | Response | None
    try:
        message = parse_message(case.data)
    except SipParseError as error:
        message = error.message
    assert isinstance(message, Request)
    return message


def check_answer(case: Case, answer: Response) -> None:
    """The answer can find its way back and its transaction (RFC 3261 section 8.2.6)."""
    sent = what_was_sent(case)
    for name in ("From", "Call-ID", "CSeq"):
        assert answer.get_all(name) == sent.get_all(name)
    assert len(answer.values("Via")) == len(sent.values("Via"))
    if case.name == "badinv01":
        assert answer.get("Via") == sent.get("Via")
    else:
        assert answer.via.host == sent.via.host
        assert answer.via.branch == sent.via.branch
        assert answer.via.received == "127.0.0.1"
    if case.name not in ("insuf", "multi01", "quotbal", "badaspec", "baddn"):
        assert answer.to.uri_text == sent.to.uri_text
        assert answer.to_tag
    if case.name == "bext01":
        assert answer.values("Unsupported") == sent.values("Proxy-Require")


@every_case
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_each_message_gets_the_answer_that_the_rfc_names(server: ParleyServer, case: Case, transport: str) -> None:
    other = await SipClient("other").connect(server.ports["udp"])
    client = await SipClient("stranger", transport=transport).connect(server.ports[transport])
    counts = await malformed(server)
    client.send(case.data)
    closes = transport == "tcp" and case.name in ON_A_STREAM
    expected = ON_A_STREAM[case.name] if closes else case.parley
    answers = []
    if expected is not None:
        answer = await client.response()
        assert answer.status == expected
        check_answer(case, answer)
        acknowledge(client, case, answer)
        answers.append(answer)
    if closes:
        await asyncio.wait_for(client.closed.wait(), 15)
        assert client.received.empty()
    else:
        await fence(client, *answers)
    await fence(other)
    if case.name in COUNTED[transport]:
        status = "505" if case.name == "badvers" else "400"
        counts[status] = counts.get(status, 0) + 1
    assert await malformed(server) == counts


@pytest.mark.parametrize("case", [case for case in ALL if case.is_request], ids=lambda case: case.name)
async def test_an_ack_gets_no_answer_whatever_is_wrong_with_it(server: ParleyServer, case: Case) -> None:
    client = await SipClient("stranger").connect(server.ports["udp"])
    method, _, rest = case.data.partition(b" ")
    client.send(b"ACK " + rest.replace(method + b"\r\n", b"ACK\r\n", 1))
    await fence(client)


async def storm(server: ParleyServer, rounds: int) -> None:
    """All messages again and again, each round over one UDP socket and one TCP connection."""
    for _ in range(rounds):
        for transport in ("udp", "tcp"):
            client = await SipClient("storm", transport=transport).connect(server.ports[transport])
            for case in ALL:
                if transport == "udp" or case.name not in ON_A_STREAM:
                    client.send(case.data)
            last = client.request("OPTIONS", f"sip:{HOME}")
            client.send(bytes(last))
            while (await client.response()).get("Call-ID") != last.call_id:
                pass
            client.close()


async def test_many_of_them_cost_no_memory_and_the_server_still_serves(server: ParleyServer) -> None:
    await storm(server, 5)  # what is loaded and cached once
    before = resident_bytes([server.pid])
    await storm(server, 40)
    assert resident_bytes([server.pid]) - before < 30_000_000
    alice = await SipClient("alice").connect(server.ports["udp"])
    assert (await alice.register()).status == 200
    await fence(alice)
