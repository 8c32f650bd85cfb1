"""Who the users are, as the address book has it: asked when needed, kept for a while."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from grpc import StatusCode

from parley.platform.clock import Clock
from parley.platform.events.api import Event, Subscription
from parley.platform.rpc.errors import RpcError
from parley.proto.addressbook.v1.addressbook_pb2 import GetUserRequest, User

if TYPE_CHECKING:
    from parley.proto.addressbook.v1.addressbook_pb2_grpc import AddressBookAsyncStub

_KEPT_S: Final = 300.0
_MOST: Final = 50_000
_AT_A_TIME: Final = 32


class UserNames:
    """Users by address of record."""

    def __init__(self, book: AddressBookAsyncStub, clock: Clock, *, timeout_s: float = 3.0) -> None:
        """``timeout_s``: longest wait for a user, that for the turn to ask included."""
        self._book = book
        self._clock = clock
        self._timeout_s = timeout_s
        self._known: dict[str, tuple[User | None, float]] = {}
        self._generation = 0
        self._gate = asyncio.Semaphore(_AT_A_TIME)

    async def user(self, aor: str) -> User | None:
        """The user; None when there is none. Raises RpcError."""
        known = self._known.get(aor)
        if known is not None and known[1] > self._clock.monotonic():
            return known[0]
        found: User | None = None
        generation = self._generation
        try:
            async with asyncio.timeout(self._timeout_s), self._gate:
                found = (await self._book.GetUser(GetUserRequest(address=aor), timeout=self._timeout_s)).user
        except RpcError as error:
            if error.code not in (StatusCode.NOT_FOUND, StatusCode.INVALID_ARGUMENT):
                raise
        except TimeoutError:
            raise RpcError(StatusCode.DEADLINE_EXCEEDED, "the address book did not answer in time") from None
        if generation == self._generation:  # else the answer may be older than what was told meanwhile
            self._keep(aor, found)
        return found

    def _keep(self, aor: str, found: User | None) -> None:
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[aor] = (found, self._clock.monotonic() + _KEPT_S)

    async def name_of(self, aor: str) -> str | None:
        """The display name; None when there is no such user. Raises RpcError."""
        user = await self.user(aor)
        return user.display_name if user is not None else None

    async def on_user_changed(self, event: Event) -> None:
        """Forgets what is known of a user; handler of the topic ``parley.users``."""
        self._generation += 1
        self._known.pop(event.message.address, None)

    def forget_all(self) -> None:
        """Forgets everybody, and what is being asked."""
        self._generation += 1
        self._known.clear()

    async def forget_once(self, subscription: Subscription) -> None:
        """Forgets what was learnt before a subscription heard of changes: nobody told of those."""
        await subscription.ready()
        self.forget_all()
