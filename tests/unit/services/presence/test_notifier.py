"""Notifications: one of a subscription at a time, the newest state under the highest number, the rest gathered meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import pytest
from grpc import StatusCode

from parley.platform.applications.edges import EdgeSender, FlowGone
from parley.platform.applications.registrations import Registrations
from parley.platform.clock import FakeClock
from parley.platform.rpc.errors import RpcError
from parley.platform.store.errors import StoreUnavailable
from parley.platform.telemetry.tracing import NO_TRACER
from parley.proto.presence.v1 import state_pb2 as pb
from parley.proto.sip.v1.message_pb2 import Flow
from parley.sip.message import Request, Response, make_response
from services.presence.documents import Documents, Made, Pending
from services.presence.lists import ROOM
from services.presence.notifier import Notifier
from services.presence.packages import WATCHERS
from services.presence.repository import PresenceRepository
from services.presence.views import Changes, Document

BOB = "sip:bob@example.test"


class Repository(PresenceRepository):
    """Numbers in memory."""

    def __init__(self) -> None:
        self.numbers = {"s": 0}
        self.ended: list[str] = []
        self.moved: list[Flow] = []
        self.fails = 0

    async def next_number(self, subscription: pb.Subscription) -> int:
        if self.fails:
            self.fails -= 1
            raise StoreUnavailable("away")
        if subscription.id not in self.numbers:
            return 0
        self.numbers[subscription.id] += 1
        return self.numbers[subscription.id]

    async def end(self, subscription: pb.Subscription, event: str = "timeout", traceparent: str = "") -> bool:
        self.ended.append(event)
        return self.numbers.pop(subscription.id, None) is not None

    async def forget(self, subscription: pb.Subscription, targets: Iterable[str]) -> None:
        self.ended.append("forgotten")

    async def move(self, subscription: pb.Subscription, flow: Flow) -> bool:
        subscription.flow.CopyFrom(flow)
        self.moved.append(flow)
        return True


class Maker(Documents):
    """Documents that say the state of a moment and what was asked for."""

    def __init__(self) -> None:
        self.state = 0
        self.fails = 0
        self.rest: dict[str, Changes] = {}
        self.asked: list[Pending] = []

    async def make(self, subscription: pb.Subscription, pending: Pending, version: int, *, room: float = ROOM) -> Made:
        self.asked.append(pending)
        if self.fails:
            self.fails -= 1
            raise StoreUnavailable("away")
        rest, self.rest = self.rest, {}
        kind = "full" if pending.full else ",".join(sorted(pending.changes))
        return Made(Document("text/plain", f"{version} {self.state} {kind}".encode()), rest)


class Edge(EdgeSender):
    """Keeps what is sent, and answers when the test says so."""

    def __init__(self) -> None:
        self.sent: list[Request] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.status = 200
        self.silent: Flow | None = None
        self.broken = 0
        self.gone = 0
        self.away = 0

    async def request(
        self, request: Request, flow: Flow | None, *, traceparent: str = "", timeout_s: float = 32.0
    ) -> Response:
        if self.broken:
            self.broken -= 1
            raise ValueError("nobody thought of that")
        if self.gone:
            self.gone -= 1
            raise FlowGone
        if self.away:
            self.away -= 1
            raise RpcError(StatusCode.UNAVAILABLE, "the front end is away")
        self.sent.append(request)
        await self.answers.wait()
        return make_response(request, 408 if self.silent is not None and flow == self.silent else self.status)


class Finder(Registrations):
    """Where the client is now."""

    def __init__(self) -> None:
        self.flow: Flow | None = None
        self.between = 0

    async def find(self, *args: object, **kwargs: object) -> Flow | None:
        if self.between:
            self.between -= 1
            raise RpcError(StatusCode.UNAVAILABLE, "the client is between two connections")
        return self.flow


class Rig:
    """A notifier and what is around it."""

    def __init__(self, interval_s: float = 0.0, again_s: float = 0.0, stop_s: float = 0.0) -> None:
        self.repository, self.documents, self.edge, self.finder = Repository(), Maker(), Edge(), Finder()
        self.notifier = Notifier(
            self.repository, self.edge, self.documents, self.finder, FakeClock(), NO_TRACER,
            interval_s=interval_s, again_s=again_s, stop_s=stop_s,
        )  # fmt: skip
        self.subscription = pb.Subscription(
            id="s", watcher="sip:alice@example.test", event="dialog", event_id="7", target=BOB, call_id="c",
            local_party="<sip:bob@example.test>;tag=l", remote_party="<sip:alice@example.test>;tag=r",
            remote_target="sip:alice@192.0.2.1", expires_at_ms=60_000,
        )  # fmt: skip

    def tell(self, user: str = BOB) -> None:
        self.notifier.tell(self.subscription, Pending({user: Changes(calls=True)}))

    async def settle(self) -> list[str]:
        """What was sent once nothing moves any more."""
        for _ in range(30):
            await asyncio.sleep(0)
        return [request.body.decode() for request in self.edge.sent]


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    yield made
    await made.notifier.stop()


async def test_a_notification_is_in_its_dialog(rig: Rig) -> None:
    rig.notifier.begin(rig.subscription)
    assert await rig.settle() == ["0 0 full"]
    (notify,) = rig.edge.sent
    assert (notify.cseq.number, notify.get("Event"), notify.call_id) == (1, "dialog;id=7", "c")
    assert (notify.get("Subscription-State") or "").startswith("active;expires=")
    assert notify.get("Contact") == f"<{BOB};opaque=app:presence>"


async def test_what_comes_while_one_is_on_its_way_is_told_after_it_and_at_once(rig: Rig) -> None:
    rig.edge.answers.clear()
    rig.tell()
    await rig.settle()
    rig.documents.state = 1
    rig.tell()
    rig.tell("sip:carol@example.test")
    rig.documents.state = 2
    assert await rig.settle() == [f"0 0 {BOB}"]
    rig.edge.answers.set()
    assert await rig.settle() == [f"0 0 {BOB}", f"1 2 {BOB},sip:carol@example.test"]


async def test_documents_that_are_made_already_go_one_after_the_other(rig: Rig) -> None:
    rig.edge.answers.clear()
    for number in range(3):
        rig.notifier.send(rig.subscription, Document("text/plain", str(number).encode()))
    assert await rig.settle() == ["0"]
    rig.edge.answers.set()
    assert await rig.settle() == ["0", "1", "2"]
    assert [request.cseq.number for request in rig.edge.sent] == [1, 2, 3]
    rig.notifier.send(rig.subscription, Document("text/plain", b"3"))
    assert await rig.settle() == ["0", "1", "2", "3"]


async def test_a_refresh_is_answered_at_once_and_takes_in_what_waits(rig: Rig) -> None:
    rig.edge.answers.clear()
    rig.tell()
    await rig.settle()
    rig.tell()
    rig.notifier.begin(rig.subscription)
    assert await rig.settle() == [f"0 0 {BOB}", "1 0 full"]
    rig.edge.answers.set()
    assert len(await rig.settle()) == 2


async def test_within_the_interval_changes_are_gathered() -> None:
    rig = Rig(interval_s=0.05)
    rig.tell()
    await rig.settle()
    for rig.documents.state in range(1, 5):
        rig.tell()
        await asyncio.sleep(0)
    assert len(await rig.settle()) == 1
    await asyncio.sleep(0.06)
    assert await rig.settle() == [f"0 0 {BOB}", f"1 4 {BOB}"]
    await rig.notifier.stop()


async def test_what_cannot_be_made_now_is_told_later_under_a_later_number(rig: Rig) -> None:
    rig.documents.fails = 2
    rig.tell()
    assert await rig.settle() == [f"2 0 {BOB}"]
    assert [one.tries for one in rig.documents.asked] == [2, 2, 2]  # they are the same
    assert rig.documents.asked[0] is rig.documents.asked[2]


async def test_what_can_never_be_made_is_given_up(rig: Rig) -> None:
    rig.documents.fails = 1_000
    rig.tell()
    for _ in range(100):
        await rig.settle()
    assert rig.documents.fails == 700


async def test_what_cannot_be_made_now_is_tried_again_after_a_pause() -> None:
    rig = Rig(again_s=60.0)
    rig.documents.fails = 2
    rig.tell()
    await rig.settle()
    assert rig.documents.fails == 1
    await rig.notifier.stop()


async def test_tries_and_the_time_of_the_first_change_outlast_what_is_added(rig: Rig) -> None:
    rig.notifier.tell(rig.subscription, Pending(since=5.0))
    rig.notifier.tell(rig.subscription, Pending(since=3.0, tries=7))
    rig.notifier.tell(rig.subscription, Pending(since=4.0, tries=2))
    rig.notifier.tell(rig.subscription, Pending())
    await rig.settle()
    assert [(one.since, one.tries) for one in rig.documents.asked] == [(3.0, 7)]


@pytest.mark.parametrize(("event", "told"), [(WATCHERS, "1 0 full"), ("dialog", f"1 0 {BOB}")])
async def test_after_a_version_that_is_missing_watchers_are_told_in_full(rig: Rig, event: str, told: str) -> None:
    rig.subscription.event = event
    rig.edge.away = 1
    rig.tell()
    assert await rig.settle() == [told]


async def test_a_document_that_breaks_something_holds_up_no_other(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.edge.broken = 1
    for number in range(3):
        rig.notifier.send(rig.subscription, Document("text/plain", str(number).encode()))
    assert await rig.settle() == ["1", "2"]
    assert "is left out" in caplog.text


async def test_what_a_front_end_that_is_away_does_not_take_is_told_when_it_is_back(rig: Rig) -> None:
    rig.edge.away = 2
    rig.notifier.begin(rig.subscription)
    await asyncio.sleep(0)
    rig.documents.state = 1
    rig.tell()
    assert await rig.settle() == ["2 1 full"]
    assert rig.repository.ended == []


async def test_what_no_front_end_ever_takes_is_given_up(rig: Rig) -> None:
    rig.edge.away = 1_000
    rig.tell()
    for _ in range(100):
        await rig.settle()
    assert rig.edge.away == 700
    rig.edge.away = 0
    rig.tell("sip:carol@example.test")
    assert await rig.settle() == ["300 0 sip:carol@example.test"]


async def test_a_number_that_cannot_be_had_now_is_asked_for_again(rig: Rig) -> None:
    rig.repository.fails = 1
    rig.tell()
    assert await rig.settle() == [f"0 0 {BOB}"]


async def test_documents_that_are_made_already_wait_in_their_turn_for_a_front_end(rig: Rig) -> None:
    rig.edge.away = 3
    for number in range(2):
        rig.notifier.send(rig.subscription, Document("text/plain", str(number).encode()))
    assert await rig.settle() == ["0", "1"]


async def test_what_had_no_room_follows(rig: Rig) -> None:
    rig.documents.rest = {"sip:late@example.test": Changes({"state"})}
    rig.notifier.begin(rig.subscription)
    assert await rig.settle() == ["0 0 full", "1 0 sip:late@example.test"]


@pytest.mark.parametrize(("status", "ended"), [(200, []), (500, []), (408, []), (481, ["timeout"]), (489, ["timeout"])])
async def test_answers_that_end_a_subscription(rig: Rig, status: int, ended: list[str]) -> None:
    rig.edge.status = status
    rig.tell()
    await rig.settle()
    assert rig.repository.ended == ended


async def test_a_client_is_followed_to_its_new_connection_or_given_up(rig: Rig) -> None:
    rig.edge.gone, rig.finder.flow = 1, Flow(edge_uid="e", connection_id=2)
    rig.tell()
    assert len(await rig.settle()) == 1
    assert rig.repository.moved == [rig.finder.flow]
    rig.edge.gone, rig.finder.flow = 1, None
    rig.tell()
    assert len(await rig.settle()) == 1
    assert rig.repository.ended == ["timeout"]
    rig.tell()
    await rig.settle()
    assert rig.repository.ended == ["timeout", "forgotten"]


async def test_a_client_between_two_connections_keeps_its_subscription(rig: Rig) -> None:
    rig.edge.gone, rig.finder.between = 3, 2
    rig.finder.flow = Flow(edge_uid="e", connection_id=2)
    rig.tell()
    assert await rig.settle() == [f"2 0 {BOB}"]
    assert (rig.repository.moved, rig.repository.ended) == ([rig.finder.flow], [])


async def test_a_client_whose_next_connection_is_gone_too_is_told_later(rig: Rig) -> None:
    rig.edge.gone, rig.finder.flow = 2, Flow(edge_uid="e", connection_id=2)
    rig.tell()
    assert await rig.settle() == [f"1 0 {BOB}"]
    assert rig.repository.ended == []


async def test_a_client_that_does_not_answer_is_looked_for_once(rig: Rig) -> None:
    rig.edge.silent = Flow()
    rig.finder.flow = Flow(edge_uid="e", connection_id=2)
    rig.tell()
    assert await rig.settle() == [f"0 0 {BOB}"] * 2
    assert rig.repository.moved == [rig.finder.flow]
    rig.edge.silent = rig.finder.flow
    rig.finder.flow = None
    rig.tell()
    assert len(await rig.settle()) == 3
    rig.finder.between = 1  # its binding is the one of the connection that does not answer
    rig.tell()
    assert len(await rig.settle()) == 4
    rig.finder.flow = rig.edge.silent
    rig.tell()
    assert len(await rig.settle()) == 6
    assert rig.repository.ended == []


async def test_what_waits_is_told_before_the_end() -> None:
    rig = Rig(interval_s=60.0, stop_s=60.0)
    rig.tell()
    await rig.settle()
    rig.edge.answers.clear()
    other = pb.Subscription()
    other.CopyFrom(rig.subscription)
    other.id = "other"
    rig.repository.numbers["other"] = 0
    rig.notifier.tell(other, Pending({BOB: Changes(calls=True)}))
    await rig.settle()
    rig.notifier.tell(other, Pending({BOB: Changes({"note"})}))  # behind the one that is not answered
    rig.tell("sip:carol@example.test")  # within the interval
    assert len(await rig.settle()) == 2
    stopping = asyncio.ensure_future(rig.notifier.stop())
    assert len(await rig.settle()) == 3
    assert not stopping.done()
    rig.edge.answers.set()
    assert len(await rig.settle()) == 4
    assert stopping.done()


async def test_the_end_waits_for_no_answer_that_does_not_come() -> None:
    rig = Rig(stop_s=0.01)
    rig.edge.answers.clear()
    rig.tell()
    await rig.settle()
    async with asyncio.timeout(5):
        await rig.notifier.stop()


async def test_the_end_has_the_next_number_and_is_told_once(rig: Rig) -> None:
    rig.tell()
    await rig.settle()
    await rig.notifier.finish(rig.subscription, "rejected")
    await rig.notifier.finish(rig.subscription, "rejected")
    await rig.settle()
    assert [request.cseq.number for request in rig.edge.sent] == [1, 2]
    assert rig.edge.sent[-1].get("Subscription-State") == "terminated;reason=rejected"
    assert rig.repository.ended == ["rejected", "rejected"]


async def test_a_fetch_leaves_nothing(rig: Rig) -> None:
    rig.documents.rest = {"sip:late@example.test": Changes({"state"})}
    await rig.notifier.answer_fetch(rig.subscription)
    assert await rig.settle() == ["0 0 full"]
    assert rig.edge.sent[0].get("Subscription-State") == "terminated;reason=timeout"
    assert rig.repository.numbers == {"s": 0}
