"""Notifications of a conference while a front end or the store is away: they are told when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from grpc import StatusCode

from parley.conference.uris import ConferenceName
from parley.platform.applications.dialogs import DialogSender
from parley.platform.events.api import Event
from parley.platform.lifecycle import Tasks
from parley.platform.rpc.errors import RpcError
from parley.platform.store.errors import StoreUnavailable
from parley.platform.telemetry.tracing import NO_TRACER
from parley.proto.conference.v1 import state_pb2 as pb
from parley.proto.events.v1.conference_pb2 import ConferenceChanged
from parley.proto.sip.v1.dialog_pb2 import Dialog
from parley.sip.message import Request, Response, make_response
from parley.xml import parse_xml
from services.conference.notifier import Notifier
from services.conference.repository import ConferenceRepository

ALICE, BOB, CAROL = (f"sip:{name}@example.test" for name in ("alice", "bob", "carol"))
NAME = ConferenceName(ALICE, "abcdefgh")


class Repository(ConferenceRepository):
    """One conference, watched by one client, in memory."""

    def __init__(self) -> None:
        dialog = Dialog(
            aor=BOB, call_id="c", local_party=f"<{ALICE}>;tag=l", remote_party=f"<{BOB}>;tag=r",
            remote_target="sip:bob@192.0.2.1",
        )  # fmt: skip
        watcher = pb.Watcher(id="w", dialog=dialog, expires_at_ms=60_000)
        self.stored = pb.Conference(
            organizer=ALICE, id=NAME.id, watchers=[watcher], admission_policy=pb.ADMISSION_POLICY_OPEN_AUTHENTICATED
        )
        self.number = 0
        self.fails = 0

    async def conference(self, name: ConferenceName) -> pb.Conference | None:
        if self.fails:
            self.fails -= 1
            raise StoreUnavailable("away")
        return self.stored

    async def next_number(self, name: ConferenceName, watcher_id: str) -> int:
        self.number += 1
        return self.number

    def now_ms(self) -> int:
        return 0


class Sender(DialogSender):
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[Request] = []
        self.away = 0
        self.answers = asyncio.Event()
        self.answers.set()

    async def request(self, dialog: Dialog, request: Request, *, traceparent: str = "", timeout_s: float = 32.0) -> Response:
        if self.away:
            self.away -= 1
            raise RpcError(StatusCode.UNAVAILABLE, "the front end is away")
        self.sent.append(request)
        await self.answers.wait()
        return make_response(request, 200)

    async def send(self, dialog: Dialog, request: Request, *, traceparent: str = "") -> None:
        await self.request(dialog, request)


class Rig:
    """A notifier and what is around it."""

    def __init__(self, interval_s: float = 0.0, stop_s: float = 0.0) -> None:
        self.repository, self.sender, self.tasks = Repository(), Sender(), Tasks()
        self.notifier = Notifier(
            self.repository, self.sender, self.tasks, NO_TRACER, interval_s=interval_s, again_s=0.0, stop_s=stop_s
        )  # fmt: skip

    async def changed(self, user: str) -> None:
        """Somebody joined or left."""
        change = ConferenceChanged(kind=ConferenceChanged.KIND_ROSTER, organizer=ALICE, conference_id=NAME.id, users=[user])
        await self.notifier.on_conference_changed(Event("parley.conferences", NAME.key, change, "", 0))

    def state(self) -> str:
        """Whether the last document is "full" or "partial"."""
        return parse_xml(self.sender.sent[-1].body).get("state") or ""

    async def settle(self) -> list[tuple[int, set[str]]]:
        """The numbers of what was sent, and whom it is about, once nothing moves any more."""
        for _ in range(50):
            await asyncio.sleep(0)
        return [
            (
                request.cseq.number,
                {user for user in (ALICE, BOB, CAROL) if f'<user entity="{user}"' in request.body.decode()},
            )
            for request in self.sender.sent
        ]


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    yield made
    await made.tasks.stop()


async def test_what_a_front_end_does_not_take_is_told_with_the_rest_and_everything_else(rig: Rig) -> None:
    rig.repository.stored.participants.add(address=ALICE)
    rig.sender.away = 2
    await rig.changed(BOB)
    await asyncio.sleep(0)
    await rig.changed(CAROL)
    assert await rig.settle() == [(3, {ALICE})]
    assert rig.state() == "full"  # numbers 1 and 2 are missing, so changes alone would not be taken
    await rig.changed(CAROL)
    assert (await rig.settle())[1:] == [(4, {CAROL})]
    assert rig.state() == "partial"


async def test_a_store_that_is_away_for_a_moment_loses_nothing(rig: Rig) -> None:
    await rig.changed(BOB)
    rig.repository.fails = 3
    rig.repository.stored.participants.add(address=BOB)
    assert await rig.settle() == [(1, {BOB})]


async def test_the_first_notification_is_tried_until_it_is_taken_and_tells_what_is_then(rig: Rig) -> None:
    rig.sender.away = 5
    rig.notifier.begin(NAME, "w")
    await asyncio.sleep(0)
    rig.repository.stored.participants.add(address=CAROL)
    await rig.changed(CAROL)
    assert await rig.settle() == [(6, {CAROL})]
    assert rig.state() == "full"


@pytest.mark.parametrize("best_effort", [False, True])
async def test_the_first_notification_goes_out_at_once(best_effort: bool) -> None:
    rig = Rig(interval_s=60.0)
    rig.repository.stored.watchers[0].best_effort = best_effort
    await rig.changed(BOB)
    assert await rig.settle() == [(1, {BOB})]
    rig.notifier.begin(NAME, "w", "")
    await rig.settle()
    assert ([one.cseq.number for one in rig.sender.sent], rig.state()) == ([1, 2], "full")
    await rig.tasks.stop()


async def test_the_first_notification_waits_for_no_other(rig: Rig) -> None:
    rig.sender.answers.clear()
    await rig.changed(BOB)
    await rig.settle()
    rig.notifier.begin(NAME, "w")
    await rig.settle()
    assert ([one.cseq.number for one in rig.sender.sent], rig.state()) == ([1, 2], "full")
    await rig.changed(CAROL)
    rig.sender.answers.set()
    assert (await rig.settle())[2:] == [(3, {CAROL})]


async def test_what_no_front_end_ever_takes_is_given_up(rig: Rig) -> None:
    rig.sender.away = 1_000
    await rig.changed(BOB)
    for _ in range(100):
        await rig.settle()
    given_up_after = 1_000 - rig.sender.away
    rig.sender.away = 0
    await rig.changed(CAROL)
    assert (await rig.settle())[0][1] == {CAROL}
    assert 300 <= given_up_after <= 302


async def test_what_waits_is_told_before_the_end() -> None:
    rig = Rig(interval_s=60.0, stop_s=60.0)
    await rig.changed(ALICE)
    await rig.settle()
    await rig.changed(CAROL)
    rig.sender.answers.clear()
    stopping = asyncio.ensure_future(rig.notifier.stop())
    assert await rig.settle() == [(1, {ALICE}), (2, {CAROL})]
    assert not stopping.done()
    rig.sender.answers.set()
    await rig.settle()
    assert stopping.done()
    await rig.tasks.stop()


async def test_the_end_waits_for_no_answer_that_does_not_come() -> None:
    rig = Rig(stop_s=0.01)
    rig.sender.answers.clear()
    await rig.changed(ALICE)
    await rig.settle()
    async with asyncio.timeout(5):
        await rig.notifier.stop()
