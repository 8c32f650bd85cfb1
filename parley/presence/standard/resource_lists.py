"""Lists of addresses in bodies of requests: resource lists (RFC 4826) with copy control (RFC 5364).

References to other lists and entries (``external``, ``entry-ref``) are passed over, as RFC 5363 allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from lxml import etree

from parley.presence.standard.errors import DocumentError
from parley.presence.standard.tree import add, attribute, clean, new_root, put, read_root
from parley.xml import child, children, text_of, to_bytes

RESOURCE_LISTS_NS: Final = "urn:ietf:params:xml:ns:resource-lists"
COPY_CONTROL_NS: Final = "urn:ietf:params:xml:ns:copycontrol"
CONTENT_TYPE: Final = "application/resource-lists+xml"
DEFAULT_MOST_ENTRIES: Final = 1000

CopyControl = Literal["to", "cc", "bcc"]

_WHAT = "resource lists"
_COPY = f"{{{COPY_CONTROL_NS}}}copyControl"


@dataclass(frozen=True, slots=True)
class Entry:
    """One address; ``copy_control`` says in which role it receives a message, None when that is not said."""

    uri: str
    display_name: str = ""
    copy_control: CopyControl | None = None


@dataclass(frozen=True, slots=True)
class ResourceList:
    """Entries, and lists inside this one."""

    name: str = ""
    display_name: str = ""
    entries: tuple[Entry, ...] = ()
    lists: tuple[ResourceList, ...] = ()


def parse_resource_lists(data: bytes, most_entries: int = DEFAULT_MOST_ENTRIES) -> tuple[ResourceList, ...]:
    """Reads a document of at most that many entries in all its lists. Raises DocumentError."""
    root = read_root(data, _WHAT, "resource-lists", RESOURCE_LISTS_NS)
    if sum(1 for _ in root.iter("{*}entry")) > most_entries:
        raise DocumentError(f"{_WHAT}: more than {most_entries} entries")
    return tuple(_list(found) for found in children(root, "list"))


def _list(element: etree._Element) -> ResourceList:
    return ResourceList(
        name=attribute(element, "name"),
        display_name=text_of(child(element, "display-name")),
        entries=tuple(_entry(found) for found in children(element, "entry")),
        lists=tuple(_list(found) for found in children(element, "list")),
    )


def _entry(element: etree._Element) -> Entry:
    uri = attribute(element, "uri")
    if not uri:
        raise DocumentError(f"{_WHAT}: an entry without a URI")
    copy = attribute(element, _COPY).lower()
    return Entry(uri, text_of(child(element, "display-name")), _copy_control(copy))


def _copy_control(text: str) -> CopyControl | None:
    return "to" if text == "to" else "cc" if text == "cc" else "bcc" if text == "bcc" else None


def build_resource_lists(lists: Iterable[ResourceList]) -> bytes:
    """Writes a document."""
    root = new_root("resource-lists", RESOURCE_LISTS_NS, {"cp": COPY_CONTROL_NS})
    for item in lists:
        _add_list(root, item)
    return to_bytes(root)


def _add_list(parent: etree._Element, item: ResourceList) -> None:
    element = add(parent, "list")
    put(element, name=item.name)
    if item.display_name:
        add(element, "display-name", item.display_name)
    for entry in item.entries:
        found = add(element, "entry")
        found.set("uri", clean(entry.uri))
        if entry.copy_control is not None:
            found.set(_COPY, entry.copy_control)
        if entry.display_name:
            add(found, "display-name", entry.display_name)
    for inner in item.lists:
        _add_list(element, inner)


def all_entries(lists: Iterable[ResourceList]) -> Iterator[Entry]:
    """Every entry, those of inner lists after those of the list around them; of equal URIs only the first."""
    seen: set[str] = set()
    for entry in _walk(lists):
        if entry.uri not in seen:
            seen.add(entry.uri)
            yield entry


def _walk(lists: Iterable[ResourceList]) -> Iterator[Entry]:
    for item in lists:
        yield from item.entries
        yield from _walk(item.lists)
