"""SIP messages: bytes in, bytes out (RFC 3261 section 7).

The head is decoded once (UTF-8; bytes that are none survive as surrogates) and cut into header lines, folds included.
Headers are parsed when first asked for. What is not changed is written back byte for byte; an edit touches only its own
lines. Values handed out by the typed properties are cached: change a message through its methods, not through them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from parley.sip.errors import SipParseError
from parley.sip.headers import canonical_name, is_token, known_name, split_comma, unfold
from parley.sip.limits import DEFAULT_LIMITS, Limits
from parley.sip.nameaddr import NameAddr, parse_name_addr
from parley.sip.status import reason_phrase
from parley.sip.uri import Uri, shared_uri
from parley.sip.via import Via, parse_via

_ENCODING = "utf-8"
_ERRORS = "surrogateescape"

MAX_CSEQ = 2**31 - 1
"""CSeq numbers are below 2**31 (RFC 3261 section 8.1.1.5)."""


class CSeq:
    """The number and method of a CSeq header."""

    __slots__ = ("method", "number")

    def __init__(self, number: int, method: str) -> None:
        self.number: int = number
        self.method: str = method

    def __str__(self) -> str:
        return f"{self.number} {self.method}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CSeq) and self.number == other.number and self.method == other.method

    def __hash__(self) -> int:
        return hash((self.number, self.method))


class Message:
    """What requests and responses share: headers in their order, and a body."""

    __slots__ = ("_cseq", "_from", "_lines", "_names", "_to", "_via", "body")

    def __init__(self, lines: list[str], names: list[str], body: bytes) -> None:
        self._lines: list[str] = lines
        self._names: list[str] = names
        self.body: bytes = body
        self._via: Via | None = None
        self._from: NameAddr | None = None
        self._to: NameAddr | None = None
        self._cseq: CSeq | None = None

    # Reading

    @property
    def start_line(self) -> str:
        """The first line, without its line end."""
        raise NotImplementedError

    def get(self, name: str) -> str | None:
        """The first value of a header, unfolded and stripped; None when it is absent."""
        key = canonical_name(name)
        names = self._names
        if key not in names:
            return None
        return self._value(names.index(key))

    def get_all(self, name: str) -> list[str]:
        """The value of every line of that header, in order."""
        key = canonical_name(name)
        return [self._value(index) for index, other in enumerate(self._names) if other == key]

    def values(self, name: str) -> list[str]:
        """The comma-separated values of all lines of that header, in order."""
        values: list[str] = []
        for value in self.get_all(name):
            values.extend(split_comma(value))
        return values

    def headers(self) -> Iterator[tuple[str, str]]:
        """Names and values of all header lines, in order, as they were written (folds included)."""
        for line in self._lines:
            name, _, value = line.partition(":")
            yield name.rstrip(" \t"), value

    def _value(self, index: int) -> str:
        value = self._lines[index].partition(":")[2]
        if "\n" in value:
            return unfold(value)
        return value.strip(" \t")

    def __contains__(self, name: str) -> bool:
        return canonical_name(name) in self._names

    # Changing

    def set(self, name: str, value: str) -> None:
        """Replaces all lines of a header by one, where the first one was, or at the end."""
        key = canonical_name(name)
        names = self._names
        line = f"{name}: {value}"
        if key not in names:
            self._lines.append(line)
            names.append(key)
        else:
            first = names.index(key)
            self._lines[first] = line
            if names.count(key) > 1:
                keep = [i for i, other in enumerate(names) if other != key or i == first]
                self._lines = [self._lines[i] for i in keep]
                self._names = [names[i] for i in keep]
        self._changed(key)

    def add(self, name: str, value: str) -> None:
        """Adds a line after the last one of that header, or at the end."""
        key = canonical_name(name)
        names = self._names
        at = len(names)
        if key in names:
            at -= names[::-1].index(key)
        self._lines.insert(at, f"{name}: {value}")
        names.insert(at, key)
        self._changed(key)

    def prepend(self, name: str, value: str) -> None:
        """Adds a line before the first one of that header, or at the top."""
        key = canonical_name(name)
        names = self._names
        at = names.index(key) if key in names else 0
        self._lines.insert(at, f"{name}: {value}")
        names.insert(at, key)
        self._changed(key)

    def remove(self, name: str) -> None:
        """Removes all lines of a header."""
        key = canonical_name(name)
        names = self._names
        if key not in names:
            return
        keep = [i for i, other in enumerate(names) if other != key]
        self._lines = [self._lines[i] for i in keep]
        self._names = [names[i] for i in keep]
        self._changed(key)

    def remove_first_value(self, name: str) -> None:
        """Removes the first comma-separated value of a header, with its line when it was the only one there."""
        key = canonical_name(name)
        names = self._names
        if key not in names:
            return
        index = names.index(key)
        values = split_comma(self._value(index))
        if len(values) > 1:
            self._lines[index] = self._lines[index].partition(":")[0] + ": " + ", ".join(values[1:])
        else:
            del self._lines[index]
            del names[index]
        self._changed(key)

    def replace_via(self, via: Via) -> None:
        """Replaces the topmost Via by another form of it, as one with ``received`` added."""
        names = self._names
        index = names.index("via")
        rest = split_comma(self._value(index))[1:] if "," in self._lines[index] else []
        self._lines[index] = f"Via: {', '.join([str(via), *rest])}" if rest else f"Via: {via}"
        self._via = via

    def set_body(self, body: bytes, content_type: str | None = None) -> None:
        """Replaces the body and sets Content-Length; ``content_type`` None leaves that header alone."""
        self.body = body
        if content_type is not None:
            self.set("Content-Type", content_type)
        self.set("Content-Length", str(len(body)))

    def _changed(self, key: str) -> None:
        if key == "via":
            self._via = None
        elif key == "from":
            self._from = None
        elif key == "to":
            self._to = None
        elif key == "cseq":
            self._cseq = None

    # Typed headers

    @property
    def via(self) -> Via:
        """The topmost Via. Raises SipParseError 400 when absent or unreadable."""
        via = self._via
        if via is None:
            value = self.get("via")
            if value is None:
                raise SipParseError(400, "Missing Via")
            via = self._via = parse_via(split_comma(value)[0] if "," in value else value)
        return via

    @property
    def vias(self) -> list[Via]:
        """All Via values, topmost first."""
        return [parse_via(value) for value in self.values("via")]

    @property
    def from_(self) -> NameAddr:
        """From. Raises SipParseError 400 when absent or unreadable."""
        value = self._from
        if value is None:
            value = self._from = self._single("from", "From")
        return value

    @property
    def to(self) -> NameAddr:
        """To. Raises SipParseError 400 when absent or unreadable."""
        value = self._to
        if value is None:
            value = self._to = self._single("to", "To")
        return value

    @property
    def from_tag(self) -> str | None:
        """The tag of From."""
        return self.from_.params.get("tag")

    @property
    def to_tag(self) -> str | None:
        """The tag of To; None outside a dialog."""
        return self.to.params.get("tag")

    @property
    def call_id(self) -> str:
        """Call-ID. Raises SipParseError 400 when absent or empty."""
        value = self.get("call-id")
        if not value:
            raise SipParseError(400, "Missing Call-ID")
        return value

    @property
    def cseq(self) -> CSeq:
        """CSeq. Raises SipParseError 400 when absent or unreadable."""
        cseq = self._cseq
        if cseq is None:
            value = self.get("cseq")
            if value is None:
                raise SipParseError(400, "Missing CSeq")
            parts = value.split()
            number = parts[0] if len(parts) == 2 else ""
            if not (number.isascii() and number.isdigit()) or len(number) > 20 or not is_token(parts[1]):
                raise SipParseError(400, "Bad CSeq")
            if int(number) > MAX_CSEQ:
                raise SipParseError(400, "CSeq Out of Range")
            cseq = self._cseq = CSeq(int(number), parts[1])
        return cseq

    @property
    def contacts(self) -> list[NameAddr] | Literal["*"]:
        """All Contact values, or "*". Raises SipParseError 400."""
        values = self.values("contact")
        if values == ["*"]:
            return "*"
        if "*" in values:
            raise SipParseError(400, "Contact * Beside Others")
        return [parse_name_addr(value) for value in values]

    @property
    def routes(self) -> list[NameAddr]:
        """All Route values, the next hop first."""
        return [parse_name_addr(value) for value in self.values("route")]

    @property
    def record_routes(self) -> list[NameAddr]:
        """All Record-Route values, topmost first."""
        return [parse_name_addr(value) for value in self.values("record-route")]

    @property
    def paths(self) -> list[NameAddr]:
        """All Path values (RFC 3327), topmost first."""
        return [parse_name_addr(value) for value in self.values("path")]

    @property
    def max_forwards(self) -> int | None:
        """Max-Forwards. Raises SipParseError 400 when it is no number from 0 to 255."""
        number = self._number("max-forwards", "Max-Forwards", 3)
        if number is not None and number > 255:
            raise SipParseError(400, "Bad Max-Forwards")
        return number

    @property
    def expires(self) -> int | None:
        """Expires in seconds, at most 2**32-1; an unreadable value is None (RFC 3261 section 20.19: treated as absent)."""
        value = self.get("expires")
        if value is None or not (value.isascii() and value.isdigit()):
            return None
        return min(int(value), 2**32 - 1) if len(value) < 20 else 2**32 - 1

    @property
    def content_length(self) -> int | None:
        """Content-Length in bytes. Raises SipParseError 400 when it is no number, or several differ."""
        return self._number("content-length", "Content-Length", 10)

    def _number(self, key: str, name: str, digits: int) -> int | None:
        names = self._names
        if key not in names:
            return None
        value = self._value(names.index(key))
        differs = names.count(key) > 1 and len(set(self.get_all(key))) > 1
        if differs or not (value.isascii() and value.isdigit()) or len(value) > digits:
            raise SipParseError(400, f"Bad {name}")
        return int(value)

    def _single(self, key: str, name: str) -> NameAddr:
        if key not in self._names:
            raise SipParseError(400, f"Missing {name}")
        if self._names.count(key) > 1:
            raise SipParseError(400, f"Several {name} Headers")
        try:
            return parse_name_addr(self._value(self._names.index(key)))
        except SipParseError as error:
            raise SipParseError(error.status, f"{error.reason} in {name}") from None

    # Writing

    def __bytes__(self) -> bytes:
        head = self.start_line + "\r\n" + "\r\n".join(self._lines)
        return (head + ("\r\n\r\n" if self._lines else "\r\n")).encode(_ENCODING, _ERRORS) + self.body


class Request(Message):
    """A SIP request."""

    __slots__ = ("_uri", "method", "uri_text", "version")

    def __init__(
        self,
        method: str,
        uri_text: str,
        lines: list[str],
        names: list[str],
        body: bytes,
        version: str = "SIP/2.0",
    ) -> None:
        super().__init__(lines, names, body)
        self.method: str = method
        self.uri_text: str = uri_text
        self.version: str = version
        self._uri: Uri | None = None

    @classmethod
    def create(cls, method: str, uri: str | Uri, *, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> Request:
        """A new request; a Content-Length is added when the headers have none."""
        lines, names = _header_lines(headers, body)
        return cls(method, str(uri), lines, names, body)

    @property
    def start_line(self) -> str:
        """Method, Request-URI and version."""
        return f"{self.method} {self.uri_text} {self.version}"

    @property
    def uri(self) -> Uri:
        """The Request-URI. Raises SipParseError 400 when unreadable."""
        if self._uri is None:
            self._uri = shared_uri(self.uri_text)
        return self._uri

    def set_uri(self, uri: str | Uri) -> None:
        """Replaces the Request-URI."""
        self.uri_text = str(uri)
        self._uri = None

    def copy(self) -> Request:
        """A copy that can be changed alone; what was parsed is not parsed again."""
        other = Request(self.method, self.uri_text, self._lines.copy(), self._names.copy(), self.body, self.version)
        other._via, other._from, other._to, other._cseq = self._via, self._from, self._to, self._cseq
        return other

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.uri_text}>"


class Response(Message):
    """A SIP response."""

    __slots__ = ("reason", "status", "version")

    def __init__(
        self,
        status: int,
        reason: str,
        lines: list[str],
        names: list[str],
        body: bytes,
        version: str = "SIP/2.0",
    ) -> None:
        super().__init__(lines, names, body)
        self.status: int = status
        self.reason: str = reason
        self.version: str = version

    @classmethod
    def create(
        cls,
        status: int,
        reason: str | None = None,
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> Response:
        """A new response; a Content-Length is added when the headers have none."""
        lines, names = _header_lines(headers, body)
        return cls(status, reason_phrase(status) if reason is None else reason, lines, names, body)

    @property
    def start_line(self) -> str:
        """Version, status and reason."""
        return f"{self.version} {self.status} {self.reason}"

    def copy(self) -> Response:
        """A copy that can be changed alone; what was parsed is not parsed again."""
        other = Response(self.status, self.reason, self._lines.copy(), self._names.copy(), self.body, self.version)
        other._via, other._from, other._to, other._cseq = self._via, self._from, self._to, self._cseq
        return other

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.reason}>"


def _header_lines(headers: Iterable[tuple[str, str]], body: bytes) -> tuple[list[str], list[str]]:
    lines: list[str] = []
    names: list[str] = []
    for name, value in headers:
        if "\r" in value or "\n" in value or "\r" in name or "\n" in name:
            raise SipParseError(400, "Line End in Header")
        lines.append(f"{name}: {value}")
        names.append(canonical_name(name))
    if "content-length" not in names:
        lines.append(f"Content-Length: {len(body)}")
        names.append("content-length")
    return lines, names


def make_response(
    request: Request,
    status: int,
    reason: str | None = None,
    *,
    to_tag: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    record_route: bool = False,
) -> Response:
    """The response to a request (RFC 3261 section 8.2.6): Via, From, To, Call-ID and CSeq copied.

    ``to_tag`` is put on To unless it has a tag, but not on a 100. ``record_route`` copies Record-Route, as a response that
    creates a dialog must. ``headers`` follow in their order.
    """
    lines: list[str] = []
    names: list[str] = []
    source_lines = request._lines
    for index, key in enumerate(request._names):
        if key == "via" or key == "from" or key == "call-id" or key == "cseq":
            lines.append(source_lines[index])
            names.append(key)
        elif key == "to":
            line = source_lines[index]
            if to_tag is not None and status != 100 and not _has_tag(request):
                line = f"{line.rstrip()};tag={to_tag}"
            lines.append(line)
            names.append(key)
        elif record_route and key == "record-route":
            lines.append(source_lines[index])
            names.append(key)
    for name, value in headers:
        if "\r" in value or "\n" in value:
            raise SipParseError(400, "Line End in Header")
        lines.append(f"{name}: {value}")
        names.append(canonical_name(name))
    lines.append(f"Content-Length: {len(body)}")
    names.append("content-length")
    return Response(status, reason_phrase(status) if reason is None else reason, lines, names, body)


def _has_tag(request: Request) -> bool:
    try:
        return request.to_tag is not None
    except SipParseError:
        return True  # an unreadable To is echoed as it came


def parse_message(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Request | Response:
    """Reads one message, as from a datagram or cut out of a stream by its framer.

    The body is what Content-Length says; what follows it is dropped, and without one all the rest is the body (RFC 3261
    section 18.3). Raises SipParseError: 400 for what is malformed, 413 and 513 for what is too large, 414 for a long URI,
    505 for another version.
    """
    if len(data) > limits.message:
        raise SipParseError(513, "Message Too Large", _salvage(data[: limits.head]))
    end = data.find(b"\r\n\r\n")
    if end >= 0:
        head, body = data[:end], data[end + 4 :]
    else:
        head, body = _loose_head(data)
    if len(head) > limits.head:
        raise SipParseError(513, "Message Head Too Large", _salvage(head[: limits.head]))
    text = head.decode(_ENCODING, _ERRORS)
    rows = text.split("\r\n")
    start = rows[0]
    del rows[0]
    if len(rows) > limits.header_lines:
        raise SipParseError(513, "Too Many Headers", _salvage(head))
    message = _parse_head(start, rows, body, limits)
    length = message.content_length if "content-length" in message._names else None
    if length is not None:
        if length > limits.body:
            raise SipParseError(413, "Body Too Large", _as_request(message))
        if length > len(body):
            raise SipParseError(400, "Body Shorter Than Content-Length", _as_request(message))
        if length < len(body):
            message.body = body[:length]
    return message


def _parse_head(start: str, rows: list[str], body: bytes, limits: Limits) -> Request | Response:
    names: list[str] = []
    lines: list[str] = []
    fault = ""
    for row in rows:
        if row[:1] in (" ", "\t"):
            if not lines:
                fault = fault or "Fold Before the First Header"
                continue
            lines[-1] = f"{lines[-1]}\r\n{row}"
            continue
        name = row[: row.find(":")]
        key = known_name(name)
        if key is None:
            if ":" not in row or not name:
                fault = fault or "Header Without Colon"
                continue
            key = canonical_name(name)
            if not is_token(key):
                fault = fault or "Bad Header Name"
        lines.append(row)
        names.append(key)
        if len(row) > limits.header_line:
            fault = fault or "Header Too Long"
    if start[:4] == "SIP/":
        if fault:
            raise SipParseError(400, fault)
        return _parse_status_line(start, lines, names, body)
    request = _parse_request_line(start, lines, names, body, limits)
    if fault:
        raise SipParseError(400, fault, request)
    return request


def _parse_request_line(start: str, lines: list[str], names: list[str], body: bytes, limits: Limits) -> Request:
    method, _, rest = start.partition(" ")
    uri, space, version = rest.rpartition(" ")
    if not space or not is_token(method) or not version:
        raise SipParseError(400, "Bad Request Line")
    request = Request(method, uri, lines, names, body, version)
    if version != "SIP/2.0":
        if version.upper() == "SIP/2.0":
            request.version = "SIP/2.0"
        elif version[:4].upper() == "SIP/":
            raise SipParseError(505, "Version Not Supported", request)
        else:
            raise SipParseError(400, "Bad Request Line", request)
    if len(uri) > limits.uri:
        raise SipParseError(414, "Request-URI Too Long", request)
    if not uri or " " in uri or "\t" in uri or uri[0] == "<":
        raise SipParseError(400, "Bad Request-URI", request)
    return request


def _parse_status_line(start: str, lines: list[str], names: list[str], body: bytes) -> Response:
    version, _, rest = start.partition(" ")
    code, _, reason = rest.partition(" ")
    if len(code) != 3 or not (code.isascii() and code.isdigit()) or not 100 <= int(code) <= 699:
        raise SipParseError(400, "Bad Status Line")
    if version.upper() != "SIP/2.0":
        raise SipParseError(505, "Version Not Supported")
    return Response(int(code), reason, lines, names, body)


def _loose_head(data: bytes) -> tuple[bytes, bytes]:
    """Head and body of a message without the empty line after its headers."""
    if data.endswith(b"\r\n"):
        return data[:-2], b""
    raise SipParseError(400, "Head Without End", _salvage(data))


def _salvage(data: bytes) -> Request | None:
    """What can be read of a request that is refused, so that it can be answered."""
    rows = data.decode(_ENCODING, _ERRORS).split("\r\n")[:64]
    wanted = ("via", "from", "to", "call-id", "cseq")
    kept = [row for row in rows[1:] if canonical_name(row.partition(":")[0]) in wanted and ":" in row]
    try:
        message = _parse_head(rows[0], kept, b"", DEFAULT_LIMITS)
    except SipParseError as error:
        return error.message
    return _as_request(message)


def _as_request(message: Request | Response) -> Request | None:
    return message if isinstance(message, Request) else None
