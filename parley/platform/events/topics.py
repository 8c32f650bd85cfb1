"""The topics that services publish and read: what `parley init storage` makes before they start.

Services are given names by the modules that own them; a test holds every one of those against this list. Each topic has
another one for events that could not be handled, which is read by people alone and needs no order, so one partition does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from parley.platform.events.api import DEAD_SUFFIX


class TopicRefused(Exception):
    """The bus does not let us make a topic; trying again does not help."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic."""

    name: str
    key: str
    """What its events are keyed by, and so in order for."""
    message: str
    """Full name of the protobuf message."""
    published_by: str


TOPICS: Final = (
    Topic("parley.calls", "Call-ID", "parley.events.v1.CallChanged", "frontend"),
    Topic("parley.conferences", "conference", "parley.events.v1.ConferenceChanged", "conference"),
    Topic("parley.contacts", "user", "parley.events.v1.ContactChanged", "presence"),
    Topic("parley.directory", "entry", "parley.events.v1.EntryChanged", "addressbook"),
    Topic("parley.edge", "edge and allocation", "parley.events.v1.AllocationChanged", "avedge"),
    Topic("parley.messages", "recipient", "parley.events.v1.MessageUndelivered", "messaging"),
    Topic("parley.presence", "user", "parley.events.v1.PresenceChanged", "presence"),
    Topic("parley.registrations", "user", "parley.events.v1.RegistrationChanged", "registrar"),
    Topic("parley.users", "user", "parley.events.v1.UserChanged", "addressbook"),
    Topic("parley.watchers", "user", "parley.events.v1.WatcherChanged", "presence"),
)
"""Every topic there is."""


def partitions_by_name(partitions: int) -> dict[str, int]:
    """All names, those for events that could not be handled included, and how many partitions each is to have."""
    wanted = {topic.name: partitions for topic in TOPICS}
    return wanted | {topic.name + DEAD_SUFFIX: 1 for topic in TOPICS}
