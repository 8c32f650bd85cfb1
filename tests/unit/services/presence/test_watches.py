"""Watches of presence: what is told, what is gathered while nobody takes it, and how a watch ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from grpc import StatusCode

from parley.platform.events.api import Event, EventBus, Handler
from parley.platform.lifecycle import Tasks
from parley.platform.rpc.errors import RpcError
from parley.platform.store.errors import StoreUnavailable
from parley.presence.model import new_presentity
from parley.proto.events.v1.presence_pb2 import PresenceChanged
from parley.proto.presence.v1 import presence_pb2 as api
from parley.proto.presence.v1 import state_pb2 as pb
from services.presence import watches as module
from services.presence.repository import PresenceRepository
from services.presence.users import Users
from services.presence.watches import MAX_ADDRESSES, MAX_WATCHES, Session, Watches


class Bus:
    """One subscription at most, that is ready at once."""

    def __init__(self) -> None:
        self.handler: Handler | None = None
        self.subscribed = 0

    def subscribe(self, topic: str, message_type: Any, handler: Handler, *, group: str | None = None) -> Bus:
        assert (topic, group) == ("parley.presence", None)
        self.subscribed += 1
        self.handler = handler
        return self

    def hears(self) -> bool:
        return self.handler is not None

    async def ready(self) -> None:
        """At once."""

    async def stop(self) -> None:
        self.handler = None

    async def start(self) -> None:
        """Nothing to do."""

    async def check(self) -> None:
        """It is there."""

    async def publish(self, topic: str, key: str, message: Any, *, traceparent: str = "") -> None:
        assert self.handler is not None
        await self.handler(Event(topic, key, message, traceparent, 0))


class Repository(PresenceRepository):
    """States in memory."""

    def __init__(self) -> None:
        self.states: dict[str, tuple[pb.Presentity, int]] = {}
        self.reads: list[list[str]] = []
        self.failures = 0

    async def versioned(self, aors: Sequence[str]) -> list[tuple[pb.Presentity, int]]:
        self.reads.append(list(aors))
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("away")
        return [self.states.get(aor, (new_presentity(aor), 0)) for aor in aors]


class Book(Users):
    """Knows alice, bob and carol."""

    def __init__(self) -> None:
        pass

    async def find(self, text: str) -> tuple[str, str] | None:
        if text == "broken":
            raise RpcError(StatusCode.UNAVAILABLE, "the address book is away")
        name = text.removeprefix("sip:").partition("@")[0]
        return (f"sip:{name}@example.test", name.title()) if name in ("alice", "bob", "carol") else None

    async def named(self, states: Sequence[pb.Presentity]) -> list[pb.Presentity]:
        for state in states:
            state.display_name = "Named"
        return list(states)


class Rig:
    """The watches of a process, and one client."""

    def __init__(self) -> None:
        self.bus = Bus()
        self.repository = Repository()
        self.tasks = Tasks()
        bus: EventBus = self.bus
        self.watches = Watches(self.repository, Book(), bus, self.tasks)
        self.session: Session = self.watches.new_session()
        self.told: list[api.PresenceChange] = []

    def say(self, **fields: Any) -> None:
        self.session.on_item(api.PresenceWatch(**{"id": 1, **fields}), self.told.append)

    async def change(self, name: str, availability: int, *, quietly: bool = False) -> None:
        aor = f"sip:{name}@example.test"
        state, version = self.repository.states.get(aor, (new_presentity(aor), 0))
        state.availability = availability
        self.repository.states[aor] = (state, version + 1)
        if not quietly:
            await self.bus.publish("parley.presence", aor, PresenceChanged(aor=aor))

    async def settle(self) -> list[list[tuple[str, int]]]:
        """What was told since the last time: user and availability of each change."""
        for _ in range(20):
            await asyncio.sleep(0)
        told, self.told[:] = list(self.told), []
        return [[(state.address[4:].partition("@")[0], state.availability) for state in change.states] for change in told]

    async def failure(self) -> tuple[int, str]:
        for _ in range(20):
            await asyncio.sleep(0)
        status = self.told.pop().status
        return status.code, status.message


async def test_states_as_they_are_and_as_they_change() -> None:
    rig = Rig()
    await rig.change("bob", 3500, quietly=True)
    rig.say(addresses=["bob@example.test", "carol"])
    assert [sorted(change) for change in await rig.settle()] == [[("bob", 3500), ("carol", 18500)]]
    rig.say(taken=True)
    assert await rig.settle() == []
    await rig.change("bob", 6500)
    await rig.change("alice", 6500)
    assert await rig.settle() == [[("bob", 6500)]]


async def test_the_newest_state_wins_when_nothing_is_taken() -> None:
    rig = Rig()
    rig.say(addresses=["bob"])
    assert await rig.settle() == [[("bob", 18500)]]
    for availability in (3500, 6500, 15500):
        await rig.change("bob", availability)
    assert await rig.settle() == []
    rig.say(taken=True)
    assert await rig.settle() == [[("bob", 15500)]]


async def test_a_change_of_what_is_not_shown_is_not_told() -> None:
    rig = Rig()
    rig.say(addresses=["bob"])
    await rig.settle()
    rig.say(taken=True)
    await rig.change("bob", 18500)
    assert await rig.settle() == []
    assert len(rig.repository.reads) >= 2


async def test_everybody() -> None:
    rig = Rig()
    rig.say()
    assert await rig.settle() == [[]]
    rig.say(taken=True)
    await rig.change("bob", 3500)
    assert await rig.settle() == [[("bob", 3500)]]
    await rig.change("alice", 3500)
    await rig.change("carol", 3500)
    rig.say(taken=True)
    assert await rig.settle() == [[("alice", 3500), ("carol", 3500)]]


async def test_unknown_users_and_services_that_are_away_end_a_watch() -> None:
    rig = Rig()
    rig.say(addresses=["nobody"])
    assert await rig.failure() == (5, "there is no user nobody")
    rig.say(id=2, addresses=["broken"])
    assert await rig.failure() == (14, "the address book is away")
    assert not rig.bus.hears()


async def test_what_cannot_be_read_is_told_later(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "_AGAIN_S", 0)
    rig = Rig()
    rig.repository.failures = 2
    rig.say(addresses=["bob"])
    assert await rig.settle() == [[("bob", 18500)]]
    assert rig.repository.reads[:3] == [["sip:bob@example.test"]] * 3


async def test_events_are_heard_while_somebody_watches() -> None:
    rig = Rig()
    rig.say(addresses=["bob"])
    rig.say(id=2, addresses=["carol"])
    await rig.settle()
    rig.say(end=True)
    await rig.settle()
    assert rig.bus.hears()
    rig.session.on_closed()
    await rig.settle()
    assert not rig.bus.hears()
    rig.say(id=3)
    await rig.settle()
    assert rig.bus.subscribed == 2
    await rig.tasks.stop()


async def test_limits() -> None:
    rig = Rig()
    rig.say(addresses=["bob"] * (MAX_ADDRESSES + 1))
    assert await rig.failure() == (3, f"a watch is of at most {MAX_ADDRESSES} users")
    for number in range(MAX_WATCHES):
        rig.say(id=number + 10)
    await rig.settle()
    rig.say(id=9)
    assert await rig.failure() == (8, f"there are {MAX_WATCHES} watches already")
    await rig.tasks.stop()


async def test_a_watch_that_falls_behind_too_far_ends(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "_MAX_WAITING", 3)
    rig = Rig()
    rig.say()
    await rig.settle()
    for number in range(5):
        await rig.change(f"u{number}", 3500)
    rig.say(taken=True)
    assert await rig.failure() == (8, "more changes than were taken")
