"""Documents with a version: read, changed and written back if nobody was faster, else changed anew.

So each document has one writer at a time, whichever process it is in. The events of a change are written in the same step,
and the time at which something of the document is due.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from google.protobuf.message import Message

from parley.platform.outbox import pack_event
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreUnavailable
from parley.platform.store.link import Arg

_TRIES: Final = 32

M = TypeVar("M", bound=Message)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a document is kept; the keys share a hash tag."""

    document: str
    outbox: str
    """List that its events are pushed to."""
    deadlines: str
    """Sorted set of what is due, by time in ms."""
    member: str = ""
    """Name of the document there; "" when nothing of it is ever due."""


@dataclass(frozen=True, slots=True)
class Change(Generic[M, T]):
    """What becomes of a document."""

    result: T
    document: M | None = None
    """None: it is deleted."""
    events: tuple[tuple[str, str, Message], ...] = ()
    """Topic, key and message of each."""
    deadline_ms: int = 0
    """When something of it is due, ms since the epoch; 0: never."""
    write: bool = True
    """False: all stays as it is."""


class Documents(Generic[M]):
    """Documents of one kind."""

    def __init__(self, store: Store, kind: type[M], wake: Callable[[str], None]) -> None:
        """``wake``: told the key of an outbox that something was pushed to."""
        self._store = store
        self._kind = kind
        self._wake = wake
        self._put = store.script("parley.platform", "documents.lua")

    async def load(self, key: str) -> tuple[M | None, int]:
        """A document and its version; None and 0 when there is none. Raises StoreError."""
        version, data = await self._store.execute("HMGET", key, "v", "d")
        return (self._kind.FromString(data), int(version)) if data is not None else (None, 0)

    async def change(
        self, place: Place, apply: Callable[[M | None, int], Change[M, T]], *, durable: bool = False, traceparent: str = ""
    ) -> T:
        """Changes a document, and gives back the result of the change. Raises what ``apply`` raises, and StoreError.

        ``apply``: called with the document as it is and the version it will have, several times when others write too.
        ``durable``: it is on disk when this returns.
        """
        for _ in range(_TRIES):
            document, version = await self.load(place.document)
            change = apply(document, version + 1)
            if not change.write:
                return change.result
            data = change.document.SerializeToString() if change.document is not None else b""
            due = change.deadline_ms if change.document is not None else 0
            args: list[Arg] = [version, data, place.member, due]
            args += [pack_event(topic, key, message, traceparent) for topic, key, message in change.events]
            keys = [place.document, place.outbox, place.deadlines]
            if durable:
                reply = await self._put.durable(keys, args)
            else:
                (reply,) = await self._put.many([(keys, args)], [traceparent] if traceparent else ())
            if isinstance(reply, BaseException):
                raise reply
            if reply:
                self._wake(place.outbox)
                return change.result
        raise StoreUnavailable(f"{place.document} changes too fast")
