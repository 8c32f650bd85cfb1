"""What devices ask and are answered in XML (web-services sheet, section 5.2).

What a request and its answer hold is known, from the audit log of the original; how their elements are called is not. All
names stand in `Names`, so that the true ones can be put there, and a server writes this form only when it is told to. Until
then requests of about any form are read: a value is an attribute or an element of its name, whatever the case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from lxml import etree

from parley.addressbook.devices import MAX_MODULES, MAX_TEXT, Device, Module
from parley.addressbook.errors import DeviceError
from parley.xml import XmlError, local_name, parse_xml, to_bytes

MAX_REQUEST: Final = 65_536
_MAX_DEPTH: Final = 8


@dataclass(frozen=True, slots=True)
class Names:
    """How elements are called. None of it is confirmed."""

    request: str = "Request"
    response: str = "Response"
    modules: str = "Modules"
    module: str = "Module"
    type: str = "DeviceType"
    vendor: str = "Vendor"
    model: str = "Model"
    revision: str = "Revision"
    locale: str = "Locale"
    mac: str = "MacAddress"
    serial: str = "SerialNumber"
    user: str = "UserId"
    file: str = "FileName"
    version: str = "Version"
    timestamp: str = "Timestamp"
    signature: str = "SignatureFileName"
    size: str = "Size"
    sha256: str = "Sha256"
    internal_url: str = "InternalUrl"
    external_url: str = "ExternalUrl"
    signature_internal_url: str = "SignatureInternalUrl"
    signature_external_url: str = "SignatureExternalUrl"


NAMES: Final = Names()
_OF_DEVICE: Final = ("type", "vendor", "model", "revision", "locale", "mac", "serial", "user")
_OF_MODULE: Final = ("file", "version", "timestamp")
_OF_ANSWER: Final = ("file", "signature", "version", "timestamp")


def parse_request(data: bytes, names: Names = NAMES) -> Device:
    """What a device says of itself. Raises DeviceError."""
    root = _root(data)
    modules: list[Module] = []
    for element in root.iter():
        if _is(element, names.module):
            if len(modules) == MAX_MODULES:
                raise DeviceError(f"a device has at most {MAX_MODULES} modules")
            modules.append(Module(**_values(element, names, _OF_MODULE)))
    return Device(**_values(root, names, _OF_DEVICE), modules=tuple(modules))


def request_bytes(device: Device, names: Names = NAMES) -> bytes:
    """A request, as this module reads it. Raises ValueError for text that XML cannot hold."""
    root = etree.Element(names.request)
    for field in _OF_DEVICE:
        _add(root, getattr(names, field), getattr(device, field))
    modules = etree.SubElement(root, names.modules)
    for module in device.modules:
        element = etree.SubElement(modules, names.module)
        for field in _OF_MODULE:
            _add(element, getattr(names, field), getattr(module, field))
    return to_bytes(root)


def answer_bytes(
    modules: Iterable[Module], url_of: Callable[[str, bool], str] | None = None, names: Names = NAMES
) -> bytes:  # fmt: skip
    """What a device is to fetch; with no modules, that it has all.

    ``url_of``: the URL of a file, by its name and whether it is that for outside. Raises ValueError for text that XML cannot
    hold.
    """
    root = etree.Element(names.response)
    parent = etree.SubElement(root, names.modules)
    for module in modules:
        element = etree.SubElement(parent, names.module)
        for field in _OF_ANSWER:
            _add(element, getattr(names, field), getattr(module, field))
        _add(element, names.size, str(module.size))
        _add(element, names.sha256, module.sha256)
        if url_of is not None:
            _add(element, names.internal_url, url_of(module.file, False))
            _add(element, names.external_url, url_of(module.file, True))
            if module.signature:
                _add(element, names.signature_internal_url, url_of(module.signature, False))
                _add(element, names.signature_external_url, url_of(module.signature, True))
    return to_bytes(root)


@dataclass(frozen=True, slots=True)
class Offer:
    """A module of an answer, as a device reads it."""

    module: Module
    internal_url: str = ""
    external_url: str = ""


def parse_answer(data: bytes, names: Names = NAMES) -> tuple[Offer, ...]:
    """As a device reads it. Raises DeviceError."""
    found = []
    for element in _root(data).iter():
        if not _is(element, names.module):
            continue
        values = _values(element, names, (*_OF_ANSWER, "size", "sha256", "internal_url", "external_url"), most=4_096)
        size, inside, outside = (values.pop(field) for field in ("size", "internal_url", "external_url"))
        if size and not (size.isascii() and size.isdigit() and len(size) < 19):
            raise DeviceError("the size of a module has to be a number")
        found.append(Offer(Module(**values, size=int(size or 0)), inside, outside))
    return tuple(found)


def _root(data: bytes) -> etree._Element:
    try:
        return parse_xml(data, max_bytes=MAX_REQUEST, max_depth=_MAX_DEPTH)
    except XmlError as error:
        raise DeviceError(str(error)) from None


def _values(element: etree._Element, names: Names, fields: Iterable[str], *, most: int = MAX_TEXT) -> dict[str, Any]:
    """The value of each field, the first that stands there; "" for none. Raises DeviceError."""
    said: dict[str, str] = {}
    for name, text in _said(element, names):
        said.setdefault(name, text)
    values = {field: said.get(str(getattr(names, field)).lower(), "") for field in fields}
    for field, text in values.items():
        if len(text) > most:
            raise DeviceError(f"{getattr(names, field)} has more than {most} characters")
    return values


def _said(element: etree._Element, names: Names) -> Iterator[tuple[str, str]]:
    """Names in lower case, and texts, of an element and those within it that are not of a module of their own."""
    for key, value in element.attrib.items():
        yield str(key).rpartition("}")[2].lower(), str(value).strip()
    for child in element:
        if not isinstance(child.tag, str) or _is(child, names.module):
            continue
        if len(child) or child.attrib:
            yield from _said(child, names)
        if not len(child):
            yield local_name(child).lower(), (child.text or "").strip()


def _is(element: etree._Element, name: str) -> bool:
    return isinstance(element.tag, str) and local_name(element).lower() == name.lower()


def _add(parent: etree._Element, name: str, text: str) -> None:
    etree.SubElement(parent, name).text = text or None
