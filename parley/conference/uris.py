"""Names of conferences and of what belongs to them: ``sip:organizer@domain;gruu;opaque=app:conf:<kind>:id:<id>``.

The kind is ``focus`` or a kind of conferencing server (``chat``). Clients compare these texts, and make one from the other
(MS-CONFBAS section 2.2.2), so each conference has exactly one form of each.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from parley.sip.errors import SipParseError
from parley.sip.uri import Uri, aor, parse_uri

FOCUS: Final = "focus"
CHAT: Final = "chat"
FACTORY: Final = "app:conf:focusfactory"

_OPAQUE: Final = re.compile(r"app:conf:([a-z][a-z-]{0,31}):id:([0-9A-Za-z]{8,32})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ConferenceName:
    """Which conference."""

    organizer: str
    """Address of record."""
    id: str
    """As it was written; look-ups ignore its case."""

    @property
    def key(self) -> str:
        """The same text for all ways to write the name."""
        return f"{self.organizer}|{self.id.lower()}"

    def uri(self, kind: str) -> str:
        """The URI of the focus, or of a kind of conferencing server."""
        return f"{self.organizer};gruu;opaque=app:conf:{kind}:id:{self.id}"

    @property
    def focus(self) -> str:
        """The URI of the focus."""
        return self.uri(FOCUS)


def parse_name(uri: Uri) -> tuple[ConferenceName, str] | None:
    """Conference and kind that a URI names; None when it names none. Raises SipParseError."""
    found = _OPAQUE.fullmatch(uri.params.get("opaque") or "")
    if found is None or not uri.user:
        return None
    return ConferenceName(aor(uri), found[2]), found[1].lower()


def is_factory(uri: Uri) -> bool:
    """Whether a URI names the focus factory of its user."""
    return (uri.params.get("opaque") or "").lower() == FACTORY


def same_uri(text: str, other: str) -> bool:
    """Whether two texts name the same conference or server; a text that is no such name equals nothing."""
    try:
        first, second = parse_name(parse_uri(text)), parse_name(parse_uri(other))
    except SipParseError:
        return False
    return first is not None and second is not None and (first[0].key, first[1]) == (second[0].key, second[1])
