"""Which path is whose, readable at a glance: a table of rows, each with its method, who may, and what it takes.

Paths are matched without case, as clients of these services expect. A segment in braces stands for any one
(``{address}``), as the last one with dots for all that follow (``{path...}``); a row without braces wins over one with them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from aiohttp import web

if TYPE_CHECKING:
    from services.web.openapi import Operation

TICKETS: Final = "/WebTicket/WebTicketService.svc"
TICKET_ENTRY: Final = TICKETS + "/Auth"
CERTIFICATES: Final = "/CertProv/CertProvisioningService.svc"
CERTIFICATE_ENTRY: Final = CERTIFICATES + "/WebTicket_Proof_SHA1"
ICE_SERVERS: Final = "/relay/ice-servers"

ADDRESS_BOOK: Final = "addressbook"
"""Audience of web tickets for address-book files, pictures and searches."""

XML: Final = "text/xml"
JSON: Final = "application/json"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Access(Enum):
    """Who may use a route. What is not OPEN has a `Caller`, see `caller_of`."""

    OPEN = "open"
    """Anybody; or the handler judges the request itself."""
    USER = "user"
    """Whoever has signed in, with any scheme."""
    ADMIN = "admin"
    """Whoever has signed in and is listed in ``web.administrators``."""
    PROVISIONER = "provisioner"
    """Who shows a token of ``web.scim``."""


class Style(Enum):
    """How a failure is told."""

    SOAP = "soap"
    """A fault in an envelope."""
    PROBLEM = "problem"
    """Problem details (RFC 9457)."""
    SCIM = "scim"
    """An Error message (RFC 7644 section 3.12)."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who has signed in."""

    address: str
    """Address of record, "sip:alice@example.test"; "" for a provisioner."""
    display_name: str
    version: int
    """Of the user, as in Credentials."""
    scheme: str
    """How: "ntlm", "negotiate", "basic", "bearer", "ticket", "session"."""
    is_admin: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table."""

    method: str
    path: str
    handler: Handler
    access: Access = Access.OPEN
    style: Style = Style.SOAP
    body_bytes: int = 0
    """Largest body; 0: ``web.limits.body_bytes``."""
    content_types: tuple[str, ...] = ()
    """What a body may be; none: anything."""
    seconds: float = 0.0
    """Longest time for the request and its answer; 0: ``web.limits.request_seconds``."""
    audience: str = ""
    """Web tickets for this service are taken in X-MS-WebTicket; "" none are."""
    operation: Operation | None = None
    """What the OpenAPI document says of it; None: it is not in there."""

    @property
    def name(self) -> str:
        """For spans, metrics and logs."""
        return f"{self.method} {self.path}"


@dataclass(frozen=True, slots=True)
class Match:
    """What a path came to."""

    route: Route | None
    """None when there is none for the method."""
    methods: tuple[str, ...]
    """Those that the path has; none: there is nothing there."""
    parameters: Mapping[str, str]


_NOTHING: Final = Match(None, (), {})


class RouteTable:
    """Finds the row for a request."""

    def __init__(self, routes: Sequence[Route]) -> None:
        """Raises ValueError when two rows are for the same requests."""
        self.routes = tuple(routes)
        self._fixed: dict[str, dict[str, Route]] = {}
        self._patterns: dict[str, dict[str, Route]] = {}
        for route in routes:
            table = self._patterns if "{" in route.path else self._fixed
            rows = table.setdefault(_shape(route.path), {})
            if route.method in rows:
                raise ValueError(f"two routes for {route.name}")
            rows[route.method] = route
        self._split = [(shape.split("/"), rows) for shape, rows in self._patterns.items()]

    def find(self, method: str, raw_path: str) -> Match:
        """``raw_path``: as it came, percent-encoded."""
        parts = [unquote(part) for part in raw_path.split("/")]
        rows = self._fixed.get("/".join(parts).lower()) if "/" not in "".join(parts) else None
        if rows is None:
            rows = next((rows for shape, rows in self._split if _fits(shape, parts)), None)
        if rows is None:
            return _NOTHING
        route = rows.get(method) or (rows.get("GET") if method == "HEAD" else None)
        return Match(route, _methods(rows), _parameters(route.path, parts) if route is not None else {})


def _methods(rows: Mapping[str, Route]) -> tuple[str, ...]:
    """Those of a path; what can be got can be asked for its headers alone (RFC 9110 section 9.1)."""
    return tuple(dict.fromkeys([*rows, *(["HEAD"] if "GET" in rows else [])]))


def _shape(path: str) -> str:
    parts = path.lower().split("/")
    return "/".join("{...}" if part.endswith("...}") else "{}" if part.startswith("{") else part for part in parts)


def _fits(shape: list[str], parts: list[str]) -> bool:
    if shape[-1] == "{...}":
        if len(parts) < len(shape):
            return False
    elif len(parts) != len(shape):
        return False
    return all(
        (bool(part) if name == "{}" else part.lower() == name)
        for name, part in zip(shape, parts, strict=False)
        if name != "{...}"
    )


def _parameters(path: str, parts: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, name in enumerate(path.split("/")):
        if name.endswith("...}"):
            found[name[1:-4]] = "/".join(parts[number:])
        elif name.startswith("{"):
            found[name[1:-1]] = parts[number]
    return found


_CALLER: Final = web.RequestKey("caller", Caller)
_PARAMETERS: Final = web.RequestKey("parameters", Mapping[str, str])
_LIMIT: Final = web.RequestKey("body_limit", int)
_REQUEST_ID: Final = web.RequestKey("request_id", str)
_HEADERS: Final = web.RequestKey("headers", list[tuple[str, str]])


def caller_of(request: web.Request) -> Caller:
    """Who sent a request on a route that is not OPEN."""
    return request[_CALLER]


def parameter(request: web.Request, name: str) -> str:
    """What stands in the path for ``{name}``: decoded, so it may hold anything, slashes and dots too."""
    return request[_PARAMETERS][name]


def body_limit(request: web.Request) -> int:
    """Bytes that the body may have."""
    return request[_LIMIT]


def request_id(request: web.Request) -> str:
    """What the request is known by, in logs and answers."""
    value: str = request.get(_REQUEST_ID, "")
    return value


def note(
    request: web.Request, *, caller: Caller | None = None, parameters: Mapping[str, str] | None = None, limit: int = 0,
    id: str = "",
) -> None:  # fmt: skip
    """Keeps what handlers ask for with `caller_of`, `parameter`, `body_limit` and `request_id`."""
    if caller is not None:
        request[_CALLER] = caller
    if parameters is not None:
        request[_PARAMETERS] = parameters
    if limit:
        request[_LIMIT] = limit
    if id:
        request[_REQUEST_ID] = id


def add_header(request: web.Request, name: str, value: str) -> None:
    """Adds a header to the answer, whatever the handler makes of it."""
    if _HEADERS not in request:
        request[_HEADERS] = []
    request[_HEADERS].append((name, value))


def headers_of(request: web.Request) -> Sequence[tuple[str, str]]:
    """What `add_header` added."""
    headers: Sequence[tuple[str, str]] = request.get(_HEADERS, ())
    return headers


@dataclass(slots=True)
class Urls:
    """How clients reach these services."""

    base: str
    """As https://web.example.com:8443."""

    @property
    def host(self) -> str:
        """The name in it."""
        return urlsplit(self.base).hostname or ""

    def of(self, path: str) -> str:
        """The URL of a path."""
        return self.base + path
