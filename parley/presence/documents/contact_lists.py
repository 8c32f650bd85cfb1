"""Contact lists and their changes on the wire (MS-SIP sections 2.2.4 and 3.7), and directory search (SOAP in SERVICE).

In the full list addresses stand without "sip:", in a delta with it: clients read them so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import quoteattr

from parley.presence.contacts import ContactDelta
from parley.presence.documents.reading import number_in, read
from parley.presence.errors import BadDocument
from parley.proto.presence.v1 import state_pb2 as pb
from parley.xml import child, children, local_name, text_of, to_bytes

if TYPE_CHECKING:
    from lxml.etree import _Element

CONTACTS_TYPE: Final = "application/vnd-microsoft-roaming-contacts+xml"
SOAP_TYPE: Final = "application/SOAP+xml"

_ENVELOPE: Final = "http://schemas.xmlsoap.org/soap/envelope/"
_METHODS: Final = "http://schemas.microsoft.com/winrtc/2002/11/sip"
SEARCH_FIELDS: Final = (
    "uri", "displayName", "title", "office", "phone", "company", "city", "state", "country", "email",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SoapCall:
    """A method and its parameters."""

    method: str
    values: dict[str, str]
    extension: bytes = b""
    """The contactExtension element."""
    rows: tuple[tuple[str, str], ...] = field(default=())
    """Attribute and value of each row of a search."""

    def number(self, name: str, most: int = 2**32 - 1) -> int:
        """A parameter that is a number. Raises BadDocument."""
        return number_in(self.values.get(name) or "", name, most)


def parse_soap(body: bytes) -> SoapCall:
    """The call in a SOAP envelope. Raises BadDocument."""
    envelope = read(body, "Envelope")
    inner = child(envelope, "Body")
    element = next((found for found in inner if isinstance(found.tag, str)), None) if inner is not None else None
    if inner is None or element is None:
        raise BadDocument("the envelope is empty")
    values: dict[str, str] = {}
    extension = b""
    for parameter in element:
        if not isinstance(parameter.tag, str):
            continue
        if local_name(parameter) == "contactExtension":
            parameter.tail = None
            extension = to_bytes(parameter) if len(parameter) or parameter.text else b""
        else:
            values[local_name(parameter)] = text_of(parameter)
    rows = tuple(
        (_attribute(row, "attrib"), _attribute(row, "value"))
        for array in children(inner, "Array")
        for row in children(array, "row")
    )
    return SoapCall(local_name(element), values, extension, rows)


def _attribute(element: _Element, name: str) -> str:
    return next((str(value) for key, value in element.attrib.items() if str(key).rpartition("}")[2] == name), "")


def groups_of(text: str) -> list[int]:
    """The group numbers of a contact; what is no number is passed over."""
    return [int(part) for part in text.split() if part.isascii() and part.isdigit() and len(part) < 6]


def soap_answer(inner: str) -> bytes:
    """An envelope with what a method returns; its names have the prefix ``m``."""
    return (f'<s:Envelope xmlns:s="{_ENVELOPE}" xmlns:m="{_METHODS}"><s:Body>{inner}</s:Body></s:Envelope>').encode()


def group_added(number: int) -> bytes:
    """The answer to addGroup."""
    return soap_answer(f"<m:addGroup><m:groupID>{number}</m:groupID></m:addGroup>")


def search_result(rows: Iterable[dict[str, str]], *, more: bool) -> bytes:
    """The answer to directorySearch; a row has the keys of `SEARCH_FIELDS`, and ``uri`` at least."""
    texts = []
    for row in rows:
        attributes = "".join(f" m:{name}={quoteattr(row.get(name, ''))}" for name in SEARCH_FIELDS)
        texts.append(f"<m:row{attributes}/>")
    return soap_answer(
        f"<m:directorySearch><m:moreAvailable>{'true' if more else 'false'}</m:moreAvailable>"
        f"<m:returned>{len(texts)}</m:returned></m:directorySearch>"
        f'<m:Array m:id="searchResult">{"".join(texts)}</m:Array>'
    )


def contact_list(contacts: pb.ContactList) -> bytes:
    """The whole list."""
    groups = "".join(_group("group", group) for group in contacts.groups)
    rows = "".join(_contact("contact", contact, contact.uri) for contact in contacts.contacts)
    return f'<contactList deltaNum="{contacts.delta}">{groups}{rows}</contactList>'.encode()


def contact_delta(delta: ContactDelta) -> bytes:
    """A change."""
    parts = [_group("addedGroup", group) for group in delta.added_groups]
    parts += [_group("modifiedGroup", group) for group in delta.modified_groups]
    parts += [_contact("addedContact", contact, f"sip:{contact.uri}") for contact in delta.added]
    parts += [_contact("modifiedContact", contact, f"sip:{contact.uri}") for contact in delta.modified]
    parts += [f"<deletedContact uri={quoteattr(f'sip:{uri}')}/>" for uri in delta.deleted]
    parts += [f'<deletedGroup id="{number}"/>' for number in delta.deleted_groups]
    body = "".join(parts)
    return f'<contactDelta deltaNum="{delta.number}" prevDeltaNum="{delta.number - 1}">{body}</contactDelta>'.encode()


def _group(name: str, group: pb.Group) -> str:
    return f'<{name} id="{group.id}" name={quoteattr(group.name)} externalURI={quoteattr(group.external_uri)}/>'


def _contact(name: str, contact: pb.Contact, uri: str) -> str:
    head = (
        f"<{name} uri={quoteattr(uri)} name={quoteattr(contact.name)} "
        f'groups="{" ".join(map(str, contact.groups))}" subscribed="{"true" if contact.subscribed else "false"}" '
        f"externalURI={quoteattr(contact.external_uri)}"
    )
    return f"{head}>{contact.extension.decode()}</{name}>" if contact.extension else f"{head}/>"
