"""Somebody is typing: the documents of RFC 3994."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from parley.presence.standard.errors import DocumentError
from parley.presence.standard.tree import add, new_root, number, read_root, read_time, write_time
from parley.xml import child, text_of, to_bytes

ISCOMPOSING_NS: Final = "urn:ietf:params:xml:ns:im-iscomposing"
CONTENT_TYPE: Final = "application/im-iscomposing+xml"
DEFAULT_REFRESH: Final = 120

_WHAT = "composing status"


@dataclass(frozen=True, slots=True)
class IsComposing:
    """What somebody does.

    ``last_active`` is seconds since 1970, ``content_type`` of what is composed, ``refresh`` the seconds until the status
    is told again; for how long it holds without that, see `DEFAULT_REFRESH`.
    """

    state: Literal["active", "idle"]
    last_active: float | None = None
    content_type: str = ""
    refresh: int | None = None


def parse_iscomposing(data: bytes) -> IsComposing:
    """Reads a status; any state that is not ``active`` is idle. Raises DocumentError."""
    root = read_root(data, _WHAT, "isComposing", ISCOMPOSING_NS)
    state = text_of(child(root, "state"))
    if not state:
        raise DocumentError(f"{_WHAT}: no state")
    return IsComposing(
        state="active" if state == "active" else "idle",
        last_active=read_time(text_of(child(root, "lastactive"))),
        content_type=text_of(child(root, "contenttype")),
        refresh=number(text_of(child(root, "refresh"))),
    )


def build_iscomposing(status: IsComposing) -> bytes:
    """Writes a status."""
    root = new_root("isComposing", ISCOMPOSING_NS)
    add(root, "state", status.state)
    if status.last_active is not None:
        add(root, "lastactive", write_time(status.last_active))
    if status.content_type:
        add(root, "contenttype", status.content_type)
    if status.refresh is not None:
        add(root, "refresh", str(status.refresh))
    return to_bytes(root)
