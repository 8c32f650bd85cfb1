"""Who the users are, as the address book has it: asked when needed, kept for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from grpc import StatusCode

from parley.platform.clock import Clock
from parley.platform.events.api import Event
from parley.platform.rpc.errors import RpcError
from parley.proto.addressbook.v1.addressbook_pb2 import GetUserRequest
from parley.proto.presence.v1 import state_pb2 as pb

if TYPE_CHECKING:
    from parley.proto.addressbook.v1.addressbook_pb2_grpc import AddressBookAsyncStub

_KEPT_S: Final = 300.0
_MOST: Final = 50_000
_AT_A_TIME: Final = 32


class Users:
    """Display names by address of record."""

    def __init__(self, book: AddressBookAsyncStub, clock: Clock, *, timeout_s: float = 3.0) -> None:
        self._book = book
        self._clock = clock
        self._timeout_s = timeout_s
        self._known: dict[str, tuple[str | None, float]] = {}
        self._gate = asyncio.Semaphore(_AT_A_TIME)

    async def name_of(self, aor: str) -> str | None:
        """The display name; None when there is no such user. Raises RpcError."""
        known = self._known.get(aor)
        if known is not None and known[1] > self._clock.monotonic():
            return known[0]
        try:
            async with self._gate:
                answer = await self._book.GetUser(GetUserRequest(address=aor), timeout=self._timeout_s)
            name: str | None = answer.user.display_name
        except RpcError as error:
            if error.code not in (StatusCode.NOT_FOUND, StatusCode.INVALID_ARGUMENT):
                raise
            name = None
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[aor] = (name, self._clock.monotonic() + _KEPT_S)
        return name

    async def find(self, text: str) -> tuple[str, str] | None:
        """Address of record and display name of who is meant by an address or a login name. Raises RpcError."""
        try:
            answer = await self._book.GetUser(GetUserRequest(address=text), timeout=self._timeout_s)
        except RpcError as error:
            if error.code not in (StatusCode.NOT_FOUND, StatusCode.INVALID_ARGUMENT):
                raise
            return None
        return answer.user.address, answer.user.display_name

    async def named(self, states: Sequence[pb.Presentity]) -> list[pb.Presentity]:
        """The same states with display names."""
        names = await asyncio.gather(*(self.name_of(state.address) for state in states))
        for state, name in zip(states, names, strict=True):
            state.display_name = name or ""
        return list(states)

    async def on_user_changed(self, event: Event) -> None:
        """Forgets what is known of a user; handler of the topic ``parley.users``."""
        self._known.pop(event.message.address, None)
