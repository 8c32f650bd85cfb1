"""Credentials sealed with the master key before the present one are sealed anew, so that the key before can be given up.

Who changes a user need not seal the credentials: names, and what a directory server says, leave them as they are. So a user
who was changed meanwhile is read and tried again, and the key before is needed until nobody is left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Final

from parley.addressbook.errors import EntryError
from parley.platform.clock import Clock
from parley.platform.store.errors import StoreError
from parley.platform.telemetry.repeats import Repeats
from parley.proto.events.v1.user_pb2 import UserChanged
from services.addressbook.credentials import Vault
from services.addressbook.directory.links import event_of
from services.addressbook.repository import (
    Absent,
    Conflict,
    Exists,
    KeptElsewhere,
    LoginTaken,
    StoredUser,
    UserRepository,
)

logger = logging.getLogger(__name__)

_TRIES: Final = 3
_PAGE: Final = 100
_RETRY_S: Final = 5.0
_LONGEST_RETRY_S: Final = 300.0


class Sealer:
    """Seals the credentials of all users with the present key."""

    def __init__(
        self, repository: UserRepository, vault: Vault, clock: Clock, on_events: Callable[[], None], *,
        retry_s: float = _RETRY_S,
    ) -> None:  # fmt: skip
        """``on_events`` is called when events wait; ``retry_s``: before what is left is tried again, at first."""
        self._repository = repository
        self._vault = vault
        self._clock = clock
        self._on_events = on_events
        self._retry_s = retry_s
        self._repeats = Repeats(clock.monotonic, _LONGEST_RETRY_S)

    async def run(self) -> None:
        """Goes through all users until nobody is left."""
        waits = self._waits()
        total = 0
        while True:
            try:
                count, left = await self.seal_all()
                total += count
                if not left:
                    break
                problem, wait = f"those of {left} users are left; previous_master_key is still needed", next(waits)
            except StoreError as error:
                problem, wait = str(error), self._retry_s
            if self._repeats.is_due(problem):
                logger.warning("credentials are not all sealed anew yet: %s", problem)
            await asyncio.sleep(wait)
        logger.info("credentials of %d users were sealed anew; previous_master_key is not needed any more", total)

    def _waits(self) -> Iterator[float]:
        """Longer each time: what cannot be done now may have to be put right by somebody."""
        wait = self._retry_s
        while True:
            yield wait
            wait = min(2 * wait, _LONGEST_RETRY_S)

    async def seal_all(self) -> tuple[int, int]:
        """Of how many users they were sealed anew, and of how many that could not be done. Raises StoreError."""
        count, left, after = 0, 0, ""
        while page := await self._repository.page(after, _PAGE):
            after = page[-1]
            for address, found in zip(page, await self._repository.get_many(page), strict=True):
                if isinstance(found, StoreError):
                    raise found
                outcome = await self._seal(address, found)
                count += outcome is True
                left += outcome is False
        return count, left

    async def _seal(self, address: str, found: StoredUser | None) -> bool | None:
        """Whether it was done; None when there was nothing to do."""
        problem: object = "the user is being changed"
        for _ in range(_TRIES):
            if found is None or not found.credentials or self._vault.is_current(found.credentials):
                return None
            user = found.user
            try:
                sealed = self._vault.seal(self._vault.open(found.credentials, address), address)
                event = event_of(user, UserChanged.KIND_UPDATED, round(self._clock.wall() * 1000))
                await self._repository.update(user, sealed, event)
            except (Conflict, Absent):
                found = await self._repository.get(address)
                continue
            except (ValueError, EntryError, Exists, KeptElsewhere, LoginTaken) as error:
                problem = error
                break
            self._on_events()
            return True
        logger.warning("the credentials of %s cannot be sealed anew: %s", address, str(problem) or type(problem).__name__)
        return False
