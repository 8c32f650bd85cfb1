"""What a subscriber is shown: for Communicator documents of categories, for standard phones PIDF and its like.

A view is taken from the container that the watcher is in. Who is blocked sees somebody who is offline, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

from parley.presence.access import effective_container
from parley.presence.aggregation import OFFLINE
from parley.presence.documents.contact_lists import CONTACTS_TYPE
from parley.presence.documents.publications import (
    ROAMING_SELF_TYPE,
    roaming_data,
    watcher_categories,
    watcher_category,
)
from parley.presence.model import BLOCKED, PUBLIC, bare, of_category
from parley.presence.standard.availability import pidf_of
from parley.presence.standard.pidf import build_pidf
from parley.proto.events.v1.presence_pb2 import WatcherChanged
from parley.proto.presence.v1 import state_pb2 as pb
from parley.xml import XmlError, child, parse_xml, text_of

DEFAULT_CATEGORIES: Final = ("contactCard", "note", "state")
_STATE: Final = "http://schemas.microsoft.com/2006/09/sip/state"
_CARD: Final = "http://schemas.microsoft.com/2006/09/sip/contactcard"
_OFFLINE_STATE: Final = (
    f'<state xmlns="{_STATE}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="aggregateState">'
    f"<availability>{OFFLINE}</availability></state>"
)


@dataclass(slots=True)
class Changes:
    """What somebody is to be told of one user."""

    categories: set[str] = field(default_factory=set)
    containers: set[int] = field(default_factory=set)
    subscribers: set[str] = field(default_factory=set)
    calls: bool = False
    watchers: dict[str, WatcherChanged] = field(default_factory=dict)
    """Subscriptions that began or ended, by id: the last that happened to each."""
    access: set[str] = field(default_factory=set)
    """Users whose access changed, without "sip:"; "*" for all."""

    def add(self, other: Changes) -> None:
        """Puts further changes to these."""
        self.categories |= other.categories
        self.containers |= other.containers
        self.subscribers |= other.subscribers
        self.calls |= other.calls
        self.watchers |= other.watchers
        self.access |= other.access


class Document(NamedTuple):
    """What a notification holds."""

    content_type: str
    body: bytes
    pending: bool = False
    """The subscription waits until the user lets the watcher in."""


EMPTY: Final = Document("", b"")


def wanted_categories(subscription: pb.Subscription, changes: Changes) -> list[str]:
    """The categories of a Communicator subscription that changed."""
    return [name for name in list(subscription.categories) or DEFAULT_CATEGORIES if name in changes.categories]


def all_categories(subscription: pb.Subscription) -> list[str]:
    """The categories that a Communicator subscription is for."""
    return list(subscription.categories) or list(DEFAULT_CATEGORIES)


def own_document(state: pb.Presentity, change: Changes | None, wanted: Iterable[str]) -> Document:
    """What the user's own endpoints are told; ``change`` None: everything that is wanted."""
    kinds = set(wanted)
    body = roaming_data(
        state,
        categories=() if "categories" not in kinds else None if change is None else change.categories,
        containers=() if "containers" not in kinds else None if change is None else change.containers,
        subscribers=() if "subscribers" not in kinds else None if change is None else change.subscribers,
    )
    return Document(ROAMING_SELF_TYPE, body)


def contacts_document(body: bytes) -> Document:
    """A contact list, or a change of one."""
    return Document(CONTACTS_TYPE, body)


def categories_document(state: pb.Presentity, watcher: str, names: Iterable[str]) -> bytes:
    """Categories as a watcher sees them."""
    container = effective_container(state, watcher)
    return watcher_categories(state.address, "".join(_category(state, container, name) for name in names))


def _category(state: pb.Presentity, container: int, name: str) -> str:
    if name == "state":
        seen = [] if container == BLOCKED else list(of_category(state, "state", container))
        if not seen:  # somebody without a state would stay in the one before
            return watcher_category("state", [(1, 0, _OFFLINE_STATE)])
        return watcher_category("state", [(p.instance, p.published_at_ms, p.content.decode()) for p in seen])
    if container == BLOCKED:
        return watcher_category(name, [])
    entries = [(p.instance, p.published_at_ms, p.content.decode()) for p in of_category(state, name, container)]
    if name == "contactCard":
        entries.insert(0, (0, 0, _card(state, container)))
    return watcher_category(name, entries)


def _card(state: pb.Presentity, container: int) -> str:
    """The card that the directory gives; its phone numbers and titles are for a directory that has them."""
    user = bare(state.address)
    name = state.display_name or user
    email = f"<email>{escape(user)}</email>" if container >= PUBLIC or container == 0 else ""
    identity = f"<identity><name><displayName>{escape(name)}</displayName></name>{email}</identity>"
    return f'<contactCard xmlns="{_CARD}">{identity}</contactCard>'


def seen_by(state: pb.Presentity, watcher: str) -> tuple[int, str, str]:
    """Availability, activity and note that a watcher sees."""
    container = effective_container(state, watcher)
    if container == BLOCKED:
        return OFFLINE, "", ""
    found = next(of_category(state, "state", container), None)
    if found is None and container == 0:
        return OFFLINE, "", ""
    availability = found.state.availability if found is not None else state.availability
    return availability, state.activity, note_of(state, container)


def note_of(state: pb.Presentity, container: int) -> str:
    """The text of the user's note in a container, or of what a phone published."""
    for publication in of_category(state, "note", container):
        try:
            return text_of(child(parse_xml(publication.content), "body"))
        except XmlError:
            continue
    return next((phone.note for phone in reversed(state.standard) if phone.note), "")


def pidf_document(state: pb.Presentity, watcher: str) -> bytes:
    """PIDF with RPID as a watcher sees it."""
    availability, activity, note = seen_by(state, watcher)
    return build_pidf(
        pidf_of(
            state.address, availability, activity, note, contact=state.address if availability < OFFLINE else "",
            timestamp=state.changed_at_ms / 1000 if state.changed_at_ms else None,
        )
    )  # fmt: skip
