"""The envelope of C3P (MS-CONFBAS section 2.2.1, MS-CONFPRO section 2.2.2): one command in a request, and in its answer.

Clients disagree on namespaces, so elements are found by their local names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import quoteattr

from parley.c3p.errors import C3pError, Reason
from parley.xml import XmlError, local_name, parse_xml

if TYPE_CHECKING:
    from lxml.etree import _Element

C3P_TYPE: Final = "application/cccp+xml"
CCCP: Final = "urn:ietf:params:xml:ns:cccp"
MSCP: Final = "http://schemas.microsoft.com/rtc/2005/08/cccpextensions"
CONFERENCE_INFO: Final = "urn:ietf:params:xml:ns:conference-info"
MSCI: Final = "http://schemas.microsoft.com/rtc/2005/08/confinfoextensions"

MAX_BYTES: Final = 65_536
_MAX_ID: Final = 20


@dataclass(frozen=True, slots=True)
class C3pRequest:
    """A request."""

    request_id: str
    """Decimal digits, unique for the sender."""
    sender: str
    """URI of who asks."""
    to: str
    """URI that is asked: a focus or a factory."""
    name: str
    """Of the command, as ``addUser``."""
    command: _Element
    mcu_uri: str = ""
    """Conferencing server that the command is for; "" for the focus."""


def parse_request(body: bytes) -> C3pRequest:
    """Reads a request. Raises C3pError."""
    try:
        root = parse_xml(body, max_bytes=MAX_BYTES)
    except XmlError as error:
        raise C3pError(str(error)) from None
    if local_name(root) != "request":
        raise C3pError(f"the document is {local_name(root)}, not request")
    request_id = (root.get("requestId") or "").strip()
    if not (request_id.isascii() and request_id.isdigit()) or len(request_id) > _MAX_ID:
        raise C3pError("requestId is no number")
    if root.get("C3PVersion", "1").strip() != "1":
        raise C3pError("only C3PVersion 1 is known")
    commands = [element for element in root if isinstance(element.tag, str)]
    if len(commands) != 1:
        raise C3pError(f"a request has one command, this one {len(commands)}")
    command = commands[0]
    return C3pRequest(
        request_id, (root.get("from") or "").strip(), (root.get("to") or "").strip(), local_name(command), command,
        attribute(command, "mcuUri"),
    )  # fmt: skip


def attribute(element: _Element, name: str) -> str:
    """An attribute by its local name, whatever its namespace; "" when absent."""
    for key, value in element.attrib.items():
        if str(key).rpartition("}")[2] == name:
            return str(value).strip()
    return ""


def success(request: C3pRequest, content: str = "") -> bytes:
    """The answer to a command that was carried out. ``content``: XML inside of the command's element."""
    return _response(request, "success", f"<{request.name}>{content}</{request.name}>")


def failure(request: C3pRequest, reason: Reason) -> bytes:
    """The answer to a command that was not."""
    return _response(request, "failure", f'<{request.name} reason="{reason.value}"/>')


def _response(request: C3pRequest, code: str, element: str) -> bytes:
    return (
        f'<response xmlns="{CCCP}" C3PVersion="1" requestId="{request.request_id}" '
        f'from={quoteattr(request.to)} to={quoteattr(request.sender)} code="{code}">{element}</response>'
    ).encode("utf-8", "replace")
