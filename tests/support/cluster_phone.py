"""A phone that lives through what happens to servers, as a person's phone does.

It keeps one registration, takes calls and messages, answers a repeated request as before, and writes what it did and got
into a `Ledger`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from parley.sip.message import Request, Response, make_response
from tests.support.cluster_ledger import Ledger
from tests.support.cluster_line import T1, TRANSACTION_S, Back, Exchange, Line, PhoneError
from tests.support.sip_client import DOMAIN

_MOST_ANSWERS = 512


@dataclass
class Call:
    """A call that goes on, at its caller."""

    invite: Request
    answer: Response
    callee: Phone
    cseq: int


class Phone(Line):
    """One user at one place."""

    def __init__(
        self, user: str, password: str, edges: Sequence[tuple[str, int]], ledger: Ledger, *, transport: str = "udp",
        source: str = "", source_port: int = 0, refresh: float = 20.0, expires: int = 600, ring: float = 0.0,
    ) -> None:  # fmt: skip
        """``refresh``: seconds between registrations, each of which lasts ``expires``; ``ring``: until it takes a call."""
        super().__init__(user, password, edges, ledger, transport=transport, source=source, source_port=source_port)
        self.calls: set[str] = set()
        """Call-IDs of the calls that it took and that go on."""
        self.offered = 0
        """Calls that it rang for."""
        self.on_notify: Callable[[Request], None] = lambda _: None
        self._refresh, self._expires, self._ring = refresh, expires, ring
        self._acks: dict[str, tuple[int, bytes]] = {}
        self._answers: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._unacknowledged: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._renew = asyncio.Event()

    @property
    def contact(self) -> str:
        """Stays the same over connections: a phone names the port that it listens on, not the one it calls from."""
        port = self.local[1] if self.transport == "udp" else 5060
        return f"sip:{self.user}.{self.number}@{self.local[0]}:{port};transport={self.transport}"

    # The registration.

    async def start(self, kind: str = "register", *, keep: bool = True) -> None:
        """Opens a connection, registers, and keeps both unless told. Raises PhoneError."""
        try:
            await self.open()
        except (OSError, TimeoutError):
            await self.move(self.at)
        await self.sign_in(kind)
        if keep:
            self._spawn(self._keep())

    async def sign_in(self, kind: str) -> None:
        """Registers, wherever that is possible. Raises PhoneError."""
        with contextlib.suppress(PhoneError):
            self.registered.clear()
            async with self._booked(kind):
                await self._register(self._expires, TRANSACTION_S)
                self.registered.set()
            return
        raise PhoneError(f"{self.user} could not register")

    async def _register(self, expires: int, timeout: float) -> None:
        headers = [("Contact", f"<{self.contact}>"), ("Expires", str(expires))]
        aor = f"sip:{self.user}@{DOMAIN}"
        check(await self.ask_until("REGISTER", f"sip:{DOMAIN}", to=aor, headers=headers, timeout=timeout))

    async def _keep(self) -> None:
        """Refreshes the registration; makes a new one when the connection has ended, or a server sent us away."""
        while True:
            waits = [asyncio.ensure_future(event.wait()) for event in (self.closed, self._renew)]
            await asyncio.wait(waits, timeout=self._refresh * random.uniform(0.8, 1.0), return_when="FIRST_COMPLETED")
            for wait in waits:
                wait.cancel()
            lost = self.closed.is_set()
            if lost:
                self.ledger.note("connection ended")
                await self.move(self.at)
            kind = "come back" if lost or self._renew.is_set() else "refresh"
            self._renew.clear()
            with contextlib.suppress(PhoneError):
                await self.sign_in(kind)

    def on_sent_away(self, edge: int) -> None:
        """Registers elsewhere."""
        self._spawn(self._leave(edge))

    async def _leave(self, edge: int) -> None:
        await self.move(edge)
        self._renew.set()

    async def end(self) -> None:
        """Takes the registration back and closes the connection."""
        await self._stop_tasks()
        if self.registered.is_set():
            with contextlib.suppress(PhoneError):
                await self._register(0, 5.0)
        await self.abort()

    async def abort(self) -> None:
        """Closes the socket at once; the server is not told."""
        await self._stop_tasks()
        await super().abort()

    # What a person does.

    async def call(self, callee: Phone) -> Call:
        """Calls another phone, which takes the call. Raises PhoneError."""
        async with self._booked("call", callee.user):
            headers = [("Contact", f"<{self.contact}>")]
            exchange = check(await self.ask_until("INVITE", f"sip:{callee.user}@{DOMAIN}", headers=headers))
            self._acknowledge(exchange.request, exchange.answer)
        return Call(exchange.request, exchange.answer, callee, exchange.request.cseq.number)

    async def ask_in(self, call: Call, method: str) -> None:
        """A request in a call: INVITE (again), INFO, BYE. Raises PhoneError."""
        call.cseq += 1
        headers = [("Contact", f"<{self.contact}>")] if method == "INVITE" else []

        def make() -> Request:
            return self.in_dialog(method, call.invite, call.answer, cseq=call.cseq, headers=headers)

        async with self._booked(f"{method} in a call", call.callee.user):
            exchange = check(await self.persist(make))
            if method == "INVITE":
                self._acknowledge(exchange.request, call.answer)

    def _acknowledge(self, invite: Request, answer: Response) -> None:
        self._acks[invite.call_id] = invite.cseq.number, bytes(self.in_dialog("ACK", invite, answer))
        self.send(self._acks[invite.call_id][1])

    def repeated(self, answer: Response) -> None:
        """A 200 that comes again is acknowledged again (RFC 3261 section 13.2.2.4)."""
        number, ack = self._acks.get(answer.call_id, (0, b""))
        if answer.cseq.method == "INVITE" and answer.cseq.number == number:
            self.ledger.note("200 of an INVITE again")
            self.send(ack)

    async def say(self, to: str, text: str) -> int:
        """A message; the status that acknowledges it. Raises PhoneError."""
        async with self._booked("message", to):
            headers = [("Content-Type", "text/plain")]
            message = self.ask_until("MESSAGE", f"sip:{to}@{DOMAIN}", headers=headers, body=text.encode())
            status = check(await message).answer.status
            self.ledger.sent(to, text, status)
        return status

    @asynccontextmanager
    async def _booked(self, kind: str, to: str = "") -> AsyncIterator[None]:
        begun = time.monotonic()
        try:
            yield
        except PhoneError as error:
            who = f"{self.user} ({self.transport})" + (f" to {to}" if to else "")
            self.ledger.failed(kind, who, str(error), time.monotonic() - begun)
            raise
        self.ledger.done(kind, self.user, time.monotonic() - begun)

    # What others do.

    def awaits_ack(self) -> bool:
        """See `Line`."""
        return bool(self._unacknowledged)

    def serve(self, request: Request, back: Back) -> None:
        """Answers a request; a repeated one as before."""
        if request.method == "ACK":
            self._unacknowledged.discard(request.call_id)
            return
        key = (request.via.params.get("branch") or "", request.method)
        if key in self._answers:
            back(self._answers[key])
        elif request.method == "INVITE":
            self._spawn(self._take_call(request, key, back))
        else:
            self._respond(request, self._status_of(request), key, back)

    def _status_of(self, request: Request) -> int:
        if request.method == "MESSAGE":
            self.ledger.heard(self.user, request.body.decode(errors="replace"))
        elif request.method == "NOTIFY":
            self.on_notify(request)
        elif request.method == "BYE":
            known = request.call_id in self.calls
            self.calls.discard(request.call_id)
            return 200 if known else 481
        return 200

    async def _take_call(self, invite: Request, key: tuple[str, str], back: Back) -> None:
        """Rings, answers, and repeats the answer until the ACK comes (RFC 3261 section 13.3.1.4)."""
        if invite.call_id not in self.calls:
            self._respond(invite, 180, None, back)
            self.offered += 1
            await asyncio.sleep(self._ring)
        self.calls.add(invite.call_id)
        self._unacknowledged.add(invite.call_id)
        data = self._respond(invite, 200, key, back)
        interval, deadline = T1, time.monotonic() + TRANSACTION_S
        while time.monotonic() < deadline:
            await asyncio.sleep(interval)
            if invite.call_id not in self._unacknowledged:
                return
            back(data)
            interval = min(interval * 2, 4.0)
        self._unacknowledged.discard(invite.call_id)
        self.ledger.failed("ack", self.user, "a call that was taken was never acknowledged", TRANSACTION_S)

    def _respond(self, request: Request, status: int, key: tuple[str, str] | None, back: Back) -> bytes:
        headers = [("Contact", f"<{self.contact}>")] if request.method == "INVITE" else []
        data = bytes(make_response(request, status, to_tag=f"p{self.number}", headers=headers, record_route=True))
        if key is not None:
            self._answers[key] = data
            while len(self._answers) > _MOST_ANSWERS:
                self._answers.popitem(last=False)
        back(data)
        return data

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _stop_tasks(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def check(exchange: Exchange) -> Exchange:
    """The exchange, unless it was refused. Raises PhoneError."""
    answer = exchange.answer
    if not 200 <= answer.status < 300:
        raise PhoneError(f"{answer.status} {answer.reason}")
    return exchange
