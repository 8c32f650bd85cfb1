"""Messages between Communicator clients and phones, on Parley as users start it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from secrets import token_hex

import pytest

from parley.messaging.activity import build_activity, parse_activity
from parley.messaging.iscomposing import IsComposing, build_iscomposing, parse_iscomposing
from parley.messaging.sdp import offers_messages, session_description
from parley.sip.message import Request, Response
from tests.integration.test_bad_input import metric
from tests.support.ocs_client import OcsClient
from tests.support.parley_server import ParleyServer, quiet_limits
from tests.support.sip_client import DOMAIN, SipClient

pytestmark = pytest.mark.valkey

SDP = session_description("192.0.2.5")
TEXT = [("Content-Type", "text/plain; charset=UTF-8")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    limits = quiet_limits() | {"failures_per_source": 1000, "failures_per_user": 1000}
    config = {
        "frontend": {"limits": limits, "flow_grace_seconds": 0.0},
        "messaging": {"sign_in_seconds": 0.1, "retry_seconds": 1.0, "max_stored": 3, "answer_seconds": 2.0},
    }
    running = ParleyServer(tmp_path_factory.mktemp("messages"), config=config)
    try:
        asyncio.run(running.start())
        yield running
    finally:
        asyncio.run(running.stop())


async def phone(server: ParleyServer, user: str, transport: str = "udp", **register: object) -> SipClient:
    """A registered phone."""
    made = await SipClient(user, transport=transport).connect(server.ports[transport])
    assert (await made.register(**register)).status == 200  # type: ignore[arg-type]
    return made


async def client(server: ParleyServer, user: str, epid: str = "") -> OcsClient:
    """A Communicator that has signed in; another endpoint each time, as sessions outlive connections."""
    made = await OcsClient(user, epid=epid or token_hex(6)).connect(server.ports["tcp"])
    assert (await made.sign_in()).status == 200
    return made


async def gone(*users: SipClient) -> None:
    """Signs out."""
    for user in users:
        if isinstance(user, OcsClient):
            await user.abort()
        else:
            assert (await user.register(contact="*", expires=0)).status == 200
            user.close()
    await asyncio.sleep(0.3)


def page(sender: SipClient, to: str, body: bytes, headers: list[tuple[str, str]] = TEXT) -> Request:
    """A single message."""
    return sender.request("MESSAGE", f"sip:{to}@{DOMAIN}", headers=headers, body=body)


async def paged(receiver: SipClient, status: int = 200) -> Request:
    """The next single message, answered."""
    message = await receiver.expect("MESSAGE")
    receiver.answer(message, status)
    return message


class Talk:
    """A session, at its client."""

    def __init__(self, owner: OcsClient, target: str, call_id: str, own_tag: str, other: str, cseq: int) -> None:
        self.owner, self.target, self.call_id, self.own_tag, self.other, self.cseq = (
            owner, target, call_id, own_tag, other, cseq
        )  # fmt: skip

    async def say(self, method: str, body: bytes, content_type: str = "text/plain; charset=UTF-8;msgr=WAA") -> Response:
        """A request in it."""
        self.cseq += 1
        request = self.owner.request(
            method, self.target, headers=[("Content-Type", content_type)], body=body, call_id=self.call_id, cseq=self.cseq,
            from_tag=self.own_tag,
        )  # fmt: skip
        request.set("From", f"<sip:{self.owner.user}@{DOMAIN}>;tag={self.own_tag};epid={self.owner.epid}")
        request.set("To", self.other)
        return await self.owner.ask_signed(request)


async def begin(owner: OcsClient, to: str) -> Talk | Response:
    """A session that the client begins; the answer when it is none."""
    headers = [("Content-Type", "application/sdp"), ("Contact", f"<{owner.contact}>"), ("Supported", "ms-sender")]
    invite = owner.ocs_request("INVITE", f"sip:{to}@{DOMAIN}", headers=headers, body=SDP)
    answer = await owner.ask_signed(invite)
    if answer.status != 200:
        return answer
    assert offers_messages(answer.body)
    assert "ms-text-format" not in (answer.get("Supported") or "")
    contacts = answer.contacts
    assert isinstance(contacts, list)
    talk = Talk(
        owner, contacts[0].uri_text, invite.call_id, invite.from_tag or "", answer.get("To") or "", invite.cseq.number
    )
    ack = owner.request("ACK", talk.target, call_id=invite.call_id, cseq=talk.cseq, from_tag=talk.own_tag)
    ack.set("To", talk.other)
    owner.send(bytes(owner.sign(ack)))
    return talk


async def accept(owner: OcsClient) -> Talk:
    """The session that the server begins, taken."""
    invite = await owner.expect("INVITE")
    assert owner.is_signed(invite)
    assert offers_messages(invite.body)
    contacts = invite.contacts
    assert isinstance(contacts, list)
    accept_ = [("Content-Type", "application/sdp")]
    owner.answer(invite, 200, to_tag="c", headers=accept_, body=SDP)
    await owner.expect("ACK")
    return Talk(owner, contacts[0].uri_text, invite.call_id, "c", invite.get("From") or "", 0)


async def said(owner: OcsClient, status: int = 200) -> Request:
    """The next message in a session, answered."""
    message = await owner.expect("MESSAGE")
    assert owner.is_signed(message)
    owner.answer(message, status)
    return message


async def test_a_client_writes_to_phones_and_is_answered(server: ParleyServer) -> None:
    alice, desk, mobile = await client(server, "alice"), await phone(server, "bob"), await phone(server, "bob", "tcp")
    talk = await begin(alice, "bob")
    assert isinstance(talk, Talk)
    asking = asyncio.create_task(talk.say("MESSAGE", b"ahoj"))
    for device in (desk, mobile):
        message = await paged(device)
        assert message.body == b"ahoj"
        assert message.get("Content-Type") == "text/plain; charset=UTF-8"
        assert message.from_.uri_text == f"sip:alice@{DOMAIN}"
        assert message.get("P-Asserted-Identity")
        assert "Date" in message
    assert (await asking).status == 200
    asking = asyncio.create_task(talk.say("MESSAGE", b"<b>a</b> &amp; b", "text/html; charset=UTF-8"))
    for device in (desk, mobile):
        assert (await paged(device)).body == b"a & b"
    assert (await asking).status == 200

    replying = asyncio.create_task(desk.ask(page(desk, "alice", b"back")))
    message = await said(alice)
    assert message.body == b"back"
    assert message.call_id == talk.call_id
    assert message.from_.uri_text == f"sip:bob@{DOMAIN}"
    assert (await replying).status == 200

    assert (await talk.say("MESSAGE", b"{}", "text/rtf")).status == 415
    assert (await talk.say("BYE", b"")).status == 200
    assert (await talk.say("MESSAGE", b"late")).status == 481
    await gone(alice, desk, mobile)


async def test_a_phone_writes_to_a_client_and_the_session_is_used_again(server: ParleyServer) -> None:
    alice, bob = await client(server, "alice"), await phone(server, "bob")
    sending = asyncio.create_task(bob.ask(page(bob, "alice", b"one")))
    talk = await accept(alice)
    assert (await said(alice)).body == b"one"
    assert (await sending).status == 200
    for text in (b"two", b"three"):
        sending = asyncio.create_task(bob.ask(page(bob, "alice", text)))
        message = await said(alice)
        assert (message.body, message.call_id) == (text, talk.call_id)
        assert (await sending).status == 200
    asking = asyncio.create_task(talk.say("MESSAGE", b"yes"))
    assert (await paged(bob)).body == b"yes"
    assert (await asking).status == 200
    # The client has forgotten the session: it is asked anew, and nothing is lost.
    sending = asyncio.create_task(bob.ask(page(bob, "alice", b"four")))
    assert (await said(alice, 481)).body == b"four"
    again = await accept(alice)
    assert again.call_id != talk.call_id
    assert (await said(alice)).body == b"four"
    assert (await sending).status == 200
    await gone(alice, bob)


async def test_the_first_client_that_answers_has_the_session(server: ParleyServer) -> None:
    desk, laptop = await client(server, "alice"), await client(server, "alice")
    bob = await phone(server, "bob")
    sending = asyncio.create_task(bob.ask(page(bob, "alice", b"who?")))
    ringing = await desk.expect("INVITE")
    desk.answer(ringing, 180)
    await accept(laptop)
    assert (await said(laptop)).body == b"who?"
    assert (await sending).status == 200
    cancelled = await desk.expect("CANCEL")
    assert cancelled.call_id == ringing.call_id
    await gone(desk, laptop, bob)


async def test_a_user_with_both_is_reached_once_on_each(server: ParleyServer) -> None:
    carol, desk = await client(server, "carol"), await phone(server, "carol")
    bob, alice = await phone(server, "bob"), await client(server, "alice")
    sending = asyncio.create_task(bob.ask(page(bob, "carol", b"both")))
    assert (await paged(desk)).body == b"both"
    await accept(carol)
    assert (await said(carol)).body == b"both"
    assert (await sending).status == 200
    # A session of another client goes to the client alone, and past the front end.
    beginning = asyncio.create_task(begin(alice, "carol"))
    invite = await carol.expect("INVITE")
    assert "app:messaging" not in (invite.get("Contact") or "")
    carol.answer(invite, 200, headers=[("Content-Type", "application/sdp")], body=SDP)
    assert isinstance(await beginning, Talk)
    # One that takes no sessions leaves it to the phone.
    beginning = asyncio.create_task(begin(alice, "carol"))
    invite = await carol.expect("INVITE")
    carol.answer(invite, 488)
    talk = await beginning
    assert isinstance(talk, Talk)
    asking = asyncio.create_task(talk.say("MESSAGE", b"to the phone"))
    assert (await paged(desk)).body == b"to the phone"
    assert (await asking).status == 200
    assert await metric(server, "parley_frontend_calls ") == 1  # the session between the clients
    await gone(carol, desk, bob, alice)


async def test_typing_both_ways(server: ParleyServer) -> None:
    alice, bob = await client(server, "alice"), await phone(server, "bob")
    talk = await begin(alice, "bob")
    assert isinstance(talk, Talk)
    activity = build_activity(typing=True)
    for _ in range(2):  # told once
        assert (await talk.say("INFO", activity, "application/xml")).status == 200
    status = await paged(bob)
    assert status.get("Content-Type") == "application/im-iscomposing+xml"
    assert parse_iscomposing(status.body).state == "active"
    idle = build_activity(typing=False)
    assert (await talk.say("INFO", idle, "application/xml")).status == 200
    assert parse_iscomposing((await paged(bob, 415)).body).state == "idle"
    assert (await talk.say("INFO", activity, "application/xml")).status == 200  # a phone that refused is not told again
    asking = asyncio.create_task(talk.say("MESSAGE", b"text"))
    assert (await paged(bob)).body == b"text"
    assert (await asking).status == 200
    assert (await talk.say("INFO", b"<x", "application/xml")).status == 400
    assert (await talk.say("INFO", b"x", "text/strange")).status == 415

    composing = build_iscomposing(IsComposing("active"))
    kind = [("Content-Type", "application/im-iscomposing+xml")]
    telling = asyncio.create_task(bob.ask(page(bob, "alice", composing, kind)))
    info = await alice.expect("INFO")
    assert parse_activity(info.body)
    assert info.call_id == talk.call_id
    alice.answer(info, 200)
    assert (await telling).status == 200
    assert (await bob.ask(page(bob, "alice", b"<x", kind))).status == 400
    await gone(alice, bob)


async def test_nobody_there(server: ParleyServer) -> None:
    alice = await client(server, "alice")
    offline = await begin(alice, "bob")
    assert isinstance(offline, Response)
    assert offline.status == 480
    nobody = await begin(alice, "nobody")
    assert isinstance(nobody, Response)
    assert nobody.status == 404
    carol = await phone(server, "carol")
    assert (await carol.ask(page(carol, "nobody", b"x"))).status == 404
    await gone(alice, carol)
