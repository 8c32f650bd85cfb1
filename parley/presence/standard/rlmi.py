"""What a list subscription tells: the resources of the list, and a document for each (RFC 4662 section 5)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, cast, get_args

from lxml import etree

from parley.presence.standard.errors import DocumentError
from parley.presence.standard.multipart import Part, build_multipart, parameter, parse_multipart
from parley.presence.standard.tree import add, attribute, new_root, put, read_root, required_number
from parley.sip.headers import is_token
from parley.xml import child, children, text_of, to_bytes

RLMI_NS: Final = "urn:ietf:params:xml:ns:rlmi"
CONTENT_TYPE: Final = "application/rlmi+xml"

InstanceState = Literal["pending", "active", "terminated"]

_WHAT = "resource list"
_CONTENT_ID = re.compile("[!#-;=?-\\[\\]-~]{1,256}")


@dataclass(frozen=True, slots=True)
class Instance:
    """One subscription to a resource; ``content_id`` names the part with its document, "" for none."""

    id: str
    state: InstanceState
    content_id: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of the list."""

    uri: str
    name: str = ""
    instances: tuple[Instance, ...] = ()


@dataclass(frozen=True, slots=True)
class Rlmi:
    """A list; one that is not of full state holds only the resources that changed since the version before."""

    uri: str
    version: int
    full_state: bool = True
    resources: tuple[Resource, ...] = ()
    name: str = ""
    content_id: str = ""


def parse_rlmi(data: bytes) -> Rlmi:
    """Reads a list. Raises DocumentError."""
    root = read_root(data, _WHAT, "list", RLMI_NS)
    uri, full = attribute(root, "uri"), attribute(root, "fullState")
    if not uri:
        raise DocumentError(f"{_WHAT}: no uri")
    version = required_number(root, "version", _WHAT)
    if full not in ("true", "false", "1", "0"):
        raise DocumentError(f"{_WHAT}: fullState is neither true nor false")
    return Rlmi(
        uri=uri,
        version=version,
        full_state=full in ("true", "1"),
        resources=tuple(_resource(found) for found in children(root, "resource")),
        name=text_of(child(root, "name")),
        content_id=attribute(root, "cid"),
    )


def _resource(element: etree._Element) -> Resource:
    uri = attribute(element, "uri")
    if not uri:
        raise DocumentError(f"{_WHAT}: a resource without a uri")
    instances = tuple(_instance(found) for found in children(element, "instance"))
    return Resource(uri, text_of(child(element, "name")), instances)


def _instance(element: etree._Element) -> Instance:
    identifier, state = attribute(element, "id"), attribute(element, "state")
    if not identifier:
        raise DocumentError(f"{_WHAT}: an instance without an id")
    if state not in get_args(InstanceState):
        raise DocumentError(f"{_WHAT}: an instance of no known state")
    return Instance(identifier, cast(InstanceState, state), attribute(element, "cid"), attribute(element, "reason"))


def build_rlmi(rlmi: Rlmi) -> bytes:
    """Writes a list."""
    root = new_root("list", RLMI_NS)
    full = "true" if rlmi.full_state else "false"
    put(root, uri=rlmi.uri, version=rlmi.version, fullState=full, cid=rlmi.content_id)
    if rlmi.name:
        add(root, "name", rlmi.name)
    for resource in rlmi.resources:
        element = add(root, "resource")
        put(element, uri=resource.uri)
        if resource.name:
            add(element, "name", resource.name)
        for item in resource.instances:
            put(add(element, "instance"), id=item.id, state=item.state, reason=item.reason, cid=item.content_id)
    return to_bytes(root)


def document_part(content_id: str, content_type: str, body: bytes) -> Part:
    """A part with a document."""
    headers = (("Content-Transfer-Encoding", "binary"), ("Content-ID", f"<{content_id}>"), ("Content-Type", content_type))
    return Part(headers, body)


def build_list(
    rlmi: Rlmi, parts: Iterable[Part], boundary: str, root_id: str, *, blank_line: bool = False
) -> tuple[str, bytes]:
    """Content-Type and body of a list and its documents, the list first.

    ``root_id`` is the Content-ID of the list; for ``blank_line`` see `build_multipart`. The boundary is the last parameter
    of the Content-Type, where every client finds it. Raises DocumentError when the boundary occurs in a part.
    """
    if _CONTENT_ID.fullmatch(root_id) is None:
        raise DocumentError(f"{_WHAT}: a Content-ID that cannot be written")
    root = document_part(root_id, f'{CONTENT_TYPE};charset="UTF-8"', build_rlmi(rlmi))
    body = build_multipart((root, *parts), boundary, blank_line=blank_line)
    quoted = boundary if is_token(boundary) else f'"{boundary}"'
    return f'multipart/related;type="{CONTENT_TYPE}";start="<{root_id}>";boundary={quoted}', body


def parse_list(content_type: str, body: bytes) -> tuple[Rlmi, tuple[Part, ...]]:
    """The list of such a body, and its other parts in their order. Raises DocumentError."""
    kind = content_type.partition(";")[0].strip(" \t").lower()
    if kind != "multipart/related":
        raise DocumentError(f"{_WHAT}: the body is not multipart/related")
    parts = parse_multipart(body, content_type)
    start = parameter(content_type, "start").removeprefix("<").removesuffix(">")
    root = next((part for part in parts if start and part.content_id == start), parts[0] if parts else None)
    if root is None:
        raise DocumentError(f"{_WHAT}: no parts")
    if root.content_type.partition(";")[0].strip(" \t").lower() != CONTENT_TYPE:
        raise DocumentError(f"{_WHAT}: the first part is not {CONTENT_TYPE}")
    return parse_rlmi(root.body), tuple(part for part in parts if part is not root)
