"""Messages between Communicator clients and phones, on Parley as users start it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from parley.messaging.activity import build_activity, parse_activity
from parley.messaging.iscomposing import IsComposing, build_iscomposing, parse_iscomposing
from parley.sip.message import Response
from tests.integration.test_bad_input import metric
from tests.support.messages import SDP, Talk, accept, begin, client, gone, page, paged, phone, said
from tests.support.parley_server import ParleyServer, quiet_limits
from tests.support.sip_client import DOMAIN

pytestmark = pytest.mark.valkey


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    limits = quiet_limits() | {"failures_per_source": 1000, "failures_per_user": 1000}
    config = {
        "frontend": {"limits": limits, "flow_grace_seconds": 0.0},
        "messaging": {"sign_in_seconds": 0.1, "retry_seconds": 1.0},
    }
    running = ParleyServer(tmp_path_factory.mktemp("messages"), config=config)
    try:
        asyncio.run(running.start())
        yield running
    finally:
        asyncio.run(running.stop())


async def test_a_client_writes_to_phones_and_is_answered(server: ParleyServer) -> None:
    alice, desk, mobile = (
        await client(server.ports, "alice"),
        await phone(server.ports, "bob"),
        await phone(server.ports, "bob", "tcp"),
    )
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
    alice, bob = await client(server.ports, "alice"), await phone(server.ports, "bob")
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
    desk, laptop = await client(server.ports, "alice"), await client(server.ports, "alice")
    bob = await phone(server.ports, "bob")
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
    carol, desk = await client(server.ports, "carol"), await phone(server.ports, "carol")
    bob, alice = await phone(server.ports, "bob"), await client(server.ports, "alice")
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
    direct = await beginning
    assert isinstance(direct, Talk)
    ending = asyncio.create_task(direct.say("BYE", b""))
    carol.answer(await carol.expect("BYE"), 200)
    assert (await ending).status == 200
    # One that takes no sessions leaves it to the phone.
    beginning = asyncio.create_task(begin(alice, "carol"))
    invite = await carol.expect("INVITE")
    carol.answer(invite, 488)
    talk = await beginning
    assert isinstance(talk, Talk)
    asking = asyncio.create_task(talk.say("MESSAGE", b"to the phone"))
    assert (await paged(desk)).body == b"to the phone"
    assert (await asking).status == 200
    assert await metric(server, "parley_frontend_calls ") == 0
    await gone(carol, desk, bob, alice)


async def test_typing_both_ways(server: ParleyServer) -> None:
    alice, bob = await client(server.ports, "alice"), await phone(server.ports, "bob")
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
    for text in (b"text", b"more"):
        asking = asyncio.create_task(talk.say("MESSAGE", text))
        assert (await paged(bob)).body == text  # a phone that refused is not told of typing again
        assert (await asking).status == 200
        assert (await talk.say("INFO", activity, "application/xml")).status == 200
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
    alice = await client(server.ports, "alice")
    offline = await begin(alice, "bob")
    assert isinstance(offline, Response)
    assert offline.status == 480
    nobody = await begin(alice, "nobody")
    assert isinstance(nobody, Response)
    assert nobody.status == 404
    carol = await phone(server.ports, "carol")
    assert (await carol.ask(page(carol, "nobody", b"x"))).status == 404
    await gone(alice, carol)
