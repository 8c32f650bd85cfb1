"""Torture messages of RFC 4475 that must succeed: registered by their users, and passed on by the proxy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from parley.sip.message import Request, Response, parse_message
from parley.sip.nameaddr import NameAddr
from parley.sip.uri import unescape
from tests.support.parley_server import ParleyServer, quiet_limits
from tests.support.sip_client import DOMAIN, SipClient
from tests.support.torture import BY_NAME

pytestmark = pytest.mark.valkey

HOME = "example.com"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    domains = ["example.test", HOME]
    config = {"frontend": {"limits": quiet_limits(), "domains": domains}, "addressbook": {"domains": domains}}
    running = ParleyServer(tmp_path_factory.mktemp("calls"), config=config)

    async def begin() -> None:
        await running.start()
        await running.create_users(["watson", "user", "j.user", "null-%00-null"], domain=HOME)

    try:
        asyncio.run(begin())
        yield running
    finally:
        asyncio.run(running.stop())


def request(name: str) -> Request:
    message = parse_message(BY_NAME[name].data)
    assert isinstance(message, Request)
    return message


async def sign(client: SipClient, message: Request, *, exact: bytes = b"") -> Response:
    """The answer to a REGISTER once its challenge is answered; ``exact`` is sent first instead of it."""
    client.send(exact or bytes(message))
    challenge = await client.response()
    assert challenge.status == 401
    client.send(bytes(client.authorize(message, challenge)))
    return await client.response()


async def registered(client: SipClient, name: str) -> list[NameAddr]:
    """Registers with a message of the RFC; what the registrar gives back at once, and again when it is asked."""
    message = request(name)
    answer = await sign(client, message, exact=BY_NAME[name].data)
    assert answer.status == 200
    fetch = message.copy()
    fetch.remove("Contact")
    fetch.set("CSeq", f"{message.cseq.number + 10} REGISTER")
    fetch.set("Via", f"SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKfetch-{name}")
    again = await sign(client, fetch)
    assert again.status == 200
    contacts, later = answer.contacts, again.contacts
    assert isinstance(contacts, list)
    assert isinstance(later, list)
    assert [contact.uri_text for contact in contacts] == [contact.uri_text for contact in later]
    return contacts


async def test_parameters_of_contacts_are_kept_where_they_stand(server: ParleyServer) -> None:
    watson = await SipClient("watson").connect(server.ports["udp"])
    [contact] = await registered(watson, "cparam01")
    assert contact.uri_text == "sip:+19725552222@gw1.example.net"
    assert "unknownparam" in contact.params
    # The same address by the rules of RFC 3261, so it takes the place of the first.
    [contact] = await registered(watson, "cparam02")
    assert contact.uri_text == "sip:+19725552222@gw1.example.net;unknownparam"
    assert "unknownparam" not in contact.params


async def test_an_escaped_header_of_a_contact_is_kept(server: ParleyServer) -> None:
    user = await SipClient("user").connect(server.ports["udp"])
    [contact] = await registered(user, "regescrt")
    assert contact.uri_text == "sip:user@example.com?Route=%3Csip:sip.example.com%3E"


async def test_a_null_does_not_end_a_name(server: ParleyServer) -> None:
    null = await SipClient("null-%00-null").connect(server.ports["udp"])
    contacts = await registered(null, "escnull")
    assert sorted(unescape(contact.uri.user or "") for contact in contacts) == ["\x00", "\x00\x00"]


async def test_what_follows_in_the_datagram_is_ignored(server: ParleyServer) -> None:
    user = await SipClient("j.user").connect(server.ports["udp"])
    [contact] = await registered(user, "dblreq")
    assert contact.uri_text == "sip:j.user@host.example.com"


async def test_a_second_authorization_of_another_scheme_does_not_matter(server: ParleyServer) -> None:
    user = await SipClient("j.user").connect(server.ports["udp"])
    message = request("regaut01")
    answer = await sign(user, message, exact=BY_NAME["regaut01"].data)
    assert answer.status == 200


async def test_a_contact_that_needs_brackets_is_refused(server: ParleyServer) -> None:
    user = await SipClient("user").connect(server.ports["udp"])
    assert (await sign(user, request("regbadct"), exact=BY_NAME["regbadct"].data)).status == 400


ALTERED = {
    "via", "v", "max-forwards", "route", "record-route", "proxy-authorization", "p-asserted-identity", "from", "f", "cseq",
    "identity",
}  # fmt: skip
"""Headers that a proxy changes, or this test."""


def untouched(message: Request) -> list[tuple[str, str]]:
    """Header lines that a proxy has no business with, byte by byte."""
    return [(name, value) for name, value in message.headers() if name.lower() not in ALTERED]


@pytest.mark.parametrize(
    "name",
    ["wsinv", "intmeth", "esc01", "esc02", "longreq", "semiuri", "transports", "baddate", "invut", "sdp01",
     "inv2543", "ipv6-in-sdp", "mult-ip-in-sdp", "ipv4-mapped-ipv6"],
)  # fmt: skip
async def test_a_proxy_passes_on_what_is_no_business_of_its_own(server: ParleyServer, name: str) -> None:
    bob = await SipClient("bob").connect(server.ports["udp"])
    assert (await bob.register(contact="*", expires=0)).status == 200  # the phones of other tests are gone
    assert (await bob.register()).status == 200
    alice = await SipClient("alice").connect(server.ports["udp"])
    sent = request(name)
    sent.set_uri(f"sip:bob@{DOMAIN}")
    sent.set("From", f"<sip:alice@{DOMAIN}>;tag={name}")
    sent.remove("Route")
    alice.send(bytes(sent))
    challenge = await alice.response()
    assert challenge.status == 407
    if sent.method == "INVITE":
        alice.acknowledge(sent, challenge)
    signed = alice.authorize(sent, challenge)
    # The other Vias are those of hops before us.
    signed.set("Via", ", ".join([str(signed.via), *(str(via) for via in sent.vias[1:])]))
    alice.send(bytes(signed))
    got = await bob.expect(sent.method)
    assert untouched(got) == untouched(sent)
    assert got.body == sent.body
    assert len(got.vias) == len(sent.vias) + 1
    assert got.max_forwards == (70 if sent.max_forwards is None else sent.max_forwards - 1)
    bob.answer(got, 603)
    final = await alice.response()
    assert final.status == 603
    if sent.method == "INVITE":
        alice.acknowledge(signed, final)
        await bob.expect("ACK")


async def test_a_message_arrives_with_all_that_is_its_own(server: ParleyServer) -> None:
    """Single messages are stored if need be, so they do not keep the way that they came by; nothing else is lost."""
    bob = await SipClient("bob").connect(server.ports["udp"])
    assert (await bob.register(contact="*", expires=0)).status == 200
    assert (await bob.register()).status == 200
    alice = await SipClient("alice").connect(server.ports["udp"])
    sent = request("mpart01")
    sent.set_uri(f"sip:bob@{DOMAIN}")
    sent.set("From", f"<sip:alice@{DOMAIN}>;tag=mpart01")
    sent.remove("Route")
    asked = asyncio.create_task(alice.ask(sent))
    got = await bob.expect("MESSAGE")
    bob.answer(got, 200)
    assert (await asked).status == 200
    sent.remove("Contact")  # a message has none (RFC 3428 section 4)
    assert untouched(got) == untouched(sent)
    assert got.body == sent.body
