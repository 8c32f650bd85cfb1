"""SIP messages: bytes in, bytes out (RFC 3261 section 7).

The head is decoded once (UTF-8; bytes that are none survive as surrogates) and cut into header lines, folds included.
What is not changed is written back byte for byte; an edit touches only its own lines.
"""

from __future__ import annotations

from collections.abc import Iterable

from parley.sip.basemessage import ENCODING, ERRORS, MAX_CSEQ, CSeq, Message
from parley.sip.errors import SipParseError
from parley.sip.headers import canonical_name, header_line, is_token, known_names
from parley.sip.limits import DEFAULT_LIMITS, Limits
from parley.sip.status import reason_phrase
from parley.sip.uri import Uri, parse_uri, shared_uri

__all__ = ["MAX_CSEQ", "CSeq", "Message", "Request", "Response", "make_response", "parse_message"]


_TO_END = " \t\r\n;"
"""What a To may end with that a tag must not follow."""


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
        """A new request; a Content-Length is added when the headers have none. Raises SipParseError as `set_uri`."""
        if not is_token(method):
            raise SipParseError(400, "Bad Method")
        lines, names = _header_lines(headers, body)
        return cls(method, _request_uri(uri), lines, names, body)

    @property
    def start_line(self) -> str:
        """Method, Request-URI and version."""
        return f"{self.method} {self.uri_text} {self.version}"

    @property
    def uri(self) -> Uri:
        """The Request-URI. Raises SipParseError 400 when unreadable or with headers, which it must not have."""
        uri = self._uri
        if uri is None:
            try:
                uri = shared_uri(self.uri_text)
            except SipParseError as error:
                raise self.refusal(error.status, error.reason) from None
            if uri.headers is not None:
                raise self.refusal(400, "Headers in Request-URI")
            self._uri = uri
        return uri

    def set_uri(self, uri: str | Uri) -> None:
        """Replaces the Request-URI; headers and a method in it are left out (RFC 3261 section 19.1.1, table 1).

        Raises SipParseError for a blank or line end in it.
        """
        self.uri_text = _request_uri(uri)
        self._uri = None

    def _answerable(self) -> Request | None:
        return self

    def copy(self) -> Request:
        """A copy that can be changed alone; what was parsed is not parsed again."""
        other = Request(self.method, self.uri_text, self._lines.copy(), self._names.copy(), self.body, self.version)
        other._via, other._from, other._to, other._cseq = self._via, self._from, self._to, self._cseq
        other._contacts, other._uri = self._contacts, self._uri
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
        return cls(status, reason_phrase(status) if reason is None else _one_line(reason), lines, names, body)

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
        lines.append(header_line(name, value))
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
    creates a dialog must, and a 100 copies Timestamp. ``headers`` follow in their order.
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
                line = f"{line.rstrip(_TO_END)};tag={to_tag}"
            lines.append(line)
            names.append(key)
        elif (record_route and key == "record-route") or (status == 100 and key == "timestamp"):
            lines.append(source_lines[index])
            names.append(key)
    for name, value in headers:
        lines.append(header_line(name, value))
        names.append(canonical_name(name))
    lines.append(f"Content-Length: {len(body)}")
    names.append("content-length")
    return Response(status, reason_phrase(status) if reason is None else _one_line(reason), lines, names, body)


def _one_line(reason: str) -> str:
    if "\r" in reason or "\n" in reason:
        raise SipParseError(400, "Line End in Reason Phrase")
    return reason


def _request_uri(uri: str | Uri) -> str:
    text = str(uri)
    if " " in text or "\r" in text or "\n" in text:
        raise SipParseError(400, "Bad Request-URI")
    if "?" in text or ";method=" in text:
        parsed = parse_uri(text)
        if parsed.is_sip and (parsed.headers is not None or "method" in parsed.params):
            parsed.headers = None
            parsed.params.remove("method")
            return str(parsed)
    return text


def _has_tag(request: Request) -> bool:
    try:
        return request.to_tag is not None
    except SipParseError:
        return True  # an unreadable To is echoed as it came


def parse_message(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Request | Response:
    """Reads one message, as from a datagram or cut out of a stream by its framer.

    The body is what Content-Length says; what follows it is dropped, and without one all the rest is the body (RFC 3261
    section 18.3). Raises SipParseError: 400 for what is malformed, 413 and 513 for what is too large, 414 for a long URI,
    505 for another version. What of a request can be answered is in the error.
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
    text = head.decode(ENCODING, ERRORS)
    rows = text.split("\r\n")
    ends = len(rows) - 1
    if text.count("\n") != ends or text.count("\r") != ends:
        # A lone one is a line end to some receivers: passed on, it would smuggle a header in.
        raise SipParseError(400, "Bare Line End in Head", _salvage(head))
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
    status = 400
    longest = limits.header_line
    known = known_names()
    for row in rows:
        at = row.find(":")
        key = known.get(row[:at]) if at > 0 else None
        if key is not None and len(row) <= longest:  # as nearly every line is
            lines.append(row)
            names.append(key)
            continue
        if row[:1] in (" ", "\t"):
            if not lines:
                fault = fault or "Fold Before the First Header"
                continue
            lines[-1] = row = f"{lines[-1]}\r\n{row}"
            if len(row) > longest and not fault:
                fault, status = "Header Too Long", 513
            continue
        name, colon, _ = row.partition(":")
        if not colon or not name:
            fault = fault or "Header Without Colon"
            continue
        key = canonical_name(name)
        if not is_token(key):
            fault = fault or "Bad Header Name"
        lines.append(row)
        names.append(key)
        if len(row) > longest and not fault:
            fault, status = "Header Too Long", 513
    if start[:4].upper() == "SIP/":
        if fault:
            raise SipParseError(status, fault)
        return _parse_status_line(start, lines, names, body)
    request = _parse_request_line(start, lines, names, body, limits)
    if fault:
        raise SipParseError(status, fault, request)
    return request


def _parse_request_line(start: str, lines: list[str], names: list[str], body: bytes, limits: Limits) -> Request:
    method, _, rest = start.partition(" ")
    uri, space, version = rest.rpartition(" ")
    if not is_token(method):
        raise SipParseError(400, "Bad Request Line")
    request = Request(method, uri, lines, names, body, version)
    if not space or not version:
        raise SipParseError(400, "Bad Request Line", request)
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
    rows = data[: DEFAULT_LIMITS.head].decode(ENCODING, ERRORS).split("\r\n")[:64]
    wanted = ("via", "from", "to", "call-id", "cseq")
    kept = [
        row
        for row in rows[1:]
        if canonical_name(row.partition(":")[0]) in wanted and ":" in row and "\n" not in row and "\r" not in row
    ]
    try:
        message = _parse_head(rows[0], kept, b"", DEFAULT_LIMITS)
    except SipParseError as error:
        return error.message
    return _as_request(message)


def _as_request(message: Request | Response) -> Request | None:
    return message if isinstance(message, Request) else None
