"""Who watches somebody: watcher information, whole or in part (RFC 3857, RFC 3858)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, cast, get_args

from lxml import etree

from parley.presence.standard.errors import DocumentError
from parley.presence.standard.tree import add, attribute, new_root, number, put, read_root, required_number
from parley.xml import children, text_of, to_bytes

WATCHERINFO_NS: Final = "urn:ietf:params:xml:ns:watcherinfo"
CONTENT_TYPE: Final = "application/watcherinfo+xml"

Status = Literal["pending", "active", "waiting", "terminated"]
Event = Literal["subscribe", "approved", "deactivated", "probation", "rejected", "timeout", "giveup", "noresource"]
State = Literal["full", "partial"]

_WHAT = "watcher information"


@dataclass(frozen=True, slots=True)
class Watcher:
    """One subscription; ``event`` is what brought it to its status, the last two are seconds."""

    id: str
    uri: str
    status: Status
    event: Event
    display_name: str = ""
    expiration: int | None = None
    duration: int | None = None


@dataclass(frozen=True, slots=True)
class WatcherList:
    """The watchers of one resource by one event package."""

    resource: str
    package: str
    watchers: tuple[Watcher, ...] = ()


@dataclass(frozen=True, slots=True)
class WatcherInfo:
    """A document; a partial one holds only what changed since the version before."""

    version: int
    state: State
    lists: tuple[WatcherList, ...] = ()


def parse_watcherinfo(data: bytes) -> WatcherInfo:
    """Reads watcher information. Raises DocumentError."""
    root = read_root(data, _WHAT, "watcherinfo", WATCHERINFO_NS)
    version = required_number(root, "version", _WHAT)
    state = attribute(root, "state")
    if state not in get_args(State):
        raise DocumentError(f"{_WHAT}: the state is neither full nor partial")
    return WatcherInfo(version, cast(State, state), tuple(_list(found) for found in children(root, "watcher-list")))


def _list(element: etree._Element) -> WatcherList:
    resource, package = attribute(element, "resource"), attribute(element, "package")
    if not resource or not package:
        raise DocumentError(f"{_WHAT}: a list without a resource or package")
    return WatcherList(resource, package, tuple(_watcher(found) for found in children(element, "watcher")))


def _watcher(element: etree._Element) -> Watcher:
    identifier, status, event = (attribute(element, name) for name in ("id", "status", "event"))
    if not identifier:
        raise DocumentError(f"{_WHAT}: a watcher without an id")
    if status not in get_args(Status):
        raise DocumentError(f"{_WHAT}: a watcher of no known status")
    if event not in get_args(Event):
        raise DocumentError(f"{_WHAT}: a watcher with no known event")
    return Watcher(
        id=identifier,
        uri=text_of(element),
        status=cast(Status, status),
        event=cast(Event, event),
        display_name=attribute(element, "display-name"),
        expiration=number(attribute(element, "expiration")),
        duration=number(attribute(element, "duration-subscribed")),
    )


def build_watcherinfo(info: WatcherInfo) -> bytes:
    """Writes watcher information."""
    root = new_root("watcherinfo", WATCHERINFO_NS)
    put(root, version=info.version, state=info.state)
    for watched in info.lists:
        element = add(root, "watcher-list")
        put(element, resource=watched.resource, package=watched.package)
        for watcher in watched.watchers:
            put(
                add(element, "watcher", watcher.uri),
                id=watcher.id,
                status=watcher.status,
                event=watcher.event,
                display_name=watcher.display_name,
                expiration=watcher.expiration,
                duration_subscribed=watcher.duration,
            )
    return to_bytes(root)
