"""An INVITE to several clients: who gets it, who is cancelled, who is hung up."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from parley.platform.applications.edges import FlowGone
from parley.proto.registrar.v1.registrar_pb2 import Binding
from parley.proto.sip.v1.message_pb2 import Flow
from parley.sip.message import Request, Response, make_response
from services.messaging.invitations import ELSEWHERE, Fork, OnEvent, Sent


class Edge:
    """Front ends as a fork sees them, played by the test."""

    def __init__(self, gone: frozenset[str] = frozenset()) -> None:
        self.told: dict[str, OnEvent] = {}
        self.requests: dict[str, Request] = {}
        self.cancelled: list[str] = []
        self.closed: list[str] = []
        self.sent: list[tuple[str, str]] = []
        self._gone = gone

    async def exchange(self, request: Request, flow: Flow, on_event: OnEvent, *, traceparent: str) -> Sent:
        if flow.edge_uid in self._gone:
            raise FlowGone
        self.told[flow.edge_uid] = on_event
        self.requests[flow.edge_uid] = request
        return UnderWay(self, flow.edge_uid)

    async def send(self, request: Request, flow: Flow, *, traceparent: str) -> None:
        self.sent.append((flow.edge_uid, request.method))

    async def request(self, request: Request, flow: Flow | None, *, traceparent: str) -> Response:
        assert flow is not None
        self.sent.append((flow.edge_uid, request.method))
        return make_response(request, 200)

    def answer(self, name: str, status: int) -> None:
        headers = [("Contact", f"<sip:{name}@192.0.2.1>")]
        self.told[name](make_response(self.requests[name], status, to_tag=name, headers=headers))


class UnderWay:
    def __init__(self, edge: Edge, name: str) -> None:
        self._edge = edge
        self._name = name

    def cancel(self, reason: str) -> None:
        assert reason == ELSEWHERE
        self._edge.cancelled.append(self._name)

    def close(self) -> None:
        self._edge.closed.append(self._name)


def invites(*names: str) -> list[tuple[Binding, Request]]:
    made = []
    for name in names:
        binding = Binding(contact=f"sip:{name}@192.0.2.1")
        binding.flow.edge_uid = name
        headers = [
            ("From", "<sip:bob@example.test>;tag=b"), ("To", "<sip:alice@example.test>"), ("Call-ID", "c"),
            ("CSeq", "1 INVITE"), ("Contact", "<sip:bob@example.test;opaque=app:messaging:1>"),
        ]  # fmt: skip
        made.append((binding, Request.create("INVITE", binding.contact, headers=headers)))
    return made


class Spawner:
    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []

    def __call__(self, name: str, work: Coroutine[Any, Any, None]) -> object:
        self.tasks.append(asyncio.get_running_loop().create_task(work))
        return self.tasks[-1]


async def test_the_first_answer_wins_the_others_are_cancelled_and_a_late_one_is_hung_up() -> None:
    edge, spawn = Edge(), Spawner()
    fork = Fork(edge, spawn, "")
    running = asyncio.create_task(fork.run(invites("a", "b", "c"), 5))
    await asyncio.sleep(0)
    edge.answer("a", 180)
    edge.answer("c", 486)
    edge.answer("b", 200)
    edge.answer("a", 200)  # before the CANCEL reached it
    accepted = await running
    assert accepted is not None
    assert accepted.dialog.remote_target == "sip:b@192.0.2.1"
    await asyncio.gather(*spawn.tasks)
    assert sorted(edge.sent) == [("a", "ACK"), ("a", "BYE"), ("b", "ACK")]
    edge.answer("b", 200)  # repeated: acknowledged again, and not hung up
    await asyncio.gather(*spawn.tasks)
    assert edge.sent.count(("b", "ACK")) == 2
    assert ("b", "BYE") not in edge.sent
    for name in ("a", "b", "c"):
        edge.told[name](None)
    assert sorted(edge.closed) == ["a", "b", "c"]


async def test_who_still_rings_is_cancelled() -> None:
    edge, spawn = Edge(), Spawner()
    fork = Fork(edge, spawn, "")
    running = asyncio.create_task(fork.run(invites("a", "b"), 5))
    await asyncio.sleep(0)
    edge.answer("a", 180)
    edge.answer("b", 200)
    assert await running is not None
    assert edge.cancelled == ["a"]
    edge.answer("a", 487)
    assert not spawn.tasks


async def test_nobody_takes_it() -> None:
    edge = Edge(gone=frozenset({"b"}))
    fork = Fork(edge, Spawner(), "")
    running = asyncio.create_task(fork.run(invites("a", "b", "c"), 5))
    await asyncio.sleep(0)
    edge.answer("a", 603)
    edge.told["c"](None)
    assert await running is None
    assert sorted(fork.statuses) == [408, 430, 603]


async def test_all_are_gone() -> None:
    fork = Fork(Edge(gone=frozenset({"a"})), Spawner(), "")
    assert await fork.run(invites("a"), 5) is None
    assert fork.statuses == [430]


async def test_nobody_answers_in_time_and_who_does_later_is_hung_up() -> None:
    edge, spawn = Edge(), Spawner()
    fork = Fork(edge, spawn, "")
    assert await fork.run(invites("a"), 0.01) is None
    assert fork.statuses == [408]
    assert edge.cancelled == ["a"]
    edge.answer("a", 200)
    await asyncio.gather(*spawn.tasks)
    assert edge.sent == [("a", "ACK"), ("a", "BYE")]
