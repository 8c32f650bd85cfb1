"""The steps of the self-test, in their order. Whatever happens, the users that were made are removed at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from parley.proto.avedge.v1.credentials_pb2 import IceServer
from parley.selftest.agent import Identity
from parley.selftest.directory import Directory
from parley.selftest.phone import Phone, Place
from parley.selftest.relay import relay_packets, udp_server
from parley.selftest.report import StepFailed, StepResult, Steps, expecting
from parley.selftest.signalling import Traced, call, exchange_messages, see_presence, sign_in, sign_out
from parley.selftest.traces import Jaeger, of_call, of_sign_in
from parley.selftest.web import WebPlace, find_by_search

MAY_SKIP: Final = (
    "sign in over UDP", "sign in over TLS", "sign in over TCP", "presence", "messages", "call", "relay credentials", "relay",
    "search over HTTPS",
)  # fmt: skip
"""Steps that an installation may have no use for."""
NEEDS: Final = {"presence": "presence", "messages": "messaging", "relay credentials": "avedge"}
"""The service that a step tries, where it is another one than those that no installation can do without."""
_TRIES_FOR_ANOTHER_EDGE: Final = 16
_ORDER: Final = ("UDP", "TLS", "TCP")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be tried, and where."""

    places: dict[str, Place]
    """SIP by transport: "UDP", "TLS", "TCP"; at least one."""
    web: WebPlace | None = None
    """HTTPS; None: it is not tried."""
    turn: tuple[str, int] | None = None
    """The relay over UDP; None: where the A/V edge sends clients."""
    jaeger: Jaeger | None = None
    edges: int = 1
    """Front ends that the call has to cross."""
    skip: Mapping[str, str] = field(default_factory=dict)
    """Steps that are not to be taken, by name, and why."""
    patience_s: float = 10.0
    """Longest wait for an answer."""


