"""Messages for users who are not there, or do not want them; reports; bodies that are none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from random import Random

import pytest

from parley.messaging.cpim import CpimMessage, Header, build_cpim, parse_cpim
from parley.messaging.imdn import CPIM_NS, Imdn, parse_imdn
from parley.sip.message import Request, Response
from tests.integration.test_bad_input import metric
from tests.support.messages import SDP, Talk, accept, begin, client, gone, page, paged, phone, said
from tests.support.ocs_client import OcsClient
from tests.support.parley_server import ParleyServer, quiet_limits
from tests.support.sip_client import DOMAIN, SipClient

pytestmark = pytest.mark.valkey

MOST_BYTES = 4_000


NOISE = Random(0).randbytes(500)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    config = {
        "frontend": {"limits": quiet_limits(), "flow_grace_seconds": 0.0},
        "messaging": {
            "sign_in_seconds": 0.1, "retry_seconds": 1.0, "max_stored": 3, "answer_seconds": 3.0,
            "max_message_bytes": MOST_BYTES, "session_idle_seconds": 5, "max_sessions": 3,
        },
    }  # fmt: skip
    running = ParleyServer(tmp_path_factory.mktemp("kept"), config=config)
    try:
        asyncio.run(running.start())
        asyncio.run(running.create_users([f"u{n}" for n in range(40)]))
        yield running
    finally:
        asyncio.run(running.stop())


@pytest.fixture
def absent(server: ParleyServer, request: pytest.FixtureRequest) -> str:
    """A user whom no other test knows."""
    names: Iterator[str] = request.getfixturevalue("names")
    return next(names)


@pytest.fixture(scope="module")
def names() -> Iterator[str]:
    return iter([f"u{n}" for n in range(40)])


async def test_kept_for_a_phone_and_delivered_in_order_when_it_signs_in(server: ParleyServer, absent: str) -> None:
    bob = await phone(server.ports, "bob")
    sent = [page(bob, absent, text) for text in (b"one", b"two", b"three")]
    for message in sent:
        assert (await bob.ask(message)).status == 202
    full = await bob.ask(page(bob, absent, b"four"))
    assert full.status == 480
    there = await phone(server.ports, absent)
    for message in sent:
        got = await paged(there)
        assert got.body == message.body
        assert got.call_id == message.call_id
        assert got.get("Date")
        assert got.get("P-Asserted-Identity") == f'"Bob" <sip:bob@{DOMAIN}>'
    sending = asyncio.create_task(bob.ask(page(bob, absent, b"five")))
    assert (await paged(there)).body == b"five"
    assert (await sending).status == 200
    sending = asyncio.create_task(bob.ask(page(bob, absent, b"five")))
    assert (await paged(there)).body == b"five"
    assert (await sending).status == 200
    with pytest.raises(TimeoutError):
        await there.expect("MESSAGE", 1.5)
    assert await metric(server, 'parley_events_published_total{outcome="ok",topic="parley.messages"}') >= 1
    await gone(bob, there)


async def test_kept_for_a_client_and_shown_in_a_session(server: ParleyServer, absent: str) -> None:
    bob = await phone(server.ports, "bob")
    for text in (b"one", b"two"):
        assert (await bob.ask(page(bob, absent, text))).status == 202
    there = await client(server.ports, absent)
    talk = await accept(there)
    for text in (b"one", b"two"):
        message = await said(there)
        assert (message.body, message.call_id) == (text, talk.call_id)
        assert message.get("Date")
    await gone(bob, there)


async def test_a_phone_that_does_not_answer_gets_it_later_and_once(server: ParleyServer, absent: str) -> None:
    bob, there = await phone(server.ports, "bob"), await phone(server.ports, absent, "tcp")
    sending = asyncio.create_task(bob.ask(page(bob, absent, b"slow")))
    first = await there.expect("MESSAGE")
    assert (await sending).status == 202  # it is kept, as the phone says nothing
    there.answer(first, 200)

    async def withdrawn() -> bool:
        again = await phone(server.ports, absent, "tcp")
        try:
            await again.expect("MESSAGE", 0.5)
        except TimeoutError:
            return True
        finally:
            again.close()
        return False

    assert await withdrawn()
    await gone(bob, there)


async def test_each_message_to_a_phone_that_does_not_answer_is_acknowledged_in_time(
    server: ParleyServer, absent: str
) -> None:
    silent = await phone(server.ports, absent)
    senders = [await phone(server.ports, "bob") for _ in range(3)]
    begun = asyncio.get_running_loop().time()
    answers = await asyncio.gather(*(each.ask(page(each, absent, each.contact.encode())) for each in senders))
    assert [answer.status for answer in answers] == [202, 202, 202]
    assert asyncio.get_running_loop().time() - begun < 4.5, "one message may wait for 3 seconds, and each alone"
    await gone(silent, *senders)


async def test_what_is_refused_is_not_sent_again(server: ParleyServer, absent: str) -> None:
    bob = await phone(server.ports, "bob")
    assert (await bob.ask(page(bob, absent, b"strange", [("Content-Type", "text/strange")]))).status == 202
    assert (await bob.ask(page(bob, absent, b"plain"))).status == 202
    before = await metric(server, 'parley_messaging_undelivered_total{reason="refused"}')
    there = await phone(server.ports, absent)
    assert (await paged(there, 415)).body == b"strange"
    assert (await paged(there)).body == b"plain"
    assert await metric(server, 'parley_messaging_undelivered_total{reason="refused"}') == before + 1
    await gone(bob, there)


async def test_what_is_kept_ends_with_the_user(server: ParleyServer) -> None:
    await server.create_users(["short"])
    bob = await phone(server.ports, "bob")
    assert (await bob.ask(page(bob, "short", b"for the first"))).status == 202
    assert (await server.parley("user", "delete", f"short@{DOMAIN}", "--yes")).returncode == 0
    assert (await bob.ask(page(bob, "short", b"for nobody"))).status == 404
    await server.create_users(["short"])
    second = await phone(server.ports, "short")
    with pytest.raises(TimeoutError):
        await second.expect("MESSAGE", 1.5)
    await gone(bob, second)


async def test_busy_now_and_free_later(server: ParleyServer, absent: str) -> None:
    bob, there = await phone(server.ports, "bob"), await phone(server.ports, absent)
    sending = asyncio.create_task(bob.ask(page(bob, absent, b"later")))
    await paged(there, 480)
    assert (await sending).status == 202
    assert (await paged(there)).body == b"later"  # tried again while it is registered
    await gone(bob, there)


async def test_limits(server: ParleyServer, absent: str) -> None:
    bob = await phone(server.ports, "bob", "tcp")
    assert (await bob.ask(page(bob, absent, b"x" * (MOST_BYTES + 1)))).status == 413
    now_or_never = [("Content-Type", "text/plain"), ("Expires", "0")]
    assert (await bob.ask(page(bob, absent, b"now", now_or_never))).status == 480
    typing = [("Content-Type", "application/im-iscomposing+xml")]
    assert (await bob.ask(page(bob, absent, b"<x/>", typing))).status == 480
    await gone(bob)


# Reports


def asking(wanted: str, body: bytes = b"hello") -> bytes:
    """A message in an envelope that asks for reports."""
    headers = (
        Header("From", f"<sip:bob@{DOMAIN}>"), Header("To", f"<sip:alice@{DOMAIN}>"),
        Header("DateTime", "2026-05-06T05:08:09Z"), Header("Message-ID", "m1", CPIM_NS),
        Header("Disposition-Notification", wanted, CPIM_NS),
    )  # fmt: skip
    return build_cpim(CpimMessage(headers, (("Content-Type", "text/plain; charset=utf-8"),), body))


CPIM = [("Content-Type", "message/cpim")]


async def reported(phone_: SipClient) -> Imdn:
    """The next report."""
    message = await paged(phone_)
    assert message.get("Content-Type") == "message/cpim"
    return parse_imdn(parse_cpim(message.body).body)


async def test_reports_of_what_is_kept_and_then_shown_to_a_client(server: ParleyServer, absent: str) -> None:
    bob = await phone(server.ports, "bob")
    assert (await bob.ask(page(bob, absent, asking("positive-delivery, processing"), CPIM))).status == 202
    stored = await reported(bob)
    assert (stored.message_id, stored.kind, stored.status) == ("m1", "processing", "stored")
    there = await client(server.ports, absent)
    await accept(there)
    message = await said(there)
    assert (message.body, message.get("Content-Type")) == (b"hello", "text/plain; charset=UTF-8")
    delivered = await reported(bob)
    assert (delivered.message_id, delivered.kind, delivered.status) == ("m1", "delivery", "delivered")
    await gone(bob, there)


async def test_a_report_that_it_came_too_late(server: ParleyServer, absent: str) -> None:
    bob = await phone(server.ports, "bob")
    before = await metric(server, 'parley_messaging_undelivered_total{reason="expired"}')
    headers = [*CPIM, ("Expires", "1")]
    assert (await bob.ask(page(bob, absent, asking("negative-delivery"), headers))).status == 202
    failed = await reported(bob)
    assert (failed.message_id, failed.kind, failed.status) == ("m1", "delivery", "failed")
    assert await metric(server, 'parley_messaging_undelivered_total{reason="expired"}') == before + 1
    there = await phone(server.ports, absent)
    with pytest.raises(TimeoutError):
        await there.expect("MESSAGE", 1)
    await gone(bob, there)


async def test_a_phone_reports_itself_and_one_without_envelopes_is_reported_for(server: ParleyServer, absent: str) -> None:
    bob, there = await phone(server.ports, "bob"), await phone(server.ports, absent)
    body = asking("positive-delivery")
    sending = asyncio.create_task(bob.ask(page(bob, absent, body, CPIM)))
    assert (await paged(there)).body == body  # as it was: the phone will report
    assert (await sending).status == 200
    sending = asyncio.create_task(bob.ask(page(bob, absent, body, CPIM)))
    assert (await paged(there, 415)).body == body
    plain = await paged(there)
    assert (plain.body, plain.get("Content-Type")) == (b"hello", "text/plain; charset=utf-8")
    reporting = asyncio.create_task(reported(bob))
    assert (await sending).status == 200
    assert (await reporting).status == "delivered"
    await gone(bob, there)


# Who is blocked


async def block(owner: OcsClient, user: str, version: int, action: str = "add") -> None:
    body = (
        '<setContainerMembers xmlns="http://schemas.microsoft.com/2006/09/sip/container-management">'
        f'<container id="32000" version="{version}"><member action="{action}" type="user" value="{user}@{DOMAIN}"/>'
        "</container></setContainerMembers>"
    )
    headers = [("Content-Type", "application/msrtc-setcontainermembers+xml")]
    request = owner.ocs_request("SERVICE", f"sip:{owner.user}@{DOMAIN}", headers=headers, body=body.encode())
    assert (await owner.ask_signed(request)).status == 200


def form(response: Response) -> tuple[int, str, list[str]]:
    """All of an answer that does not vary from one to the next."""
    return response.status, response.reason, [name for name, _ in response.headers() if name != "Authentication-Info"]


async def test_who_is_blocked_is_answered_as_if_nobody_were_there(server: ParleyServer, names: Iterator[str]) -> None:
    owner_name, absent = next(names), next(names)
    owner = await client(server.ports, owner_name)
    desk = await phone(server.ports, owner_name)
    writer, caller = await phone(server.ports, "bob"), await client(server.ports, "bob")
    await block(owner, "bob", 0)

    offline = await writer.ask(page(writer, absent, b"x"))
    blocked = await writer.ask(page(writer, owner_name, b"x"))
    assert form(blocked) == form(offline)
    assert blocked.status == 202
    nobody = await begin(caller, absent)
    refused = await begin(caller, owner_name)
    assert isinstance(nobody, Response)
    assert isinstance(refused, Response)
    assert form(refused) == form(nobody)
    assert refused.status == 480
    with pytest.raises(TimeoutError):
        await desk.expect("MESSAGE", 1.5)
    await block(owner, "bob", 1, "remove")
    sending = asyncio.create_task(writer.ask(page(writer, owner_name, b"hello again")))
    assert (await paged(desk)).body == b"hello again"
    await accept(owner)
    assert (await said(owner)).body == b"hello again"
    assert (await sending).status == 200
    await gone(owner, desk, writer, caller)


# Sessions end, and garbage


async def test_an_idle_session_is_ended_and_the_next_message_opens_another(server: ParleyServer, absent: str) -> None:
    bob, there = await phone(server.ports, "bob"), await client(server.ports, absent)
    sending = asyncio.create_task(bob.ask(page(bob, absent, b"one")))
    talk = await accept(there)
    await said(there)
    assert (await sending).status == 200
    bye = await there.expect("BYE", 10)
    assert bye.call_id == talk.call_id
    there.answer(bye, 200)
    assert (await talk.say("MESSAGE", b"late")).status == 481
    sending = asyncio.create_task(bob.ask(page(bob, absent, b"two")))
    assert (await accept(there)).call_id != talk.call_id
    assert (await said(there)).body == b"two"
    assert (await sending).status == 200
    await gone(bob, there)


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("message/cpim", b"garbage", 400),
        ("message/cpim", b"From: <sip:a@b>\r\n\r\nContent-Type: text/strange\r\n\r\nx", 415),
        ("multipart/alternative", b"garbage", 400),
        ("multipart/alternative; boundary=b", b"--b\r\nContent-Type: text/plain", 400),
        ("application/octet-stream", NOISE, 415),
        ("text/plain; charset=utf-7", b"+", 415),
        ("application/im-iscomposing+xml", NOISE[:100], 400),
    ],
)
async def test_bodies_that_no_client_can_show(
    server: ParleyServer, absent: str, content_type: str, body: bytes, status: int
) -> None:
    bob, there = await phone(server.ports, "bob"), await client(server.ports, absent)
    assert (await bob.ask(page(bob, absent, body, [("Content-Type", content_type)]))).status == status
    await gone(bob, there)


async def test_bytes_that_are_no_text_are_shown_all_the_same(server: ParleyServer, absent: str) -> None:
    bob, there = await phone(server.ports, "bob"), await client(server.ports, absent)
    sending = asyncio.create_task(bob.ask(page(bob, absent, b"\xff\x00\xfe")))
    await accept(there)
    message = await said(there)
    assert message.body == "\ufffd\ufffd".encode()  # a client may take a NUL for the end
    assert (await sending).status == 200
    await gone(bob, there)


async def test_a_session_that_is_not_ours(server: ParleyServer, absent: str) -> None:
    there = await client(server.ports, absent)
    uri = f"sip:bob@{DOMAIN};opaque=app:messaging:0123456789abcdef"

    def request(method: str, to_tag: str | None) -> Request:
        return there.ocs_request(method, uri, headers=[("Content-Type", "text/plain")], body=b"x", to_tag=to_tag)

    for method in ("MESSAGE", "INFO", "BYE", "INVITE"):
        assert (await there.ask_signed(request(method, "t"))).status == 481
        assert (await there.ask_signed(request(method, None))).status == 481
    await gone(there)


async def test_sessions_have_a_limit_and_take_no_extensions(server: ParleyServer, absent: str, names: Iterator[str]) -> None:
    there, desk = await client(server.ports, absent), await phone(server.ports, next(names))
    for _ in range(3):
        assert isinstance(await begin(there, desk.user), Talk)
    many = await begin(there, desk.user)
    assert isinstance(many, Response)
    assert many.status == 480
    headers = [("Content-Type", "application/sdp"), ("Require", "com.microsoft.rtc-multiparty")]
    invite = there.ocs_request("INVITE", f"sip:{desk.user}@{DOMAIN}", headers=headers, body=SDP)
    refused = await there.ask_signed(invite)
    assert (refused.status, refused.get("Unsupported")) == (420, "com.microsoft.rtc-multiparty")
    await gone(there, desk)


async def test_what_a_session_answers(server: ParleyServer, absent: str, names: Iterator[str]) -> None:
    there, desk = await client(server.ports, absent), await phone(server.ports, next(names))
    talk = await begin(there, desk.user)
    assert isinstance(talk, Talk)
    assert (await talk.say("OPTIONS", b"")).status == 200
    assert (await talk.say("SUBSCRIBE", b"")).status == 405
    assert (await talk.say("INFO", b"<x/>", "application/xml+conversationinfo")).status == 200
    talk.cseq -= 2
    assert (await talk.say("MESSAGE", b"old")).status == 500
    talk.cseq += 2
    asking = asyncio.create_task(talk.say("MESSAGE", b"no"))
    await paged(desk, 486)
    assert (await asking).status == 486
    await gone(desk)
    assert (await talk.say("MESSAGE", b"nobody")).status == 480
    assert (await talk.say("MESSAGE", b"nobody")).status == 481
    await gone(there)
