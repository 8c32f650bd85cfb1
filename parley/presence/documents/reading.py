"""Reading the documents of clients: names are compared without their namespace, as clients use them freely."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parley.presence.errors import BadDocument
from parley.xml import XmlError, local_name, parse_xml

if TYPE_CHECKING:
    from lxml.etree import _Element


def read(body: bytes, name: str = "") -> _Element:
    """The root element, of that name if one is given. Raises BadDocument."""
    try:
        root = parse_xml(body)
    except XmlError as error:
        raise BadDocument(str(error)) from None
    if name and local_name(root) != name:
        raise BadDocument(f"the document is {local_name(root)}, not {name}")
    return root


def require(found: object, text: str) -> None:
    """Raises BadDocument unless something was found."""
    if not found:
        raise BadDocument(text)


def required(element: _Element, name: str) -> str:
    """An attribute that must be there. Raises BadDocument."""
    value: str | None = element.get(name)
    if not value:
        raise BadDocument(f"{local_name(element)} without {name}")
    return value


def integer(element: _Element, name: str, most: int) -> int:
    """A number from 0 to ``most``; 0 when the attribute is absent. Raises BadDocument."""
    return number_in(element.get(name) or "0", f"{local_name(element)} {name}", most)


def number_in(text: str, what: str, most: int) -> int:
    """A number from 0 to ``most``. Raises BadDocument."""
    text = text.strip()
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > most:
        raise BadDocument(f"{what} is no number that makes sense")
    return int(text)
