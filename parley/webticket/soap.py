"""SOAP 1.1 envelopes: what is in one, what answers one, and faults.

Names are compared by local name: clients write some namespaces with a slash at the end and some without.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from lxml import etree

from parley.webticket.names import SOAP
from parley.xml import XmlError, child, local_name, parse_xml, text_of, to_bytes

MAX_BYTES: Final = 65_536
MAX_TEXT: Final = 2_048
"""Longest address, name or identifier."""


class SoapError(ValueError):
    """A message that is refused; the text says why, and is fit for an answer to who sent it."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What came."""

    header: etree._Element | None
    request: etree._Element
    """The one element of the body."""


def parse_envelope(data: bytes, *names: str) -> Envelope:
    """An envelope whose body holds one element of one of those local names. Raises SoapError."""
    try:
        root = parse_xml(data, max_bytes=MAX_BYTES)
    except XmlError as error:
        raise SoapError(str(error)) from None
    if local_name(root) != "Envelope":
        raise SoapError("not a SOAP envelope")
    body = required(root, "Body")
    if len(body) != 1 or not isinstance(body[0].tag, str) or local_name(body[0]) not in names:
        raise SoapError(f"the body has to hold one {' or '.join(names)}")
    return Envelope(child(root, "Header"), body[0])


def required(parent: etree._Element, *path: str) -> etree._Element:
    """The element at a path of local names, the first at each level. Raises SoapError when there is none."""
    element = parent
    for name in path:
        found = child(element, name)
        if found is None:
            raise SoapError(f"{local_name(element)} has no {name}")
        element = found
    return element


def text_at(parent: etree._Element, *path: str) -> str:
    """The text of the element at a path. Raises SoapError when there is none, or too much."""
    text = text_of(required(parent, *path))
    if not text or len(text) > MAX_TEXT:
        raise SoapError(f"{path[-1]} is empty or too long")
    return text


def decode(text: str, what: str) -> bytes:
    """Base64, whatever the line breaks. Raises SoapError."""
    try:
        return b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise SoapError(f"{what} is no base64") from None


def attribute(element: etree._Element, name: str) -> str:
    """An attribute by its local name; "" when there is none. Raises SoapError when it is too long."""
    for key, value in element.attrib.items():
        if str(key).rpartition("}")[2] == name:
            if len(value) > MAX_TEXT:
                raise SoapError(f"{name} is too long")
            return str(value)
    return ""


def envelope(namespaces: dict[str | None, str]) -> tuple[etree._Element, etree._Element]:
    """A new envelope that declares some prefixes, and its body."""
    root = etree.Element(f"{{{SOAP}}}Envelope", nsmap={"s": SOAP, **namespaces})
    return root, etree.SubElement(root, f"{{{SOAP}}}Body")


def add(parent: etree._Element, space: str, name: str, text: str = "", /, **attributes: str) -> etree._Element:
    """A further child. Raises ValueError for text that XML cannot hold."""
    element = etree.SubElement(parent, f"{{{space}}}{name}", attributes)
    if text:
        element.text = text
    return element


def fault(code: str, reason: str) -> bytes:
    """A fault (SOAP 1.1 section 4.4). ``code``: "Client" or "Server", with details after dots."""
    root, body = envelope({})
    element = add(body, SOAP, "Fault")
    etree.SubElement(element, "faultcode").text = f"s:{code}"
    etree.SubElement(element, "faultstring").text = reason
    return to_bytes(root)


def instant(at: float) -> str:
    """A time (Unix) as these services write it: 2026-01-01T10:00:00.000Z."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_instant(text: str) -> float:
    """Unix time of an xsd:dateTime with a time zone. Raises SoapError."""
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            raise ValueError
        return at.timestamp()
    except (ValueError, OverflowError):
        raise SoapError("a time that cannot be read") from None
