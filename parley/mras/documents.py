"""Requests for relay credentials and their answers (MS-AVEDGEA section 2.2), XML in a SIP SERVICE."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum
from typing import Final

from lxml import etree

from parley.xml import XmlError, child, children, local_name, parse_xml, text_of

CONTENT_TYPE: Final = "application/msrtc-media-relay-auth+xml"
NAMESPACE: Final = "http://schemas.microsoft.com/2006/09/sip/mrasp"
VERSIONS: Final = ("1.0", "2.0")
MAX_BYTES: Final = 65_536
MAX_CREDENTIALS: Final = 100
MAX_ID: Final = 64
MAX_URI: Final = 454
MAX_MINUTES: Final = 525_600
_MAX_DEPTH: Final = 8


class Phrase(Enum):
    """Values of ``reasonPhrase``, each with the SIP status it goes with."""

    OK = ("OK", 200)
    REQUEST_MALFORMED = ("Request Malformed", 400)
    REQUEST_TOO_LARGE = ("Request Too Large", 413)
    NOT_SUPPORTED = ("Not Supported", 501)
    SERVER_BUSY = ("Server Busy", 503)
    TIME_OUT = ("Time Out", 504)
    FORBIDDEN = ("Forbidden", 403)
    INTERNAL_SERVER_ERROR = ("Internal Server Error", 500)
    OTHER_FAILURE = ("Other Failure", 500)
    VERSION_MISMATCH = ("Version Mismatch", 400)

    def __init__(self, text: str, status: int) -> None:
        self.text = text
        self.status = status


class Location(StrEnum):
    """Which side of the edge a client is on, and a relay's address is for."""

    INTERNET = "internet"
    INTRANET = "intranet"


@dataclass(frozen=True, slots=True)
class Envelope:
    """What names a request; an answer repeats it as it is, whatever comes of it."""

    request_id: str = ""
    sender: str = ""
    to: str = ""
    version: str = VERSIONS[0]


class MrasError(ValueError):
    """A request that is refused, with what could be read of its envelope."""

    def __init__(self, phrase: Phrase, text: str, envelope: Envelope = Envelope()) -> None:
        super().__init__(text)
        self.phrase = phrase
        self.envelope = envelope


@dataclass(frozen=True, slots=True)
class CredentialsRequest:
    """One wish. ``minutes``: 0 when the request does not say how long."""

    id: str
    identity: str
    location: Location | None = None
    minutes: int = 0


@dataclass(frozen=True, slots=True)
class MrasRequest:
    """A whole request. ``route``: "loadbalanced", "directip" or ""."""

    envelope: Envelope
    credentials: tuple[CredentialsRequest, ...]
    route: str = ""


@dataclass(frozen=True, slots=True)
class MediaRelay:
    """A relay as clients reach it. ``tcp_port`` 443 means pseudo-TLS to them, any other port plain frames."""

    location: Location
    host_name: str
    udp_port: int
    tcp_port: int


@dataclass(frozen=True, slots=True)
class CredentialsResponse:
    """The answer to one wish. ``username``, ``password``: binary."""

    id: str
    username: bytes
    password: bytes = field(repr=False)
    minutes: int
    relays: tuple[MediaRelay, ...]
    realm: str = ""


@dataclass(frozen=True, slots=True)
class MrasResponse:
    """A whole answer, as a client reads it."""

    envelope: Envelope
    phrase: str
    credentials: tuple[CredentialsResponse, ...] = field(default=())


def parse_request(body: bytes) -> MrasRequest:
    """Raises MrasError."""
    root = _read(body, "request")
    envelope = Envelope(
        (root.get("requestID") or "").strip(), (root.get("from") or "").strip(), (root.get("to") or "").strip(),
        (root.get("version") or "").strip(),
    )  # fmt: skip
    _within(envelope.request_id, MAX_ID, "requestID")
    _within(envelope.sender, MAX_URI, "from")
    _within(envelope.to, MAX_URI, "to")
    if envelope.version not in VERSIONS:
        known = replace(envelope, version=VERSIONS[0])
        raise MrasError(Phrase.VERSION_MISMATCH, f"version {envelope.version[:16]!r} is not known", known)
    try:
        return MrasRequest(envelope, _wishes(root), _route(root))
    except MrasError as error:
        error.envelope = envelope
        raise


def write_request(request: MrasRequest) -> bytes:
    """The document of a request."""
    root = _root("request", request.envelope)
    if request.route:
        root.set("route", request.route)
    for wish in request.credentials:
        element = _add(root, "credentialsRequest")
        element.set("credentialsRequestID", wish.id)
        _add(element, "identity", wish.identity)
        if wish.location is not None:
            _add(element, "location", wish.location)
        if wish.minutes:
            _add(element, "duration", str(wish.minutes))
    return _to_bytes(root)


def write_response(envelope: Envelope, phrase: Phrase, credentials: Sequence[CredentialsResponse] = ()) -> bytes:
    """The document of an answer; one that says no has no credentials."""
    root = _root("response", envelope)
    root.set("serverVersion", VERSIONS[0])
    root.set("reasonPhrase", phrase.text)
    for answer in credentials:
        element = _add(root, "credentialsResponse")
        element.set("credentialsRequestID", answer.id)
        inner = _add(element, "credentials")
        _add(inner, "username", b64encode(answer.username).decode())
        _add(inner, "password", b64encode(answer.password).decode())
        _add(inner, "duration", str(answer.minutes))
        if answer.realm:
            _add(inner, "realm", answer.realm)
        relays = _add(element, "mediaRelayList")
        for relay in answer.relays:
            row = _add(relays, "mediaRelay")
            _add(row, "location", relay.location)
            _add(row, "hostName", relay.host_name)
            _add(row, "udpPort", str(relay.udp_port))
            _add(row, "tcpPort", str(relay.tcp_port))
    return _to_bytes(root)


