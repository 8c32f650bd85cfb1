"""Conferences of Communicator clients, on Parley as users start it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack

import pytest

from parley.xml import child, children, parse_xml, text_of
from tests.integration.test_bad_input import metric
from tests.support.attendee import Attendee, add_conference
from tests.support.parley_server import ParleyServer, quiet_limits
from tests.support.sip_client import DOMAIN, SipClient

pytestmark = pytest.mark.valkey

ALICE, BOB, CAROL = (f"sip:{name}@{DOMAIN}" for name in ("alice", "bob", "carol"))
POLICY = "<msci:admission-policy>{}</msci:admission-policy>"

Come = Callable[..., "asyncio.Future[Attendee]"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    config = {
        "frontend": {"limits": quiet_limits()}, "conference": {"max_participants": 3, "max_conferences": 20},
        "immcu": {"answer_seconds": 1.0, "max_message_bytes": 2_000},
    }  # fmt: skip
    running = ParleyServer(tmp_path_factory.mktemp("conference"), config=config)
    try:
        asyncio.run(running.start())
        yield running
    finally:
        asyncio.run(running.stop())


@pytest.fixture
async def come(server: ParleyServer) -> AsyncIterator[Callable[..., object]]:
    async with AsyncExitStack() as stack:

        async def arrive(user: str, *, epid: str = "0123456789ab") -> Attendee:
            attendee = await Attendee(user, epid=epid).join_in(server.ports["tcp"])
            stack.push_async_callback(attendee.leave_out)
            return attendee

        yield arrive


async def failed(alice: Attendee, command: str) -> str:
    """The reason why the factory refuses a command."""
    answer = await alice.factory(command)
    assert answer.status == 200
    root = parse_xml(answer.body)
    assert root.get("code") == "failure", answer.body
    return str(root[0].get("reason"))


async def test_a_factory_says_what_it_offers_and_keeps_conferences(come: Come) -> None:
    alice = await come("alice")
    answer = await alice.factory("<getConferencingCapabilities/>")
    assert answer.get("Content-Type") == "application/cccp+xml"
    assert b"<mcuType>chat</mcuType>" in answer.body
    focus = await alice.create("FACTORY00001", description=POLICY.format("closedAuthenticated"))
    assert focus == f"{ALICE};gruu;opaque=app:conf:focus:id:FACTORY00001"
    assert await failed(alice, add_conference("FACTORY00001")) == "conferenceExists"
    assert await failed(alice, add_conference("short")) == "invalidConferenceId"
    assert await failed(alice, add_conference("FACTORY00002", POLICY.format("everybody"))) == "invalidAdmissionPolicy"
    old = "<msci:expiry-time>1999-01-01T00:00:00Z</msci:expiry-time>"
    assert await failed(alice, add_conference("FACTORY00002", old)) == "invalidExpiryTime"
    video = add_conference("FACTORY00002").replace('entity="chat"', 'entity="audio-video"')
    assert await failed(alice, video) == "mcuTypeNotAvailable"
    assert await failed(alice, "<paintItBlack/>") == "notSupported"

    keys = '<conferenceKeys conference-id="factory00001"/>'
    found = await alice.factory(f"<getConference>{keys}</getConference>")
    info = child(parse_xml(found.body), "getConference")
    assert info is not None
    description = children(info[0], "conference-description")[0]
    assert text_of(child(description, "admission-policy")) == "closedAuthenticated"
    listed = await alice.factory("<getConferences/>")
    assert b"FACTORY00001" in listed.body
    change = add_conference("FACTORY00001", POLICY.format("openAuthenticated")).replace("addConference", "modifyConference")
    assert b'code="success"' in (await alice.factory(change)).body
    assert b"openAuthenticated" in (await alice.factory(f"<getConference>{keys}</getConference>")).body
    assert b'code="success"' in (await alice.factory(f"<deleteConference>{keys}</deleteConference>")).body
    assert await failed(alice, f"<getConference>{keys}</getConference>") == "conferenceDoesNotExist"


async def test_a_factory_is_for_its_own_user_and_for_c3p(server: ParleyServer, come: Come) -> None:
    alice = await come("alice")
    before = await metric(server, 'parley_conference_refused_total{method="SERVICE",status="400"}')
    stranger = await alice.factory("<getConferencingCapabilities/>", of=BOB)
    assert (stranger.status, (stranger.get("ms-diagnostics") or "")[:4]) == (403, "3014")
    for body in (b"", b"<request/>", b"<a><b></a>", b'<!DOCTYPE a [<!ENTITY b "c">]><request>&b;</request>', b"\0" * 50):
        answer = await alice.factory("", body=body or b" ")
        assert (answer.status, (answer.get("ms-diagnostics") or "")[:4]) == (400, "3006")
    assert await metric(server, 'parley_conference_refused_total{method="SERVICE",status="400"}') == before + 5
    forged = alice.c3p(f"{ALICE};gruu;opaque=app:conf:focusfactory", "<getConferences/>").replace(
        f'from="{ALICE}"'.encode(), f'from="{BOB}"'.encode()
    )
    assert (await alice.factory("", body=forged)).status == 403


async def test_three_talk_in_one_order_and_see_each_other(come: Come) -> None:
    alice, bob, carol = await come("alice"), await come("bob"), await come("carol")
    focus = await alice.create("TALK00000001")
    first = {}
    for one in (alice, bob, carol):
        joined = await one.join(focus)
        assert joined.status == 200
        role = b"presenter" if one is alice else b"attendee"
        assert b"<entry>" + role + b"</entry>" in joined.body
        watching = await one.watch(focus)
        assert (watching.status, watching.get("ms-piggyback-cseq")) == (200, "1")
        first[one.user] = watching.body
        assert (await one.chat(focus)).status == 200
    everybody = {address: {"focus", "chat"} for address in (ALICE, BOB, CAROL)}
    for one in (alice, bob, carol):
        await one.until("the whole roster", lambda one=one: one.roster(first[one.user]) == everybody)
        notified = one.notified(parse_xml(first[one.user]).get("entity"))
        versions = [parse_xml(request.body).get("version") for request in notified]
        assert versions == [str(number) for number in range(2, len(versions) + 2)]
        assert [request.cseq.number for request in notified] == list(range(2, len(versions) + 2))

    speakers = [(alice, ALICE), (bob, BOB), (carol, CAROL)]
    said = [(one, address, f"{one.user} {number}") for number in range(5) for one, address in speakers]
    answers = await asyncio.gather(*(one.say(text) for one, _, text in said))
    assert {answer.status for answer in answers} == {202}
    numbers = [int(answer.get("Message-Id") or 0) for answer in answers]
    assert sorted(numbers) == list(range(1, 16))
    in_order = [said[numbers.index(number)] for number in range(1, 16)]
    for one, address in speakers:
        wanted = [(f"<{sender}>", text) for _, sender, text in in_order if sender != address]
        await one.until("all messages", lambda one=one, wanted=wanted: len(one.heard()) >= len(wanted))
        assert one.heard() == wanted

    assert (await bob.tell(bob.within(bob.focus_dialog, "BYE"))).status == 200
    await bob.until("the end of the chat", lambda: any(request.method == "BYE" for request in bob.asked))
    gone = {address: kinds for address, kinds in everybody.items() if address != BOB}
    await alice.until("bob gone", lambda: alice.roster(first["alice"]) == gone)
    assert (await bob.say("too late")).status == 481
    assert (await bob.tell(bob.within(bob.chat_dialog, "BYE"))).status == 200


async def test_presenters_command_and_attendees_do_not(come: Come) -> None:
    alice, bob, carol = await come("alice"), await come("bob"), await come("carol")
    focus = await alice.create("RULE00000001")
    for one in (alice, bob):
        assert (await one.join(focus)).status == 200
        assert (await one.watch(focus)).status == 200
    lock = f'<modifyConferenceLock><conferenceKeys confEntity="{focus}"/><locked>true</locked></modifyConferenceLock>'
    assert (await bob.command(focus, lock)).status == 202
    await bob.until("the outcome", lambda: bob.outcomes() == ["failure forbidden"])
    assert (await alice.command(focus, lock)).status == 202
    await alice.until("the outcome", lambda: alice.outcomes() == ["success"])
    await bob.until("the lock", bob.is_locked)
    refused = await carol.join(focus)
    assert (refused.status, (refused.get("ms-diagnostics") or "")[:4]) == (403, "3014")

    keys = f'<userKeys confEntity="{focus}" userEntity="{BOB}"/>'
    promote = f"<modifyUserRoles>{keys}<user-roles><entry>presenter</entry></user-roles></modifyUserRoles>"
    assert (await alice.command(focus, promote)).status == 202
    await alice.until("the outcome", lambda: alice.outcomes() == ["success", "success"])
    demote = promote.replace(BOB, ALICE).replace("presenter", "attendee")
    assert (await bob.command(focus, demote)).status == 202
    await bob.until("the outcome", lambda: bob.outcomes()[-1] == "failure forbidden" and len(bob.outcomes()) == 2)
    assert (await bob.command(focus, lock.replace("true", "false"))).status == 202
    await bob.until("the outcome", lambda: bob.outcomes()[-1] == "success")
    assert (await carol.join(focus)).status == 200
    assert (await carol.chat(focus)).status == 200

    out = f'<deleteUser><userKeys confEntity="{focus}" userEntity="{CAROL}"/></deleteUser>'
    assert (await alice.command(focus, out)).status == 202
    ended = {carol.focus_dialog[0].call_id, carol.chat_dialog[0].call_id}
    await carol.until("both ends", lambda: {one.call_id for one in carol.asked if one.method == "BYE"} == ended)
    bye = next(one for one in carol.asked if one.method == "BYE" and one.call_id == carol.chat_dialog[0].call_id)
    assert bye.from_.uri_text == focus.replace(":focus:", ":chat:")
    assert (await alice.command(focus, "<setLobbyAccess/>")).status == 202
    await alice.until("the outcome", lambda: alice.outcomes()[-1] == "failure notSupported")

    end = f'<deleteConference><conferenceKeys confEntity="{focus}"/></deleteConference>'
    assert (await alice.command(focus, end)).status == 202
    await bob.until("the end", lambda: any(one.method == "BYE" for one in bob.asked))
    await bob.until(
        "the end of the subscription",
        lambda: any("terminated" in (one.get("Subscription-State") or "") for one in bob.asked),
    )
    assert (await bob.join(focus)).status == 200, "the record stays, and the next meeting can begin"


async def test_who_may_come_in(come: Come) -> None:
    alice, bob, carol = await come("alice"), await come("bob"), await come("carol")
    invited = f'<ci:users><ci:user entity="{BOB}"><ci:roles><ci:entry>presenter</ci:entry></ci:roles></ci:user></ci:users>'
    focus = await alice.create("DOOR00000001", description=POLICY.format("closedAuthenticated"), rest=invited)
    assert (await carol.join(focus)).status == 403
    joined = await bob.join(focus)
    assert joined.status == 200
    assert b"presenter" in joined.body
    wrong = await bob.join(focus, user=CAROL)
    assert (wrong.status, (wrong.get("ms-diagnostics") or "")[:4]) == (403, "3002")
    unknown = await bob.join(focus.replace("DOOR", "ROOD"))
    assert (unknown.status, (unknown.get("ms-diagnostics") or "")[:4]) == (404, "3012")
    assert (await carol.watch(focus)).status == 403
    chat = await carol.chat(focus)
    assert (chat.status, (chat.get("ms-diagnostics") or "")[:4]) == (403, "3014")


async def test_who_does_not_get_a_message_is_reported_to_its_sender(come: Come) -> None:
    alice, bob, carol = await come("alice"), await come("bob"), await come("carol")
    focus = await alice.create("LOST00000001")
    for one in (alice, bob, carol):
        assert (await one.join(focus)).status == 200
        assert (await one.chat(focus)).status == 200
    bob.answers["MESSAGE"] = 0
    carol.answers["MESSAGE"] = 488
    sent = await alice.say("hello?")
    assert sent.status == 202

    def reports() -> list[bytes]:
        return [one.body for one in alice.asked if (one.get("Content-Type") or "") == "application/ms-imdn+xml"]

    await alice.until("the report", reports)
    root = parse_xml(reports()[0])
    assert text_of(child(root, "message-id")) == sent.get("Message-Id")
    assert sorted(text_of(child(one, "status")) for one in children(root, "recipient")) == ["408", "488"]
    carol.answers["MESSAGE"] = 200
    assert (await alice.say("again")).status == 202
    await carol.until("the next message", lambda: carol.heard()[-1] == (f"<{ALICE}>", "again"))
    assert (await alice.say("x" * 2_001)).status == 413
    picture = alice.within(alice.chat_dialog, "MESSAGE", (("Content-Type", "image/gif"),), b"GIF")
    assert (await alice.tell(picture)).status == 415
    typing = b'<KeyboardActivity><status status="type"/></KeyboardActivity>'
    info = alice.within(alice.chat_dialog, "INFO", (("Content-Type", "application/xml"),), typing)
    assert (await alice.tell(info)).status == 200
    await carol.until("typing", lambda: any(one.method == "INFO" and one.body == typing for one in carol.asked))


async def test_two_clients_of_one_user_are_one_participant(come: Come) -> None:
    alice, bob = await come("alice"), await come("bob", epid="bbbbbbbbbbb1")
    other = await come("bob", epid="bbbbbbbbbbb2")
    focus = await alice.create("TWIN00000001")
    for one in (alice, bob, other):
        assert (await one.join(focus)).status == 200
        assert (await one.chat(focus)).status == 200
    first = (await alice.watch(focus)).body
    assert first.count(b"<user ") == 2
    assert (await bob.say("from one")).status == 202
    await other.until("the message", lambda: other.heard() == [(f"<{BOB}>", "from one")])
    assert bob.heard() == []
    assert (await bob.tell(bob.within(bob.focus_dialog, "BYE"))).status == 200
    assert (await alice.say("still there?")).status == 202
    await other.until("the message", lambda: len(other.heard()) == 2)


async def test_a_phone_watches_by_the_standard(server: ParleyServer, come: Come) -> None:
    """A subscriber without Microsoft's extensions must be a participant, and is told why it cannot watch."""
    alice = await come("alice")
    focus = await alice.create("PHONE0000001")
    async with AsyncExitStack():
        phone = await SipClient("carol").connect(server.ports["udp"])
        assert (await phone.register()).status == 200
        subscribe = phone.request("SUBSCRIBE", focus, headers=[("Event", "conference"), ("Expires", "600")])
        assert (await phone.ask(subscribe)).status == 403
        wrong = phone.request("SUBSCRIBE", focus, headers=[("Event", "presence")])
        answer = await phone.ask(wrong)
        assert (answer.status, answer.get("Allow-Events")) == (489, "conference")
        invite = phone.request("INVITE", focus, headers=[("Content-Type", "application/sdp")], body=b"v=0\r\n")
        assert (await phone.ask(invite)).status == 415
        phone.close()
