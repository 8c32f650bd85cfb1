"""Batched subscriptions and the lists that answer them (MS-PRES section 2.2.2.4, RFC 4662)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import quoteattr

from parley.presence.documents.reading import read, require, required
from parley.presence.errors import BadDocument
from parley.presence.standard.multipart import Part, build_multipart
from parley.xml import children

BATCH_TYPE: Final = "application/msrtc-adrl-categorylist+xml"
RLMI_TYPE: Final = "application/rlmi+xml"
_RLMI: Final = "urn:ietf:params:xml:ns:rlmi"


@dataclass(frozen=True, slots=True)
class BatchAction:
    """One action of a batch."""

    name: str
    """"subscribe" or "unsubscribe"."""
    resources: tuple[str, ...]
    """URIs as they were written."""
    categories: tuple[str, ...]


def parse_batch(body: bytes) -> list[BatchAction]:
    """The actions, in order. Raises BadDocument."""
    root = read(body, "batchSub")
    actions = []
    for element in children(root, "action"):
        name = required(element, "name")
        if name not in ("subscribe", "unsubscribe"):
            raise BadDocument(f"not an action: {name}")
        resources = []
        for adhoc in children(element, "adhocList"):
            for resource in children(adhoc, "resource"):
                resources.append(required(resource, "uri"))
        categories = [
            required(category, "name")
            for found in children(element, "categoryList")
            for category in children(found, "category")
        ]
        actions.append(BatchAction(name, tuple(dict.fromkeys(resources)), tuple(dict.fromkeys(categories))))
    require(actions, "the batch has no action")
    return actions


@dataclass(frozen=True, slots=True)
class ListPart:
    """One resource of a list."""

    uri: str
    content_type: str
    body: bytes
    """Empty for a resource without a document."""
    state: str = "active"


def list_body(address: str, parts: Sequence[ListPart], *, boundary: str, version: int, full: bool) -> tuple[str, bytes]:
    """Content-Type and body of a multipart list: the list of resources, then their documents.

    A blank line stands before each boundary: a client that cuts four bytes off each part keeps its document whole.
    """
    rows = []
    for number, part in enumerate(parts):
        content = f" cid={quoteattr(f'{number}@{boundary}')}" if part.body else ""
        rows.append(f'<resource uri={quoteattr(part.uri)}><instance id="0" state="{part.state}"{content}/></resource>')
    listing = (
        f'<list xmlns="{_RLMI}" uri={quoteattr(address)} version="{version}" fullState="{"true" if full else "false"}">'
        f"{''.join(rows)}</list>"
    )
    pieces = [_piece(f"rlmi@{boundary}", RLMI_TYPE, listing.encode())]
    pieces += [
        _piece(f"{number}@{boundary}", part.content_type, part.body) for number, part in enumerate(parts) if part.body
    ]
    # The boundary is the last parameter: some clients look for it there.
    content_type = f'multipart/related;type="{RLMI_TYPE}";start="<rlmi@{boundary}>";boundary={boundary}'
    return content_type, build_multipart(pieces, boundary, blank_line=True)


def _piece(content_id: str, content_type: str, body: bytes) -> Part:
    encoding = ("Content-Transfer-Encoding", "binary")
    return Part((encoding, ("Content-ID", f"<{content_id}>"), ("Content-Type", content_type)), body)


def merged(before: Iterable[str], action: BatchAction) -> list[str]:
    """The resources of a subscription after an action."""
    if action.name == "unsubscribe":
        gone = set(action.resources)
        return [uri for uri in before if uri not in gone]
    return list(dict.fromkeys([*before, *action.resources]))
