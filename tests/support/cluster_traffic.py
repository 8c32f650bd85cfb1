"""People who use an installation while a test does something to it: they sign in, call, talk, and send messages.

Calls go to phones on TCP and TLS; phones on UDP call and get messages. A phone on UDP cannot be told that its server is
gone, so until it registers again nobody can call it; what is sent to it meanwhile must be kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from tests.support.cluster_ledger import Ledger
from tests.support.cluster_line import PhoneError
from tests.support.cluster_phone import Call, Phone
from tests.support.waiting import until

_SETTLE_S = 60.0


@dataclass(frozen=True)
class Load:
    """How much is going on."""

    calls: float = 1.0
    """New calls a second."""
    messages: float = 3.0
    """Messages a second."""
    talk: tuple[float, float] = (0.5, 4.0)
    """Seconds that a call goes on, at least and at most."""
    long_calls: int = 3
    """Calls that go on all the time."""
    renew: float = 4.0
    """Seconds between two renewals of such a call."""


@dataclass
class Traffic:
    """Use it as a context manager around what is done to the installation; `check` says what was lost."""

    callers: Sequence[Phone]
    callees: Sequence[Phone]
    listeners: Sequence[Phone]
    """Get messages only."""
    ledger: Ledger
    load: Load = field(default_factory=Load)

    def __post_init__(self) -> None:
        self._loops: list[asyncio.Task[None]] = []
        self._work: set[asyncio.Task[None]] = set()
        self._number = 0
        self._ending = asyncio.Event()
        self._random = random.Random(7)

    @property
    def phones(self) -> list[Phone]:
        """All of them."""
        return [*self.callers, *self.callees, *self.listeners]

    async def __aenter__(self) -> Self:
        await asyncio.gather(*(phone.start() for phone in self.phones))
        for number in range(self.load.long_calls):
            caller = self.callers[number % len(self.callers)]
            call = await caller.call(self.callees[number % len(self.callees)])
            self._spawn(self._long_call(caller, call))
        self._loops = [
            asyncio.create_task(self._at_rate(rate, work))
            for rate, work in ((self.load.calls, self._short_call), (self.load.messages, self._message))
            if rate
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        try:
            if kind is None:
                await self.settle()
        finally:
            for task in self._work:
                task.cancel()
            await asyncio.gather(*self._work, return_exceptions=True)
            await asyncio.gather(*(phone.end() for phone in self.phones))

    async def settle(self) -> None:
        """Ends the calls, and waits for messages that are on their way."""
        self._ending.set()
        async with asyncio.timeout(_SETTLE_S):
            while self._work:
                await asyncio.wait(self._work)
        with contextlib.suppress(AssertionError):
            await until(lambda: not self.ledger.lost(), timeout=_SETTLE_S / 2)

    def check(self, *, calls: int = 1, messages: int = 1, lost_calls: int = 0) -> None:
        """Fails when something was lost, or when less was done than the test needs to mean anything."""
        text = self.ledger.summary()
        assert self.ledger.count("call") >= calls, text
        assert self.ledger.count("message") >= messages, text
        assert not self.ledger.lost(), f"lost {self.ledger.lost()[:5]}\n{text}"
        assert len(self.ledger.failures) <= lost_calls, text

    async def _at_rate(self, rate: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begins work at random times."""
        while True:
            await asyncio.sleep(self._random.expovariate(rate))
            self._spawn(work())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    def _caller(self) -> Phone:
        return self._random.choice(self.callers)

    async def _short_call(self) -> None:
        caller = self._caller()
        with contextlib.suppress(PhoneError):
            call = await caller.call(self._random.choice(self.callees))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), self._random.uniform(*self.load.talk))
            await caller.ask_in(call, "BYE")

    async def _long_call(self, caller: Phone, call: Call) -> None:
        """Who talks for long renews the session now and then (RFC 4028)."""
        with contextlib.suppress(PhoneError):
            while not self._ending.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ending.wait(), self.load.renew * self._random.uniform(0.5, 1.0))
                    continue
                await caller.ask_in(call, "INVITE")
            await caller.ask_in(call, "BYE")

    async def _message(self) -> None:
        self._number += 1
        receivers = [*self.callees, *self.listeners]
        with contextlib.suppress(PhoneError):
            await self._caller().say(self._random.choice(receivers).user, f"message {self._number} of {id(self):x}")
