"""The standard event packages, on Parley as users start it: subscriptions, dialogs, watchers, waiting messages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from parley.presence.standard.dialog_info import Dialog, DialogInfo, parse_dialog_info
from parley.presence.standard.message_summary import Counts, parse_message_summary
from parley.presence.standard.pidf import parse_pidf
from parley.presence.standard.watcherinfo import Watcher, WatcherInfo, parse_watcherinfo
from parley.sip.message import Request, Response
from tests.integration.test_bad_input import metric
from tests.integration.test_presence import publication, publish, signed_in, subscribe_batch
from tests.support.ocs_client import OcsClient
from tests.support.parley_server import ParleyServer, quiet_limits
from tests.support.sip_client import DOMAIN, SipClient
from tests.support.subscriber import Subscriber, Subscription
from tests.support.waiting import eventually

pytestmark = pytest.mark.valkey

USERS = ("dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "mallory", "nina", "oscar")
SDP = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    presence = {"notify_interval": 0.1, "max_subscriptions": 12, "min_subscription_seconds": 1}
    running = ParleyServer(
        tmp_path_factory.mktemp("packages"),
        config={"frontend": {"limits": quiet_limits()}, "presence": presence},
    )
    try:
        asyncio.run(running.start())
        asyncio.run(running.create_users(USERS))
        yield running
    finally:
        asyncio.run(running.stop())


async def phone(server: ParleyServer, user: str, *, register: bool = False, alone: bool = True) -> Subscriber:
    """A phone of a user; ``alone``: the only one that is registered."""
    made = await Subscriber(user).connect(server.ports["udp"])
    if register:
        if alone:
            assert (await made.register(contact="*", expires=0)).status == 200
        assert (await made.register()).status == 200
    return made


def state_of(notify: Request) -> str:
    """The first word of Subscription-State."""
    return (notify.get("Subscription-State") or "").partition(";")[0]


async def member(client: OcsClient, container: int, version: int, who: str, action: str = "add") -> None:
    """Puts somebody in a container, or takes somebody out; ``who`` is "user:NAME", or a type without a value."""
    kind, _, name = who.partition(":")
    value = f' value="{name}@{DOMAIN}"' if name else ""
    body = (
        '<setContainerMembers xmlns="http://schemas.microsoft.com/2006/09/sip/container-management">'
        f'<container id="{container}" version="{version}"><member action="{action}" type="{kind}"{value}/></container>'
        "</setContainerMembers>"
    )
    headers = [("Content-Type", "application/msrtc-setcontainermembers+xml")]
    request = client.ocs_request("SERVICE", f"sip:{client.user}@{DOMAIN}", headers=headers, body=body.encode())
    assert (await client.ask_signed(request)).status == 200


# Subscriptions


async def test_a_fetch_is_one_notify_that_ends_it(server: ParleyServer) -> None:
    alice = await phone(server, "alice")
    fetched = await alice.subscribe("presence;id=7", "bob", expires=0)
    assert (fetched.answer.status, fetched.answer.get("Expires")) == (200, "0")
    notify = await fetched.notify()
    assert (state_of(notify), notify.get("Event")) == ("terminated", "presence;id=7")
    assert parse_pidf(notify.body).tuples[0].basic == "closed"
    again = await fetched.refresh()
    assert again.status == 481


async def test_the_end_is_told_with_a_number_that_goes_on(server: ParleyServer) -> None:
    alice = await phone(server, "alice")
    kept = await alice.subscribe("presence", "bob")
    assert state_of(await kept.notify()) == "active"
    assert (await kept.refresh()).status == 200
    assert state_of(await kept.notify()) == "active"
    assert (await kept.refresh(expires=0)).status == 200
    assert state_of(await kept.notify()) == "terminated"
    assert kept.numbers == [1, 2, 3]
    assert (await kept.refresh()).status == 481


async def test_a_client_that_wants_no_more_is_not_told_again(server: ParleyServer) -> None:
    alice = await phone(server, "alice")
    bob = await phone(server, "bob", register=True)
    kept = await alice.subscribe("presence", "bob")
    alice.answers = 481
    await kept.notify()
    assert (await bob.register(contact="*", expires=0)).status == 200
    other = await alice.subscribe("presence", "bob")
    alice.answers = 200
    await other.notify()
    assert kept.told.empty()


async def test_unknown_packages_are_named(server: ParleyServer) -> None:
    alice = await phone(server, "alice")
    refused = await alice.subscribe("presence.wpending")
    assert refused.answer.status == 489
    known = {name.strip() for name in (refused.answer.get("Allow-Events") or "").split(",")}
    assert {"dialog", "presence", "presence.winfo", "message-summary"} <= known


async def test_a_user_has_only_so_many_subscriptions(server: ParleyServer) -> None:
    mallory = await phone(server, "mallory")
    statuses = [(await mallory.subscribe("message-summary")).answer.status for _ in range(30)]
    assert statuses[:12] == [200] * 12
    assert 403 in statuses


async def test_what_nobody_refreshes_ends(server: ParleyServer) -> None:
    alice, bob = await phone(server, "alice"), await phone(server, "bob")
    watchers = await bob.subscribe("presence.winfo")
    await watchers.notify()
    short = await alice.subscribe("presence", "bob", expires=1)
    assert short.answer.get("Expires") == "1"
    await short.notify()
    last = await short.notify()
    assert last.get("Subscription-State") == "terminated;reason=timeout"
    gone = await told_of(watchers, "alice", "terminated")
    assert gone.event == "timeout"
    assert (await short.refresh()).status == 481


async def test_communicator_whose_connection_is_gone_is_noticed_by_the_first_notification(server: ParleyServer) -> None:
    nina, oscar = await signed_in(server, "nina", epid="898989898989"), await phone(server, "oscar")
    assert (await nina.ask_signed(subscribe_batch(nina, "oscar"))).status == 200
    unreachable = 'parley_presence_notifications_total{event="presence",outcome="unreachable"}'
    before = await metric(server, unreachable)
    watchers = await oscar.subscribe("presence.winfo")
    assert row(watchers_of(await watchers.notify()), "nina") is not None
    await nina.abort()
    assert (await oscar.register()).status == 200

    async def noticed() -> bool:
        return await metric(server, unreachable) == before + 1

    await eventually(noticed, what="a notification that reaches nobody")
    assert (await told_of(watchers, "nina", "terminated")).event == "timeout"
    assert (await oscar.register(contact="*", expires=0)).status == 200


# Waiting messages


async def test_no_message_waits_and_nobody_else_is_told(server: ParleyServer) -> None:
    alice = await phone(server, "alice")
    kept = await alice.subscribe("message-summary", headers=[("Accept", "application/simple-message-summary")])
    assert kept.answer.status == 200
    notify = await kept.notify()
    assert notify.get("Content-Type") == "application/simple-message-summary"
    summary = parse_message_summary(notify.body)
    assert (summary.waiting, summary.counts) == (False, (Counts("voice-message", 0, 0),))
    assert (await alice.subscribe("message-summary", "bob")).answer.status == 403
    assert (await alice.subscribe("message-summary", headers=[("Accept", "text/plain")])).answer.status == 406
    assert (await kept.refresh(expires=0)).status == 200
    assert state_of(await kept.notify()) == "terminated"


# Dialogs


def dialogs_of(notify: Request) -> DialogInfo:
    """The document of a NOTIFY."""
    assert notify.get("Content-Type") == "application/dialog-info+xml"
    return parse_dialog_info(notify.body)


async def lamp(subscription: Subscription, state: str, call: Dialog | None = None) -> Dialog:
    """The dialog, once it is told to be in a state, of a call that is known or of any; versions rise one by one."""

    def of(notify: Request) -> list[Dialog]:
        info = dialogs_of(notify)
        assert info.version == notify.cseq.number - 1
        assert info.state == "full"
        return [dialog for dialog in info.dialogs if dialog.state == state and (call is None or dialog.id == call.id)]

    return of(await subscription.notify(lambda notify: bool(of(notify))))[0]


async def rings(caller: SipClient, callee: SipClient) -> tuple[Request, Request]:
    """The INVITE of a call as the caller sent it and as it rings at the callee."""
    invite = await caller.invite(f"sip:{callee.user}@{DOMAIN}")
    ringing = await callee.expect("INVITE")
    callee.answer(ringing, 180)
    return invite, ringing


async def answered(caller: SipClient, invite: Request) -> Response:
    """The answer, acknowledged."""
    answer = await caller.response()
    assert answer.status == 200
    caller.send(bytes(caller.in_dialog("ACK", invite, answer)))
    return answer


async def test_lamps_of_caller_and_callee_follow_a_call(server: ParleyServer) -> None:
    dave, erin = await phone(server, "dave"), await phone(server, "erin", register=True)
    watcher = await phone(server, "frank")
    of_dave, of_erin = await watcher.subscribe("dialog", "dave"), await watcher.subscribe("dialog", "erin")
    for kept, user in ((of_dave, "dave"), (of_erin, "erin")):
        first = dialogs_of(await kept.notify())
        assert (first.entity, first.version, first.dialogs) == (f"sip:{user}@{DOMAIN}", 0, ())
    invite, ringing = await rings(dave, erin)
    outgoing = await lamp(of_dave, "early")
    assert outgoing.direction == "initiator"
    early = await lamp(of_erin, "early")
    assert early.direction == "recipient"
    late = dialogs_of(await (await watcher.subscribe("dialog", "erin")).notify())
    assert [dialog.id for dialog in late.dialogs] == [early.id]
    erin.answer(ringing, 200)
    answer = await answered(dave, invite)
    await lamp(of_dave, "confirmed", outgoing)
    confirmed = await lamp(of_erin, "confirmed", early)
    # A colleague sees that there is a call, not with whom.
    assert (confirmed.remote, confirmed.call_id) == (None, "")
    await dave.hang_up(erin, invite, answer)
    assert (await lamp(of_dave, "terminated", outgoing)).ended == "local-bye"
    assert (await lamp(of_erin, "terminated", early)).ended == "remote-bye"
    assert (await of_erin.refresh()).status == 200
    assert dialogs_of(await of_erin.notify()).dialogs == ()


async def test_the_user_and_the_team_see_with_whom(server: ParleyServer) -> None:
    dave, erin = await phone(server, "dave"), await phone(server, "erin", register=True)
    own = await dave.subscribe("dialog")
    await own.notify()
    invite, ringing = await rings(dave, erin)
    shown = await lamp(own, "early")
    assert shown.remote is not None
    assert (shown.remote.identity, shown.call_id) == (f"sip:erin@{DOMAIN}", invite.call_id)
    assert (shown.local_tag, shown.remote_tag) == (invite.from_tag, "t")
    only = await dave.subscribe(f"dialog;call-id={invite.call_id}")
    assert [dialog.call_id for dialog in dialogs_of(await only.notify()).dialogs] == [invite.call_id]
    other = await dave.subscribe("dialog;call-id=another")
    assert dialogs_of(await other.notify()).dialogs == ()
    erin.answer(ringing, 486)
    refused = await dave.response()
    dave.acknowledge(invite, refused)
    gone = await lamp(own, "terminated", shown)
    assert (gone.ended, gone.code) == ("rejected", 486)


async def test_a_call_that_forks_is_one_lamp(server: ParleyServer) -> None:
    ivan = await phone(server, "ivan")
    desk, hall = await phone(server, "judy", register=True), await phone(server, "judy", register=True, alone=False)
    lamps = await (await phone(server, "frank")).subscribe("dialog", "judy")
    await lamps.notify()
    invite = await ivan.invite(f"sip:judy@{DOMAIN}")
    at_desk, at_hall = await desk.expect("INVITE"), await hall.expect("INVITE")
    desk.answer(at_desk, 180, to_tag="desk")
    hall.answer(at_hall, 180, to_tag="hall")
    early = await lamp(lamps, "early")
    hall.answer(at_hall, 200, to_tag="hall")
    desk.answer(await desk.expect("CANCEL"), 200, to_tag="desk")
    desk.answer(at_desk, 487, to_tag="desk")
    answer = await answered(ivan, invite)
    await lamp(lamps, "confirmed", early)
    await ivan.hang_up(hall, invite, answer)
    assert (await lamp(lamps, "terminated", early)).ended == "remote-bye"


async def test_a_call_that_is_cancelled(server: ParleyServer) -> None:
    ivan, judy = await phone(server, "ivan"), await phone(server, "judy", register=True)
    lamps = await (await phone(server, "frank")).subscribe("dialog", "judy")
    await lamps.notify()
    invite, ringing = await rings(ivan, judy)
    early = await lamp(lamps, "early")
    cancel = Request.create(
        "CANCEL", invite.uri_text,
        headers=[("Via", str(invite.via)), ("Max-Forwards", "70"), ("From", invite.get("From") or ""),
                 ("To", invite.get("To") or ""), ("Call-ID", invite.call_id), ("CSeq", f"{invite.cseq.number} CANCEL")],
    )  # fmt: skip
    ivan.send(bytes(cancel))
    judy.answer(await judy.expect("CANCEL"), 200)
    judy.answer(ringing, 487)
    assert (await lamp(lamps, "terminated", early)).ended == "cancelled"


async def test_a_call_to_nobody(server: ParleyServer) -> None:
    oscar = await phone(server, "oscar")
    own = await oscar.subscribe("dialog")
    await own.notify()
    invite = await oscar.invite(f"sip:mallory@{DOMAIN}")
    refused = await oscar.response()
    assert refused.status == 480
    oscar.acknowledge(invite, refused)
    ended = await lamp(own, "terminated")
    assert (ended.ended, ended.code, ended.direction) == ("rejected", 480, "initiator")


async def test_calls_of_communicator_are_shown_and_messages_are_no_calls(server: ParleyServer) -> None:
    nina = await signed_in(server, "nina", epid="454545454545")
    grace = await phone(server, "grace", register=True)
    lamps = await (await phone(server, "frank")).subscribe("dialog", "nina")
    await lamps.notify()

    for media in ("m=message 5060 sip null", "m=audio 4000 RTP/AVP 0"):
        body = SDP.replace(b"m=audio 4000 RTP/AVP 0", media.encode())
        headers = [("Contact", f"<{nina.contact}>"), ("Content-Type", "application/sdp")]
        nina.send(bytes(nina.sign(nina.ocs_request("INVITE", f"sip:grace@{DOMAIN}", headers=headers, body=body))))
    voice = await grace.expect("INVITE")
    grace.answer(voice, 180)
    told = dialogs_of(await lamps.notify(lambda notify: any(d.state == "early" for d in dialogs_of(notify).dialogs)))
    assert [(dialog.state, dialog.direction) for dialog in told.dialogs] == [("early", "initiator")]
    grace.answer(voice, 603)
    assert (await lamp(lamps, "terminated")).ended == "rejected"
    await nina.abort()


async def test_who_may_see_calls(server: ParleyServer) -> None:
    heidi = await signed_in(server, "heidi", epid="565656565656")
    grace, frank = await phone(server, "grace", register=True), await phone(server, "frank")
    await member(heidi, 100, 1, "user:frank")
    assert (await frank.subscribe("dialog", "heidi")).answer.status == 403
    await member(heidi, 100, 2, "user:frank", "remove")
    await member(heidi, 300, 0, "user:frank")
    lamps = await frank.subscribe("dialog", "heidi")
    assert dialogs_of(await lamps.notify()).dialogs == ()
    headers = [("Contact", f"<{heidi.contact}>"), ("Content-Type", "application/sdp")]
    invite = heidi.ocs_request("INVITE", f"sip:grace@{DOMAIN}", headers=headers, body=SDP)
    heidi.send(bytes(heidi.sign(invite)))
    ringing = await grace.expect("INVITE")
    grace.answer(ringing, 180)
    shown = await lamp(lamps, "early")
    assert shown.remote is not None
    assert shown.remote.identity == f"sip:grace@{DOMAIN}"
    # Who is blocked sees somebody who never calls.
    await member(heidi, 32000, 0, "user:frank")
    assert dialogs_of(await lamps.notify(lambda notify: not dialogs_of(notify).dialogs)).dialogs == ()
    assert (await lamps.refresh()).status == 200
    assert dialogs_of(await lamps.notify()).dialogs == ()
    grace.answer(ringing, 486)
    await member(heidi, 32000, 1, "user:frank", "remove")
    await member(heidi, 300, 1, "user:frank", "remove")
    await heidi.abort()


# Watchers


def watchers_of(notify: Request) -> WatcherInfo:
    """The document of a NOTIFY; it is of the version that its number says."""
    assert notify.get("Content-Type") == "application/watcherinfo+xml"
    info = parse_watcherinfo(notify.body)
    assert info.version == notify.cseq.number - 1
    return info


def row(info: WatcherInfo, user: str) -> Watcher | None:
    """What is said of a watcher."""
    return next((w for found in info.lists for w in found.watchers if w.uri == f"sip:{user}@{DOMAIN}"), None)


async def told_of(subscription: Subscription, user: str, status: str) -> Watcher:
    """What is said of a watcher, once it has a status."""

    def says(notify: Request) -> bool:
        found = row(watchers_of(notify), user)
        return found is not None and found.status == status

    found = row(watchers_of(await subscription.notify(says)), user)
    assert found is not None
    return found


async def test_watchers_of_all_kinds_come_and_go(server: ParleyServer) -> None:
    ivan = await phone(server, "ivan")
    before = await (await phone(server, "frank")).subscribe("presence", "ivan")
    await before.notify()
    kept = await ivan.subscribe("presence.winfo")
    assert kept.answer.status == 200
    first = watchers_of(await kept.notify())
    assert (first.state, first.lists[0].resource, first.lists[0].package) == ("full", f"sip:ivan@{DOMAIN}", "presence")
    known = row(first, "frank")
    assert known is not None
    assert (known.status, known.display_name) == ("active", "frank")
    assert known.expiration is not None
    assert known.expiration > 500

    standard = await (await phone(server, "erin")).subscribe("presence", "ivan")
    partial = watchers_of(await kept.notify(lambda notify: row(watchers_of(notify), "erin") is not None))
    assert (partial.state, row(partial, "frank")) == ("partial", None)
    communicator = await signed_in(server, "heidi", epid="676767676767")
    assert (await communicator.ask_signed(subscribe_batch(communicator, "ivan", "grace"))).status == 200
    came = await told_of(kept, "heidi", "active")
    assert came.event == "subscribe"
    assert (await standard.refresh(expires=0)).status == 200
    left = await told_of(kept, "erin", "terminated")
    assert (left.event, left.display_name) == ("timeout", "erin")
    assert (await kept.refresh()).status == 200
    again = watchers_of(await kept.notify())
    assert again.state == "full"
    assert row(again, "erin") is None
    found = row(again, "heidi")
    assert found is not None
    assert found.id == came.id
    assert (await (await phone(server, "erin")).subscribe("presence.winfo", "ivan")).answer.status == 403
    await communicator.abort()


async def test_who_is_in_no_container_waits(server: ParleyServer) -> None:
    grace = await signed_in(server, "grace", epid="787878787878")
    assert (await grace.ask_signed(publish(grace, publication("machineState", 3500)))).status == 200
    mine = await phone(server, "grace")
    await member(grace, 200, 1, "sameEnterprise", "remove")
    dave = await phone(server, "dave")
    waits = await dave.subscribe("presence", "grace")
    assert waits.answer.status == 200
    notify = await waits.notify()
    assert (state_of(notify), parse_pidf(notify.body).tuples[0].basic) == ("pending", "closed")
    assert state_of(await (await dave.subscribe("dialog", "grace")).notify()) == "pending"
    kept = await mine.subscribe("presence.winfo")
    known = row(watchers_of(await kept.notify()), "dave")
    assert known is not None
    assert known.status == "pending"
    await member(grace, 200, 2, "user:dave")
    assert (await told_of(kept, "dave", "active")).event == "approved"
    seen = await waits.notify(lambda notify: state_of(notify) == "active")
    assert parse_pidf(seen.body).tuples[0].basic == "open"
    await member(grace, 200, 3, "user:dave", "remove")
    assert (await told_of(kept, "dave", "pending")).event == "subscribe"
    await waits.notify(lambda notify: state_of(notify) == "pending")
    await grace.abort()
