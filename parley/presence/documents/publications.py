"""Publish requests and what answers them (MS-PRES sections 2.2.2.2, 2.2.2.5 and 2.2.2.7)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import quoteattr

from parley.presence.aggregation import time_text
from parley.presence.documents.reading import integer, read, require, required
from parley.presence.errors import BadDocument, VersionConflict
from parley.presence.model import EXPIRE_NAMES
from parley.presence.publishing import PublishOperation
from parley.proto.presence.v1 import state_pb2 as pb
from parley.xml import child, children, text_of, to_bytes

if TYPE_CHECKING:
    from lxml.etree import _Element

PUBLISH_TYPE: Final = "application/msrtc-category-publish+xml"
FAULT_TYPE: Final = "application/msrtc-fault+xml"
ROAMING_SELF_TYPE: Final = "application/vnd-microsoft-roaming-self+xml"
CATEGORIES_TYPE: Final = "application/msrtc-event-categories+xml"

_CATEGORIES: Final = "http://schemas.microsoft.com/2006/09/sip/categories"
_ROAMING: Final = "http://schemas.microsoft.com/2006/09/sip/roaming-self"
_CONTAINERS: Final = "http://schemas.microsoft.com/2006/09/sip/containers"
_SUBSCRIBERS: Final = "http://schemas.microsoft.com/2006/09/sip/presence-subscribers"
_XSI_TYPE: Final = "{http://www.w3.org/2001/XMLSchema-instance}type"
_EXPIRE_TEXT: Final = {number: name for name, number in EXPIRE_NAMES.items()}


def parse_publish(body: bytes) -> list[PublishOperation]:
    """The publications of a request, in order. Raises BadDocument."""
    root = read(body, "publish")
    operations = []
    for publications in children(root, "publications"):
        for element in children(publications, "publication"):
            operations.append(_operation(element))
    require(operations, "the request has no publication")
    return operations


def _operation(element: _Element) -> PublishOperation:
    category = required(element, "categoryName")
    content = next((found for found in element if isinstance(found.tag, str)), None)
    expires = element.get("expires")
    return PublishOperation(
        category=category,
        instance=integer(element, "instance", 2**32 - 1),
        container=integer(element, "container", 2**31 - 1),
        version=integer(element, "version", 2**32 - 1),
        expire_type=element.get("expireType") or "static",
        expires_s=integer(element, "expires", 2**31 - 1) if expires is not None else None,
        content=b"" if content is None else _tail_free(content),
        state=_facts(content) if category == "state" and content is not None else None,
    )


def _tail_free(element: _Element) -> bytes:
    element.tail = None
    return to_bytes(element)


def _facts(element: _Element) -> pb.StateFacts:
    """What aggregation wants of a state."""
    kind = (element.get(_XSI_TYPE) or "").rpartition(":")[2]
    facts = pb.StateFacts(kind=kind)
    availability = child(element, "availability")
    if availability is not None:
        text = text_of(availability)
        if not (text.isascii() and text.isdigit()) or len(text) > 6:
            raise BadDocument("availability is no number")
        facts.availability = int(text)
        facts.has_availability = True
    activity = child(element, "activity")
    if activity is not None:
        facts.activity = (activity.get("token") or "")[:64]
        facts.min_availability = integer(activity, "minAvailability", 1_000_000)
        facts.max_availability = integer(activity, "maxAvailability", 1_000_000)
    return facts


def fault(conflict: VersionConflict) -> bytes:
    """The body of a 409."""
    rows = "".join(
        f'<operation index="{wrong.index}" version="{wrong.quoted}" curVersion="{wrong.current}"/>'
        for wrong in conflict.wrong
    )
    return f"<Fault><Faultcode>Client.BadCall.WrongDelta</Faultcode><details>{rows}</details></Fault>".encode()


def roaming_data(
    state: pb.Presentity,
    *,
    categories: Iterable[str] | None,
    containers: Iterable[int] | None = (),
    subscribers: Iterable[str] | None = (),
) -> bytes:
    """What the user's own endpoints are told (section 2.2.2.5); None: all, (): none.

    A category is always told whole: clients forget what they knew of it as soon as it appears.
    """
    parts = []
    names = sorted({p.category for p in state.publications}) if categories is None else sorted(set(categories))
    if names or categories is None:
        rows = "".join(own_category(state, name) for name in names)
        parts.append(f'<categories xmlns="{_CATEGORIES}" uri={quoteattr(state.address)}>{rows}</categories>')
    wanted = None if containers is None else set(containers)
    if wanted is None or wanted:
        rows = "".join(_container(one) for one in state.containers if wanted is None or one.id in wanted)
        parts.append(f'<containers xmlns="{_CONTAINERS}">{rows}</containers>')
    users = None if subscribers is None else set(subscribers)
    if users is None or users:
        rows = "".join(_subscriber(one) for one in state.subscribers if users is None or one.user in users)
        parts.append(f'<subscribers xmlns="{_SUBSCRIBERS}">{rows}</subscribers>')
    return f'<roamingData xmlns="{_ROAMING}">{"".join(parts)}</roamingData>'.encode()


def own_category(state: pb.Presentity, name: str) -> str:
    """All instances of a category in all containers; the empty element when there are none."""
    rows = [
        f'<category name={quoteattr(name)} instance="{p.instance}" publishTime="{time_text(p.published_at_ms)}" '
        f'container="{p.container}" version="{p.version}" expireType="{_EXPIRE_TEXT[p.expire_type]}"'
        f"{_endpoint(p)}>{p.content.decode()}</category>"
        for p in state.publications
        if p.category == name
    ]
    return "".join(rows) or f"<category name={quoteattr(name)}/>"


def _endpoint(publication: pb.Publication) -> str:
    return f" endpointId={quoteattr(publication.endpoint)}" if publication.endpoint else ""


def _container(container: pb.Container) -> str:
    members = "".join(
        f"<member type={quoteattr(member.type)}{f' value={quoteattr(member.value)}' if member.value else ''}/>"
        for member in container.members
    )
    return f'<container id="{container.id}" version="{container.version}">{members}</container>'


def _subscriber(subscriber: pb.Subscriber) -> str:
    known = "true" if subscriber.acknowledged else "false"
    return (
        f"<subscriber user={quoteattr(subscriber.user)} displayName={quoteattr(subscriber.display_name)} "
        f'acknowledged="{known}" type={quoteattr(subscriber.type)}/>'
    )


def watcher_categories(address: str, rows: str) -> bytes:
    """The document a watcher is sent, of what `watcher_category` wrote."""
    return f'<categories xmlns="{_CATEGORIES}" uri={quoteattr(address)}>{rows}</categories>'.encode()


def watcher_category(name: str, entries: Iterable[tuple[int, int, str]]) -> str:
    """A category as watchers see it: of each (instance, published at ms, content); the empty element for none."""
    rows = [
        f'<category name={quoteattr(name)} instance="{instance}" publishTime="{time_text(at_ms)}">{content}</category>'
        for instance, at_ms, content in entries
    ]
    return "".join(rows) or f"<category name={quoteattr(name)}/>"
