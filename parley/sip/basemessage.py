"""What requests and responses share: header lines in their order, and a body (RFC 3261 section 7.3).

Header lines are kept verbatim, folds included, beside their canonical names. Values are parsed when first asked for; those
of the typed properties are kept until an edit of their header. Change a message through its methods, not through the
values it handed out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from parley.sip.errors import SipParseError
from parley.sip.headers import canonical_name, header_line, is_token, split_comma, unfold
from parley.sip.limits import DEFAULT_LIMITS
from parley.sip.nameaddr import NameAddr, parse_name_addr
from parley.sip.via import Via, parse_via

if TYPE_CHECKING:
    from parley.sip.message import Request

ENCODING = "utf-8"
ERRORS = "surrogateescape"
"""Bytes that are no UTF-8 become surrogates and are written back as they were."""

_METHODS = frozenset({"REGISTER", "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "MESSAGE", "SUBSCRIBE", "NOTIFY"})
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

    __slots__ = ("_contacts", "_cseq", "_from", "_lines", "_names", "_to", "_via", "body")

    def __init__(self, lines: list[str], names: list[str], body: bytes) -> None:
        self._lines: list[str] = lines
        self._names: list[str] = names
        self.body: bytes = body
        self._via: Via | None = None
        self._from: NameAddr | None = None
        self._to: NameAddr | None = None
        self._cseq: CSeq | None = None
        self._contacts: list[NameAddr] | Literal["*"] | None = None

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
        """The comma-separated values of all lines of that header, in order. Raises SipParseError 400 for a bomb."""
        key = canonical_name(name)
        names = self._names
        count = names.count(key)
        if count == 0:
            return []
        if count == 1:
            values = split_comma(self._value(names.index(key)))
        else:
            values = []
            for index, other in enumerate(names):
                if other == key:
                    values.extend(split_comma(self._value(index)))
        if len(values) > DEFAULT_LIMITS.values:
            raise self.refusal(400, "Too Many Values")
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
        """Replaces all lines of a header by one, where the first one was, or at the end.

        As every edit it raises SipParseError for a line end in name or value that would begin another header.
        """
        key = canonical_name(name)
        names = self._names
        line = header_line(name, value)
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
        self._lines.insert(at, header_line(name, value))
        names.insert(at, key)
        self._changed(key)

    def prepend(self, name: str, value: str) -> None:
        """Adds a line before the first one of that header, or at the top."""
        key = canonical_name(name)
        names = self._names
        at = names.index(key) if key in names else 0
        self._lines.insert(at, header_line(name, value))
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
        removed = False
        while not removed and key in names:
            index = names.index(key)
            values = split_comma(self._value(index))
            removed = bool(values)  # an empty line before it goes too
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
        elif key == "contact":
            self._contacts = None

    def refusal(self, status: int, reason: str) -> SipParseError:
        """The error to raise for what is wrong with this message; it carries the message when that can be answered."""
        return SipParseError(status, reason, self._answerable())

    def _answerable(self) -> Request | None:
        return None

    # Typed headers

    @property
    def via(self) -> Via:
        """The topmost Via. Raises SipParseError 400 when absent or unreadable."""
        via = self._via
        if via is None:
            value = self.get("via")
            if value is None:
                raise self.refusal(400, "Missing Via")
            if "," in value:
                value = (split_comma(value) or [""])[0]
            try:
                via = self._via = parse_via(value)
            except SipParseError as error:
                raise self.refusal(error.status, error.reason) from None
        return via

    @property
    def vias(self) -> list[Via]:
        """All Via values, topmost first. Raises SipParseError 400."""
        try:
            return [parse_via(value) for value in self.values("via")]
        except SipParseError as error:
            raise self.refusal(error.status, error.reason) from None

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
        """Call-ID. Raises SipParseError 400 when absent, empty, or there is a second one."""
        names = self._names
        value = self._value(names.index("call-id")) if "call-id" in names else ""
        if not value:
            raise self.refusal(400, "Missing Call-ID")
        if names.count("call-id") > 1:
            raise self.refusal(400, "Several Call-ID Headers")
        return value

    @property
    def cseq(self) -> CSeq:
        """CSeq. Raises SipParseError 400 when absent or unreadable."""
        cseq = self._cseq
        if cseq is None:
            value = self.get("cseq")
            if value is None:
                raise self.refusal(400, "Missing CSeq")
            if self._names.count("cseq") > 1:
                raise self.refusal(400, "Several CSeq Headers")
            parts = value.split()
            number = parts[0] if len(parts) == 2 else ""
            if not (number.isdigit() and number.isascii()) or len(number) > 100:
                raise self.refusal(400, "Bad CSeq")
            if parts[1] not in _METHODS and not is_token(parts[1]):
                raise self.refusal(400, "Bad CSeq")
            if int(number) > MAX_CSEQ:
                raise self.refusal(400, "CSeq Out of Range")
            cseq = self._cseq = CSeq(int(number), parts[1])
        return cseq

    @property
    def contacts(self) -> list[NameAddr] | Literal["*"]:
        """All Contact values, or "*". Raises SipParseError 400."""
        contacts = self._contacts
        if contacts is None:
            values = self.values("contact")
            if values == ["*"]:
                contacts = "*"
            elif "*" in values:
                raise self.refusal(400, "Contact * Beside Others")
            else:
                contacts = self._addresses(values)
            self._contacts = contacts
        return contacts

    @property
    def routes(self) -> list[NameAddr]:
        """All Route values, the next hop first."""
        return self._addresses(self.values("route"))

    @property
    def record_routes(self) -> list[NameAddr]:
        """All Record-Route values, topmost first."""
        return self._addresses(self.values("record-route"))

    @property
    def paths(self) -> list[NameAddr]:
        """All Path values (RFC 3327), topmost first."""
        return self._addresses(self.values("path"))

    @property
    def max_forwards(self) -> int | None:
        """Max-Forwards. Raises SipParseError 400 when it is no number from 0 to 255."""
        number = self._number("max-forwards", "Max-Forwards", 3)
        if number is not None and number > 255:
            raise self.refusal(400, "Bad Max-Forwards")
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
        if names.count(key) > 1 and len(set(self.get_all(key))) > 1:
            raise self.refusal(400, f"Several {name} Headers")
        if not (value.isascii() and value.isdigit()) or (len(value) > digits and len(value.lstrip("0")) > digits):
            raise self.refusal(400, f"Bad {name}")
        return int(value)

    def _addresses(self, values: list[str]) -> list[NameAddr]:
        try:
            return [parse_name_addr(value) for value in values]
        except SipParseError as error:
            raise self.refusal(error.status, error.reason) from None

    def _single(self, key: str, name: str) -> NameAddr:
        if key not in self._names:
            raise self.refusal(400, f"Missing {name}")
        if self._names.count(key) > 1:
            raise self.refusal(400, f"Several {name} Headers")
        try:
            return parse_name_addr(self._value(self._names.index(key)))
        except SipParseError as error:
            raise self.refusal(error.status, f"{error.reason} in {name}") from None

    # Writing

    def __bytes__(self) -> bytes:
        lines = self._lines
        head = "\r\n".join([self.start_line, *lines, "", ""])
        return head.encode(ENCODING, ERRORS) + self.body