def parse_response(body: bytes) -> MrasResponse:
    """Raises MrasError."""
    root = _read(body, "response")
    envelope = Envelope(root.get("requestID") or "", root.get("from") or "", root.get("to") or "", root.get("version") or "")
    answers = tuple(_answer(element) for element in children(root, "credentialsResponse"))
    return MrasResponse(envelope, root.get("reasonPhrase") or "", answers)


def _read(body: bytes, name: str) -> etree._Element:
    if len(body) > MAX_BYTES:
        raise MrasError(Phrase.REQUEST_TOO_LARGE, f"the document has {len(body)} bytes, at most {MAX_BYTES} are taken")
    try:
        root = parse_xml(body, max_bytes=MAX_BYTES, max_depth=_MAX_DEPTH)
    except XmlError as error:
        raise MrasError(Phrase.REQUEST_MALFORMED, str(error)) from None
    if local_name(root) != name:
        raise MrasError(Phrase.REQUEST_MALFORMED, f"the document is {local_name(root)[:64]}, not {name}")
    return root


def _route(root: etree._Element) -> str:
    route = (root.get("route") or "").strip().lower()
    if route not in ("", "loadbalanced", "directip"):
        raise MrasError(Phrase.NOT_SUPPORTED, f"the route {route[:32]!r} is not known")
    return route


def _wishes(root: etree._Element) -> tuple[CredentialsRequest, ...]:
    elements = children(root, "credentialsRequest")
    if not elements:
        raise MrasError(Phrase.REQUEST_MALFORMED, "the request asks for no credentials")
    if len(elements) > MAX_CREDENTIALS:
        raise MrasError(Phrase.REQUEST_TOO_LARGE, f"more than {MAX_CREDENTIALS} credentials are asked for at once")
    return tuple(_wish(element) for element in elements)


def _wish(element: etree._Element) -> CredentialsRequest:
    name = (element.get("credentialsRequestID") or "").strip()
    identity = text_of(child(element, "identity"))
    _within(name, MAX_ID, "credentialsRequestID")
    _within(identity, MAX_URI, "identity")
    if not name or not identity:
        raise MrasError(Phrase.REQUEST_MALFORMED, "a credentialsRequest lacks its id or its identity")
    location, duration = text_of(child(element, "location")).lower(), text_of(child(element, "duration"))
    if location and location not in list(Location):
        raise MrasError(Phrase.REQUEST_MALFORMED, f"the location {location[:32]!r} is not known")
    return CredentialsRequest(name, identity, Location(location) if location else None, _minutes(duration))


def _minutes(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or not 0 < int(text) <= MAX_MINUTES:
        raise MrasError(Phrase.REQUEST_MALFORMED, "the duration is no number of minutes that makes sense")
    return int(text)


def _answer(element: etree._Element) -> CredentialsResponse:
    inner, relays = child(element, "credentials"), child(element, "mediaRelayList")
    if inner is None:
        raise MrasError(Phrase.REQUEST_MALFORMED, "a credentialsResponse holds no credentials")
    try:
        username = b64decode(text_of(child(inner, "username")), validate=True)
        password = b64decode(text_of(child(inner, "password")), validate=True)
    except (Base64Error, ValueError):
        raise MrasError(Phrase.REQUEST_MALFORMED, "user name or password are no base64") from None
    rows = children(relays, "mediaRelay") if relays is not None else []
    return CredentialsResponse(
        element.get("credentialsRequestID") or "", username, password, _minutes(text_of(child(inner, "duration"))),
        tuple(_relay(row) for row in rows), text_of(child(inner, "realm")),
    )  # fmt: skip


def _relay(row: etree._Element) -> MediaRelay:
    location, ports = text_of(child(row, "location")), [text_of(child(row, name)) for name in ("udpPort", "tcpPort")]
    if location not in list(Location) or not all(port.isascii() and port.isdigit() and len(port) <= 5 for port in ports):
        raise MrasError(Phrase.REQUEST_MALFORMED, "a mediaRelay makes no sense")
    host = text_of(child(row, "hostName")) or text_of(child(row, "directIPAddress"))
    return MediaRelay(Location(location), host, int(ports[0]), int(ports[1]))


def _within(value: str, limit: int, what: str) -> None:
    if len(value) > limit:
        raise MrasError(Phrase.REQUEST_MALFORMED, f"{what} has more than {limit} characters")


def _root(name: str, envelope: Envelope) -> etree._Element:
    root = etree.Element(f"{{{NAMESPACE}}}{name}", nsmap={None: NAMESPACE})
    root.set("requestID", envelope.request_id)
    root.set("version", envelope.version)
    root.set("to", envelope.to)
    root.set("from", envelope.sender)
    return root


def _add(parent: etree._Element, name: str, text: str = "") -> etree._Element:
    element = etree.SubElement(parent, f"{{{NAMESPACE}}}{name}")
    element.text = text or None
    return element


def _to_bytes(root: etree._Element) -> bytes:
    return bytes(etree.tostring(root, encoding="utf-8", xml_declaration=True))
