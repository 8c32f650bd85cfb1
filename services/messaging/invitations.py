"""An INVITE to several clients of one user: the first that answers has the session (RFC 3261 section 13.2.2.4).

Whoever answers later is acknowledged and hung up; who still rings is cancelled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from parley.platform.applications.edges import FlowGone
from parley.platform.rpc.errors import RpcError
from parley.proto.registrar.v1.registrar_pb2 import Binding
from parley.proto.sip.v1.message_pb2 import Flow
from parley.sip.dialog import Dialog
from parley.sip.errors import SipError
from parley.sip.message import Request, Response

logger = logging.getLogger(__name__)

ELSEWHERE: Final = 'SIP ;cause=200 ;text="Call completed elsewhere"'

OnEvent = Callable[[Response | RpcError | None], None]
"""Told responses, an error in place of one, and None when nothing more will come."""


class Sent(Protocol):
    """A request that is under way."""

    def cancel(self, reason: str) -> None:
        """Asks for a CANCEL with the value of a Reason header."""

    def close(self) -> None:
        """Wants to hear no more of it."""


class Sender(Protocol):
    """What `parley.platform.applications.edges.EdgeSender` does for a fork."""

    async def exchange(self, request: Request, flow: Flow, on_event: OnEvent, *, traceparent: str) -> Sent:
        """Sends a request and tells every response. Raises RpcError."""

    async def send(self, request: Request, flow: Flow, *, traceparent: str) -> None:
        """Sends a request that has no answer. Raises RpcError."""

    async def request(self, request: Request, flow: Flow | None, *, traceparent: str) -> Response:
        """Sends a request and waits for its final response. Raises RpcError."""


Spawn = Callable[[str, Coroutine[Any, Any, None]], object]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A client that took the session; it has been acknowledged."""

    binding: Binding
    dialog: Dialog
    answer: Response


class Fork:
    """One invitation."""

    def __init__(self, sender: Sender, spawn: Spawn, traceparent: str) -> None:
        self._sender = sender
        self._spawn = spawn
        self._traceparent = traceparent
        self._invites: Sequence[tuple[Binding, Request]] = ()
        self._open: dict[int, Sent] = {}
        self._answered: set[int] = set()
        self._winner: int | None = None
        self._done: asyncio.Future[Response | None] = asyncio.get_running_loop().create_future()
        self.statuses: list[int] = []
        """What those answered who did not take it."""

    async def run(self, invites: Sequence[tuple[Binding, Request]], timeout_s: float) -> Accepted | None:
        """Sends all; who took it, or None."""
        self._invites = invites
        for index, (binding, request) in enumerate(invites):
            try:
                self._open[index] = await self._sender.exchange(
                    request, binding.flow, partial(self._on_event, index), traceparent=self._traceparent
                )
            except RpcError as error:
                self._refused(index, 430 if isinstance(error, FlowGone) else 503)
        try:
            async with asyncio.timeout(timeout_s):
                answer = await asyncio.shield(self._done)
        except TimeoutError:
            self._done.cancel()
            self.statuses.append(408)
            answer = None
        finally:
            self._cancel_others()
        if answer is None or self._winner is None:
            return None
        binding, request = invites[self._winner]
        dialog = Dialog.from_response(request, answer)
        await self._sender.send(dialog.create_ack(), binding.flow, traceparent=self._traceparent)
        return Accepted(binding, dialog, answer)

    def _cancel_others(self) -> None:
        for index, sent in self._open.items():
            if index != self._winner and index not in self._answered:
                sent.cancel(ELSEWHERE)

    def _on_event(self, index: int, event: Response | RpcError | None) -> None:
        if isinstance(event, Response):
            if 200 <= event.status < 300:
                self._accepted(index, event)
            elif event.status >= 300:
                self._refused(index, event.status)
            return
        if index not in self._answered:
            self._refused(index, 408 if event is None else 430 if isinstance(event, FlowGone) else 503)
        sent = self._open.pop(index, None)
        if sent is not None:
            sent.close()

    def _accepted(self, index: int, answer: Response) -> None:
        again = index in self._answered
        self._answered.add(index)
        if self._winner is None and not self._done.done():
            self._winner = index
            self._done.set_result(answer)
        elif not again or index == self._winner:
            self._spawn("late answer", self._acknowledge(index, answer, hang_up=index != self._winner))

    async def _acknowledge(self, index: int, answer: Response, *, hang_up: bool) -> None:
        binding, request = self._invites[index]
        try:
            dialog = Dialog.from_response(request, answer)
            await self._sender.send(dialog.create_ack(), binding.flow, traceparent=self._traceparent)
            if hang_up:
                bye = dialog.create_request("BYE", headers=[("Reason", ELSEWHERE)])
                await self._sender.request(bye, binding.flow, traceparent=self._traceparent)
        except (RpcError, SipError) as error:
            logger.info("an answer that came late could not be acknowledged: %s", error)

    def _refused(self, index: int, status: int) -> None:
        if index in self._answered:
            return
        self._answered.add(index)
        self.statuses.append(status)
        if len(self._answered) == len(self._invites) and self._winner is None and not self._done.done():
            self._done.set_result(None)
