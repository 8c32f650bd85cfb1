"""XML from outside: parsed with limits, without entities, document types or anything from a network.

Elements are those of lxml. Names are compared by local name where clients disagree on namespaces (`local_name`).
"""

from __future__ import annotations

from typing import Final

from lxml import etree

MAX_BYTES: Final = 262_144
MAX_DEPTH: Final = 32
MAX_ELEMENTS: Final = 20_000


class XmlError(ValueError):
    """XML that is refused; the text says why, and is fit for an answer to who sent it."""


def parse_xml(data: bytes, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> etree._Element:
    """The root element. Raises XmlError for what is too large, too deep, not well-formed, or has a document type."""
    if len(data) > max_bytes:
        raise XmlError("the document is too large")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False,
        remove_comments=True, remove_pis=True,
    )  # fmt: skip
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data or (b"\0" in data and "<!DOCTYPE" in _as_utf16(data)):
        raise XmlError("a document type is not taken")
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise XmlError(f"not well-formed: {error}") from None
    if root is None:
        raise XmlError("not well-formed: no element")
    # A later warning hides what was said before it: such a document could be read, and not again once it was written.
    for entry in parser.error_log:
        if entry.level >= etree.ErrorLevels.ERROR:
            raise XmlError(f"not well-formed: {entry.message}")
    if root.getroottree().docinfo.doctype:
        raise XmlError("a document type is not taken")
    _check_size(root, max_depth)
    return root


def _check_size(root: etree._Element, max_depth: int) -> None:
    depth = count = 0
    for event, _ in etree.iterwalk(root, events=("start", "end")):
        if event == "start":
            depth += 1
            count += 1
            if depth > max_depth:
                raise XmlError("the document is nested too deeply")
            if count > MAX_ELEMENTS:
                raise XmlError("the document has too many elements")
        else:
            depth -= 1


def local_name(element: etree._Element) -> str:
    """The name without its namespace."""
    return str(element.tag).rpartition("}")[2]  # not by QName: a namespace may hold what no name may


def namespace(element: etree._Element) -> str:
    """The namespace; "" for none."""
    return str(element.tag)[1:].rpartition("}")[0]


def child(element: etree._Element, name: str) -> etree._Element | None:
    """The first child of that local name."""
    for candidate in element:
        if isinstance(candidate.tag, str) and local_name(candidate) == name:
            return candidate
    return None


def children(element: etree._Element, name: str) -> list[etree._Element]:
    """All children of that local name."""
    return [found for found in element if isinstance(found.tag, str) and local_name(found) == name]


def text_of(element: etree._Element | None) -> str:
    """The stripped text; "" for no element."""
    return (element.text or "").strip() if element is not None else ""


def to_bytes(element: etree._Element) -> bytes:
    """UTF-8 without an XML declaration, as bodies of SIP messages want it."""
    return bytes(etree.tostring(element, encoding="utf-8", xml_declaration=False))


def _as_utf16(data: bytes) -> str:
    return data.decode("utf-16-le" if data[1:2] == b"\0" else "utf-16-be", "replace").upper()