@dataclass
class _Test:
    """What the steps leave to each other."""

    plan: Plan
    directory: Directory
    steps: Steps
    stack: AsyncExitStack
    phones: dict[int, Phone] = field(default_factory=dict)
    """Who is signed in: 0 and 1 are the users that meet."""
    signed_in: Traced | None = None
    called: Traced | None = None
    servers: list[IceServer] = field(default_factory=list)

    async def sign_in(self) -> None:
        """Both users, over two transports where there are as many; over a third one somebody comes and goes."""
        wanted = [each for each in _ORDER if each in self.plan.places and f"sign in over {each}" not in self.plan.skip]
        for transport in _ORDER:
            if transport not in wanted:
                self.steps.pass_over(f"sign in over {transport}", "no address of it is known")
        for who, transport in enumerate(wanted):
            work = partial(self._stay, transport, who) if who < 2 else partial(self._come_and_go, transport)
            await self.steps.run(f"sign in over {transport}", work, after=("users",))
        if len(wanted) == 1:
            await self.steps.run("second sign in", partial(self._stay, wanted[0], 1), after=("users",))

    async def _stay(self, transport: str, who: int) -> str:
        place, identity = self.plan.places[transport], self.directory.users[who]
        phone = await self._open(self.stack, place, identity)
        traced = await sign_in(phone)
        self.signed_in = self.signed_in or traced
        self.phones[who] = phone
        return str(place)

    async def _come_and_go(self, transport: str) -> str:
        place = self.plan.places[transport]
        async with AsyncExitStack() as stack:
            phone = await self._open(stack, place, self.directory.users[0])
            await sign_in(phone)
            await sign_out(phone)
        return f"{place}, and out again"

    async def _open(self, stack: AsyncExitStack, place: Place, identity: Identity) -> Phone:
        look_at = "is that address right, and are the front ends up and let in? `parley doctor` looks at them"
        if place.transport == "TLS":
            look_at += "; --ca says whom to trust, --tls-name whom to expect"
        with expecting(f"{place} to take a connection", look_at):
            return await stack.enter_async_context(Phone.open(place, identity, patience_s=self.plan.patience_s))

    @property
    def both(self) -> tuple[Phone, Phone]:
        """The two that are signed in."""
        return self.phones[0], self.phones[1]

    async def part(self) -> str:
        """Has the second user sign in again until another front end than the first user's takes the connection."""
        one, other = self.both
        first = await self.directory.edge_of(one.identity)
        for _ in range(_TRIES_FOR_ANOTHER_EDGE):
            if await self.directory.edge_of(other.identity) != first:
                return "the users are on two"
            await sign_out(other)
            other = await self._open(self.stack, other.place, other.identity)
            await sign_in(other)
            self.phones[1] = other
        raise StepFailed(
            "users on two front ends", f"{_TRIES_FOR_ANOTHER_EDGE} connections in a row came to {first}",
            "are two front ends ready? is the connection spread (sessionAffinity of the Service for TLS and TCP)?",
        )  # fmt: skip

    async def call(self) -> str:
        """A call of one to the other."""
        self.called = await call(*self.both)
        return f"Call-ID {self.called.call_id}"

    async def get_credentials(self) -> str:
        """Of the relay, for a user."""
        self.servers = await self.directory.relay_servers(self.directory.users[0])
        return ", ".join(url for server in self.servers for url in server.urls)

    async def relay(self) -> str:
        """Packets through the relay."""
        server = self.servers[0]
        place = self.plan.turn or udp_server(self.servers)
        return await relay_packets(place, server.username, server.credential, self.plan.patience_s)

    async def search(self, place: WebPlace) -> str:
        """One user finds the other."""
        one, other = self.directory.users
        return await find_by_search(place, one, other, self.plan.patience_s)

    async def look_at_traces(self, jaeger: Jaeger) -> None:
        """Of what was done."""

        async def of_the_sign_in() -> str:
            assert self.signed_in is not None
            return await jaeger.see(self.signed_in, of_sign_in())

        async def of_the_call() -> str:
            assert self.called is not None
            return await jaeger.see(self.called, of_call(self.plan.edges))

        if self.signed_in is None:
            self.steps.pass_over("trace of a sign-in", "needs: a sign-in")
        else:
            await self.steps.run("trace of a sign-in", of_the_sign_in)
        await self.steps.run("trace of the call", of_the_call, after=("call",))

    async def sign_out(self) -> None:
        """Ends the registrations, as far as that works: they end with their users anyway."""
        for phone in self.phones.values():
            try:
                await sign_out(phone)
            except StepFailed:
                continue


async def run_selftest(plan: Plan, directory: Directory, say: Callable[[StepResult], None]) -> list[StepResult]:
    """How each step went. ``say``: told of each when it is over."""
    steps = Steps(say, plan.skip)
    try:
        await steps.run("users", directory.create_users)
        async with AsyncExitStack() as stack:
            await _meet(_Test(plan, directory, steps, stack))
    finally:
        if directory.users:
            await steps.run("clean up", directory.remove_users)
    return steps.results


async def _meet(test: _Test) -> None:
    steps, plan = test.steps, test.plan
    await test.sign_in()
    if len(test.phones) == 2:
        if plan.edges > 1:
            await steps.run("two front ends", test.part)
        await steps.run("presence", lambda: see_presence(*test.both))
        await steps.run("messages", lambda: exchange_messages(*test.both))
        await steps.run("call", test.call)
    else:
        for name in ("presence", "messages", "call"):
            steps.pass_over(name, "needs: two users signed in")
    await steps.run("relay credentials", test.get_credentials, after=("users",))
    await steps.run("relay", test.relay, after=("relay credentials",))
    if plan.web is None:
        steps.pass_over("search over HTTPS", "no address of it is known")
    else:
        await steps.run("search over HTTPS", partial(test.search, plan.web), after=("users",))
    if plan.jaeger is not None:
        await test.look_at_traces(plan.jaeger)
    await test.sign_out()
