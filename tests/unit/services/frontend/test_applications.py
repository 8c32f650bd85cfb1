"""How long a request waits for the answer of an application."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from parley.proto.sip.v1.application_pb2 import ApplicationResponse
from parley.sip.message import Request, Response, make_response
from services.frontend.applications import ApplicationClient, Applications
from services.frontend.flows import Flow
from services.frontend.proxying.context import ProxiedRequest
from services.frontend.proxying.wiring import Identity
from tests.support.waiting import until

HEADERS = [
    ("Via", "SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK1"), ("From", "<sip:a@example.test>;tag=1"), ("To", "<sip:b@example.test>"),
    ("Call-ID", "c"),
]  # fmt: skip


class Stream:
    """An application, played by the test."""

    def __init__(self) -> None:
        self.tell: Callable[[Any], None] = lambda event: None
        self.closed: list[int] = []

    def open(self, item: Any, on_event: Callable[[Any], None]) -> int:
        self.tell = on_event
        return 7

    def close(self, item_id: int) -> None:
        self.closed.append(item_id)


class Asked:
    """A request at an application that is given 50 ms, and what was answered."""

    def __init__(self, method: str) -> None:
        self.request = Request.create(method, "sip:b@example.test", headers=[*HEADERS, ("CSeq", f"1 {method}")])
        self.flow = Flow(1, "TCP", ("192.0.2.1", 5060), ("192.0.2.2", 5060))
        self.span = SimpleNamespace(traceparent="")
        self.on_cancelled: Any = None
        self.answers: list[int] = []
        self.proceeded = 0
        self.stream = Stream()

    def is_invite(self) -> bool:
        return self.request.method == "INVITE"

    def respond(self, response: Response) -> None:
        self.answers.append(response.status)

    def refuse(self, status: int, reason: str | None = None, headers: object = ()) -> None:
        self.answers.append(status)

    async def begin(self) -> None:
        applications = Applications(lambda name: cast(ApplicationClient, self.stream), "edge", answer_s=0.05)
        await applications.send(cast(ProxiedRequest, self), "app", Identity("sip:a@example.test"), self._proceed)

    def _proceed(self, wish: object) -> None:
        self.proceeded += 1

    def answer(self, status: int) -> None:
        event = ApplicationResponse(id=7)
        event.response.raw = bytes(make_response(self.request, status, to_tag="t"))
        self.stream.tell(event)


@pytest.mark.parametrize("provisional", [False, True])
async def test_a_request_that_is_not_answered_in_time_fails(provisional: bool) -> None:
    asked = Asked("MESSAGE")
    await asked.begin()
    if provisional:
        asked.answer(100)
    await until(lambda: 504 in asked.answers)
    assert asked.stream.closed == [7]


async def test_what_is_answered_or_proceeds_or_fails_has_no_time_limit_any_more() -> None:
    answered, proceeds, fails = Asked("SUBSCRIBE"), Asked("MESSAGE"), Asked("INFO")
    for asked in (answered, proceeds, fails):
        await asked.begin()
    answered.answer(200)
    event = ApplicationResponse(id=7)
    event.proceed.contacts.append("")
    proceeds.stream.tell(event)
    event = ApplicationResponse(id=7)
    event.failure.code = 14
    fails.stream.tell(event)
    await asyncio.sleep(0.1)
    assert (answered.answers, proceeds.answers, fails.answers) == ([200], [], [503])
    assert proceeds.proceeded == 1
    assert [asked.stream.closed for asked in (answered, proceeds, fails)] == [[7], [7], [7]]


async def test_a_call_may_ring() -> None:
    asked = Asked("INVITE")
    await asked.begin()
    await asyncio.sleep(0.1)
    assert asked.answers == []
    assert asked.stream.closed == []
