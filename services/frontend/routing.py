"""Where a request outside any dialog goes: one table, read from top to bottom, the first row that fits decides.

A row names what it looks at (method, Event, ``opaque=`` of a GRUU, domain, user or number) and where the request goes: to
an application by name, to the user's registered endpoints, or away to another domain. What no row takes is answered by
the front end itself. Rows of applications come from the configuration; the rows below them are always there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from parley.sip.uri import Uri


class Destination(Enum):
    """Kinds of place a request can go to."""

    SERVER = "server"
    """The front end answers (OPTIONS to the domain, a method it does not know)."""
    USER = "user"
    """The registered endpoints of an address of record."""
    APPLICATION = "application"
    """A SIP application behind the front end, by name."""
    OUTSIDE = "outside"
    """Another domain (RFC 3263), if policy allows."""


@dataclass(frozen=True, slots=True)
class RouteRow:
    """One row; a condition that is empty fits everything."""

    destination: Destination
    application: str = ""
    methods: frozenset[str] = frozenset()
    events: frozenset[str] = frozenset()
    opaque: str = ""
    """Prefix of the ``opaque`` parameter of the Request-URI, as ``app:conf:`` (MS-SIPRE 2.2.3)."""
    domains: frozenset[str] = frozenset()
    user: str = ""
    """Regular expression for the whole user part; "" fits all, also no user at all."""
    has_user: bool | None = None
    content_types: frozenset[str] = frozenset()
    ours: bool = False
    """Only domains that are ours."""
    messages: bool = False
    """Only offers of a session of messages."""

    def fits(
        self, method: str, event: str, uri: Uri, domain: str, content_type: str = "", *, messages: bool = False
    ) -> bool:
        """Whether the row takes a request; ``event``, ``domain`` and ``content_type`` are in lower case.

        ``messages``: the body offers a session of messages, and nothing else.
        """
        if self.messages and not messages:
            return False
        if self.content_types and content_type not in self.content_types:
            return False
        if self.methods and method not in self.methods:
            return False
        if self.events and event not in self.events:
            return False
        if self.domains and domain not in self.domains:
            return False
        if self.has_user is not None and bool(uri.user) is not self.has_user:
            return False
        if self.opaque:
            value = uri.params.get("opaque") or ""
            if not value.lower().startswith(self.opaque):
                return False
        return not self.user or re.fullmatch(self.user, uri.user or "") is not None


_APPLICATION = Destination.APPLICATION

APPLICATION_ROWS: Final = (
    # what an application named itself in a Contact or a GRUU of its own
    RouteRow(_APPLICATION, "immcu", opaque="app:conf:chat:"),
    RouteRow(_APPLICATION, "conference", opaque="app:conf:"),
    RouteRow(_APPLICATION, "presence", opaque="app:presence"),
    RouteRow(_APPLICATION, "messaging", opaque="app:messaging"),
    # credentials of the media relay
    RouteRow(_APPLICATION, "avedge", opaque="srvr:mras"),
    RouteRow(
        _APPLICATION, "avedge", methods=frozenset({"SERVICE"}), ours=True,
        content_types=frozenset({"application/msrtc-media-relay-auth+xml"}),
    ),
    # single messages, and sessions of messages
    RouteRow(_APPLICATION, "messaging", methods=frozenset({"MESSAGE"}), has_user=True, ours=True),
    RouteRow(_APPLICATION, "messaging", methods=frozenset({"INVITE"}), has_user=True, ours=True, messages=True),
    # presence, contacts and settings of a user
    RouteRow(
        _APPLICATION, "presence", methods=frozenset({"SUBSCRIBE"}), has_user=True,
        events=frozenset({
            "presence", "presence.winfo", "dialog", "message-summary", "presence.wpending",
            "vnd-microsoft-roaming-contacts", "vnd-microsoft-roaming-self", "vnd-microsoft-roaming-acl",
            "vnd-microsoft-provisioning", "vnd-microsoft-provisioning-v2",
        }),
    ),
    RouteRow(_APPLICATION, "presence", methods=frozenset({"PUBLISH"}), events=frozenset({"presence"})),
    RouteRow(_APPLICATION, "presence", methods=frozenset({"SERVICE"}), has_user=True),
    # search in the directory
    RouteRow(_APPLICATION, "search", methods=frozenset({"SERVICE"}), has_user=False),
)  # fmt: skip
"""Applications of Parley itself; a row is in force when its application runs here or has a target."""


@dataclass(frozen=True, slots=True)
class Route:
    """The decision for one request."""

    destination: Destination
    application: str = ""
    aor: str = ""
    """Address of record of the user, for `Destination.USER`."""


class RoutingTable:
    """The rows in force and the domains that are ours."""

    def __init__(self, domains: Sequence[str], applications: Sequence[RouteRow] = ()) -> None:
        self.domains = frozenset(domain.lower() for domain in domains)
        self.rows = (
            *(replace(row, domains=self.domains) if row.ours else row for row in applications),
            RouteRow(Destination.SERVER, domains=self.domains, has_user=False),
            RouteRow(Destination.USER, domains=self.domains, has_user=True),
            RouteRow(Destination.OUTSIDE),
        )

    def route(
        self, method: str, event: str, uri: Uri, own_addresses: frozenset[str] = frozenset(), content_type: str = "",
        *, messages: bool = False,
    ) -> Route:  # fmt: skip
        """Where a request goes. ``own_addresses``: hosts under which clients reach this server without its domain.

        ``messages``: its body offers a session of messages, and nothing else.
        """
        domain = (uri.host or "").lower()
        if domain in own_addresses and not uri.user:
            return Route(Destination.SERVER)
        for row in self.rows:
            if row.fits(method, event, uri, domain, content_type, messages=messages):
                aor = f"sip:{uri.user}@{domain}" if row.destination is Destination.USER else ""
                return Route(row.destination, row.application, aor)
        return Route(Destination.SERVER)

    def past_applications(self, uri: Uri) -> Route:
        """Where a request goes that an application lets proceed."""
        domain = uri.host.lower()
        if domain not in self.domains:
            return Route(Destination.OUTSIDE)
        return Route(Destination.USER, aor=f"sip:{uri.user}@{domain}") if uri.user else Route(Destination.SERVER)
