"""What the XML documents share: their root, elements with clean text, numbers and times (XML Schema part 2).

Namespaces are insisted on for the root alone: below it phones disagree, and names are compared by local name.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from lxml import etree

from parley.presence.standard.errors import DocumentError
from parley.xml import XmlError, local_name, namespace, parse_xml

MAX_NUMBER: Final = 2**32 - 1
LAST_TIME: Final = 253_402_300_799.0

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NUMBER = re.compile("[0-9]{1,10}")
_TIME = re.compile(
    "([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(\\.[0-9]{1,12})?(?:(Z)|([+-])([0-9]{2}):([0-9]{2}))?"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_root(data: bytes, what: str, name: str, uri: str) -> etree._Element:
    """The root of a document, which must have that name and namespace. Raises DocumentError."""
    try:
        root = parse_xml(data)
    except XmlError as error:
        reason, _, _ = str(error).partition(":")
        raise DocumentError(f"{what}: {reason}") from None
    if local_name(root) != name or namespace(root) != uri:
        raise DocumentError(f"{what}: the root is not {name} of {uri}")
    return root


def clean(text: str) -> str:
    """The text without what XML cannot hold, such as control characters."""
    return _NOT_XML.sub("", text)


def new_root(name: str, uri: str, others: dict[str, str] | None = None) -> etree._Element:
    """A root in its own namespace as the default; ``others`` are more namespaces by their prefixes."""
    names: dict[str | None, str] = {None: uri}
    names.update(others or {})
    return etree.Element(f"{{{uri}}}{name}", nsmap=names)


def add(parent: etree._Element, name: str, text: str = "", *, uri: str = "") -> etree._Element:
    """Appends an element with its text, in the namespace of the parent when no other is named."""
    element = etree.SubElement(parent, f"{{{uri or namespace(parent)}}}{name}")
    if text:
        element.text = clean(text)
    return element


def put(element: etree._Element, **attributes: str | int | None) -> None:
    """Sets attributes, but those that are None or empty; an underscore in a name stands for a hyphen."""
    for name, value in attributes.items():
        if value is not None and value != "":
            element.set(name.rstrip("_").replace("_", "-"), clean(str(value)))


def attribute(element: etree._Element, name: str) -> str:
    """The stripped attribute; "" when absent."""
    return str(element.get(name) or "").strip()


def elements(parent: etree._Element) -> list[etree._Element]:
    """The children that are elements."""
    return [found for found in parent if isinstance(found.tag, str)]


def number(text: str) -> int | None:
    """A whole number of at most 32 bits; None for anything else."""
    if _NUMBER.fullmatch(text) is None:
        return None
    value = int(text)
    return value if value <= MAX_NUMBER else None


def required_number(element: etree._Element, name: str, what: str) -> int:
    """The number in an attribute. Raises DocumentError when it is absent or not one."""
    value = number(attribute(element, name))
    if value is None:
        raise DocumentError(f"{what}: no {name} that is a number")
    return value


def read_time(text: str) -> float | None:
    """Seconds since 1970 of a dateTime, in whole milliseconds; None when it is not one. No zone means UTC."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    offset = timedelta(hours=int(match[10] or 0), minutes=int(match[11] or 0))
    try:
        zone = timezone(-offset if match[9] == "-" else offset)
        moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=zone)
    except ValueError:
        return None
    seconds = round((moment - _EPOCH).total_seconds() + float(match[7] or 0), 3)
    return seconds if 0 <= seconds <= LAST_TIME else None


def write_time(seconds: float) -> str:
    """A dateTime in UTC, with milliseconds when there are any."""
    moment = _EPOCH + timedelta(milliseconds=round(min(max(seconds, 0.0), LAST_TIME) * 1000))
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{moment.microsecond // 1000:03}Z" if moment.microsecond else f"{text}Z"
