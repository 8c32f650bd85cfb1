"""The event bus that services see.

Order holds for the events of one key. A subscription with a group shares the events among its members, each event at
least once: it is acknowledged after the handler returned; a new group begins with what is kept. A subscription without a
group sees every event published since it began, in every process. A handler that keeps failing on an event does not hold up
other keys (those that happen to share its partition wait while it is tried): after some tries the event goes to the topic
``<topic>.dead``. While something is away that the handler needs, it is tried for longer (`AWAY_S`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from google.protobuf.message import Message as ProtoMessage
from prometheus_client import Counter

PUBLISHED: Final = Counter("parley_events_published_total", "Events the bus took", ["topic", "outcome"])
HANDLED: Final = Counter("parley_events_handled_total", "Events handled, by outcome", ["topic", "outcome"])

MAX_TRIES: Final = 5
AWAY_S: Final = 120.0
"""How long an event waits for what its handler needs; such failures are none of its tries."""
HAND_OVER_S: Final = 2.0
"""How long the event at hand may take when its partition is to go to another member; it is handled again there then."""
DEAD_SUFFIX: Final = ".dead"


class EventBusError(Exception):
    """The bus does not serve now; an event that it did not take may be published again."""


@dataclass(frozen=True, slots=True)
class Event:
    """One fact as it was received."""

    topic: str
    key: str
    message: Any
    """The protobuf message, of the type that was subscribed for."""
    traceparent: str
    """Of the span that published it: to link, not to continue."""
    published_at_ms: int


Handler = Callable[[Event], Awaitable[None]]


class Subscription(Protocol):
    """A running subscription."""

    async def ready(self) -> None:
        """Returns when it hears of everything that is published from now on; waits for a bus that is away."""

    async def stop(self) -> None:
        """Ends it; the event that is being handled is handled first, or again by another member."""


class EventBus(Protocol):
    """Publishes and subscribes; made by `parley.platform.events.factory`."""

    async def start(self) -> None:
        """Begins; never waits for a bus that is away."""

    async def check(self) -> None:
        """Returns when the bus can be reached and takes us. Raises EventBusError, which says why it does not."""

    async def stop(self) -> None:
        """Ends all subscriptions."""

    async def publish(self, topic: str, key: str, message: ProtoMessage, *, traceparent: str = "") -> None:
        """Returns when the bus has the event. Raises EventBusError."""

    def subscribe(
        self, topic: str, message_type: type[ProtoMessage], handler: Handler, *, group: str | None = None
    ) -> Subscription:
        """Calls ``handler`` for each event of a topic, one at a time for a key; see the module for ``group``."""
