"""Relays what is said: everybody in a conference gets the same messages in the same order, none waits for a slow one.

Messages wait in the store. One process at a time relays those of a conference, under a lock with a time limit; when it dies
another one goes on, at the first message that each participant has not had. A participant has one message under way.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import Counter, Histogram

from parley.conference.uris import ConferenceName
from parley.platform.clock import Clock
from parley.platform.lifecycle import Tasks
from parley.platform.store.errors import StoreError
from parley.platform.store.shards import SHARDS
from parley.proto.immcu.v1 import state_pb2 as pb
from services.immcu.delivery import Delivery, Failure
from services.immcu.repository import LOCK_MS, ChatRepository

logger = logging.getLogger(__name__)

_RELAYED = Counter("parley_immcu_messages_total", "Messages of conferences relayed to everybody")
_DELAY = Histogram(
    "parley_immcu_relay_seconds", "Time from a message to the answer of the last participant",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)  # fmt: skip

_CHUNK: Final = 50
_AHEAD: Final = 200
"""Messages read before the first of them has gone to everybody."""
_RENEW_S: Final = LOCK_MS / 3000
_POLL_S: Final = 2.0


@dataclass(slots=True)
class _UnderWay:
    """A message on its way to the participants."""

    message: pb.ChatMessage
    left: int
    failed: list[Failure] = field(default_factory=list)
    again: bool = False
    """What became of it could not be noted."""


@dataclass(slots=True)
class _Room:
    """A conference whose messages this process relays."""

    wake: asyncio.Event = field(default_factory=asyncio.Event)
    queues: dict[str, asyncio.Queue[_UnderWay]] = field(default_factory=dict)
    """Messages that each session has yet to get."""
    under_way: int = 0


class Relay:
    """The relaying of this process."""

    def __init__(self, repository: ChatRepository, delivery: Delivery, tasks: Tasks, clock: Clock) -> None:
        self._repository = repository
        self._delivery = delivery
        self._tasks = tasks
        self._clock = clock
        self._rooms: dict[str, _Room] = {}

    def wake(self, name: ConferenceName) -> None:
        """Something was put in the queue of a conference."""
        room = self._rooms.get(name.key)
        if room is not None:
            room.wake.set()
            return
        self._rooms[name.key] = _Room()
        self._tasks.once("relay of a conference", self._run(name))

    async def run(self) -> None:
        """Looks, until cancelled, for messages that a process left when it died."""
        while True:
            await asyncio.sleep(_POLL_S)
            try:
                found = await asyncio.gather(*(self._repository.left_over(shard) for shard in range(SHARDS)))
            except StoreError as error:
                logger.info("what is left over is relayed later: %s", error)
                continue
            for names in found:
                for name in names:
                    if name.key not in self._rooms:
                        self.wake(name)

    # One conference

    async def _run(self, name: ConferenceName) -> None:
        room = self._rooms[name.key]
        try:
            while await self._repository.take(name):  # else who has the lock looks again before it gives it back
                while True:
                    await self._relay(name, room)
                    if await self._repository.release(name):
                        break
                if not room.wake.is_set():
                    return
        except StoreError as error:
            logger.warning("messages of %s are relayed later: %s", name.focus, error)
        finally:
            del self._rooms[name.key]

    async def _relay(self, name: ConferenceName, room: _Room) -> None:
        """Relays until nothing waits and all is answered. Raises StoreError."""
        after = 0
        workers: set[asyncio.Task[None]] = set()
        renewed = asyncio.get_running_loop().time()
        try:
            while True:
                room.wake.clear()
                found = await self._repository.waiting(name, after, _CHUNK) if room.under_way < _AHEAD else []
                if found:
                    after = found[-1].number
                    await self._hand_out(name, room, found, workers)
                elif room.under_way == 0:
                    return
                else:
                    await _wait(room.wake, _RENEW_S)
                now = asyncio.get_running_loop().time()
                if now - renewed >= _RENEW_S:
                    if not await self._repository.renew(name):
                        return  # another process has taken over
                    renewed = now
        finally:
            for worker in workers:
                worker.cancel()
            room.queues.clear()

    async def _hand_out(
        self, name: ConferenceName, room: _Room, messages: list[pb.ChatMessage], workers: set[asyncio.Task[None]]
    ) -> None:
        sessions = await self._repository.sessions(name)
        had = dict(zip((one.id for one in sessions), await self._repository.had(name, [one.id for one in sessions]),
                       strict=True))  # fmt: skip
        for message in messages:
            targets = [
                one for one in sessions if one.id != message.sender_session and had[one.id] < message.number
            ]  # fmt: skip
            under_way = _UnderWay(message, len(targets))
            room.under_way += 1
            for session in targets:
                queue = room.queues.get(session.id)
                if queue is None:
                    queue = room.queues[session.id] = asyncio.Queue()
                    worker = asyncio.create_task(self._serve(name, room, session, queue))
                    workers.add(worker)
                    worker.add_done_callback(workers.discard)
                queue.put_nowait(under_way)
            if not targets:
                await self._finish(name, room, under_way)

    async def _serve(self, name: ConferenceName, room: _Room, session: pb.Session, queue: asyncio.Queue[_UnderWay]) -> None:
        """Brings one participant one message after the other."""
        gone = False
        while True:
            under_way = await queue.get()
            message = under_way.message
            try:
                failure = None
                if not gone:
                    failure = await self._delivery.deliver(name, session, message)
                    gone = failure is not None and failure.gone
                    await self._repository.note_had(name, session.id, message.number)
                if failure is not None:
                    under_way.failed.append(failure)
            except StoreError as error:
                logger.warning("%s may get a message again: %s", session.user, error)
                under_way.again = True
            under_way.left -= 1
            if under_way.left == 0:
                await self._finish(name, room, under_way)

    async def _finish(self, name: ConferenceName, room: _Room, under_way: _UnderWay) -> None:
        """Everybody has answered, or will not."""
        message = under_way.message
        try:
            if not under_way.again:
                await self._repository.relayed(name, message.number)
                _RELAYED.inc()
                _DELAY.observe(max(0.0, self._clock.wall() - message.at_ms / 1000))
            if under_way.failed:
                await self._delivery.report(name, message, under_way.failed)
        except StoreError as error:
            logger.warning("a message in %s may be relayed again: %s", name.focus, error)
        finally:
            room.under_way -= 1
            room.wake.set()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
