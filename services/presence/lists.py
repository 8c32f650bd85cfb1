"""Notifications about lists of users (RFC 4662; MS-PRES section 2.2.2.4): the list, and a document for each of its users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Final

from parley.presence.documents.publications import CATEGORIES_TYPE
from parley.presence.standard.rlmi import Instance, InstanceState, Resource, Rlmi, build_list, document_part
from parley.proto.presence.v1 import state_pb2 as pb
from parley.sip.uri import Uri
from services.presence.views import Document

CONTACTS: Final = "contacts"
"""The list that every user has: the own contacts."""
_OPAQUE: Final = "app:presence:list:"
_INSTANCE: Final = "0"
ROOM: Final = 48_000
"""Bytes of one notification, so that it fits a datagram; documents that do not follow in the next."""
_ROW: Final = 140
_HEAD: Final = 180


@dataclass(frozen=True, slots=True)
class Entry:
    """One user of a list."""

    uri: str
    document: Document | None = None
    """None: nothing is told yet."""
    state: InstanceState = "active"
    reason: str = ""
    name: str = ""


def row_size(uri: str, name: str) -> int:
    """About how many bytes a user takes in a list."""
    return _ROW + len(uri) + len(name.encode())


def document_size(document: Document) -> int:
    """About how many bytes a document takes."""
    return _HEAD + len(document.body)


def list_named(uri: Uri) -> str | None:
    """The name of the list that a Request-URI means, as ``sip:alice@example.test;opaque=app:presence:list:contacts``."""
    opaque = (uri.params.get("opaque") or "").lower()
    return opaque.removeprefix(_OPAQUE) if opaque.startswith(_OPAQUE) else None


def list_uri(subscription: pb.Subscription) -> str:
    """The URI of the list that a subscription is for, or of the user who named its resources."""
    if subscription.list_name:
        return f"{subscription.target};opaque={_OPAQUE}{subscription.list_name}"
    return subscription.target


def list_document(subscription: pb.Subscription, entries: Sequence[Entry], *, version: int, full: bool) -> Document:
    """Content type and body of a notification."""
    communicator = subscription.format == CATEGORIES_TYPE
    boundary = token_hex(12)
    resources, parts = [], []
    for number, entry in enumerate(entries):
        content_id = ""
        if entry.document is not None and entry.document.body:
            content_id = f"{number}@{boundary}"
            parts.append(document_part(content_id, entry.document.content_type, entry.document.body))
        told = content_id or entry.state != "active"
        instances = (Instance(_INSTANCE, entry.state, content_id, entry.reason),) if told else ()
        resources.append(Resource(entry.uri, entry.name, instances))
    # Communicator cuts four bytes off each part, and counts no versions.
    listing = Rlmi(list_uri(subscription), 0 if communicator else version, full, tuple(resources))
    return Document(*build_list(listing, parts, boundary, f"rlmi@{boundary}", blank_line=communicator))
