"""The web query of the address book: SearchAbEntry, a SOAP operation of the DLX service (web-services sheet, section 2.2).

Requests are read as clients write them: names by their local name, parts that are missing have their usual value, and what
is not known is passed over. Values that are no XML make the whole request bad; clients search by SIP then.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from lxml import etree

from parley.addressbook.attributes import attribute
from parley.addressbook.entries import Entry
from parley.addressbook.searching.criteria import MAX_CRITERIA, Criteria
from parley.addressbook.searching.queries import MAX_QUERY
from parley.webticket.soap import SoapError, add, envelope, parse_envelope, required
from parley.xml import child, children, text_of, to_bytes

NAMESPACE: Final = "DistributionListExpander"
ACTION: Final = "DistributionListExpander/IAddressBook/SearchAbEntry"
OPERATION: Final = "SearchAbEntry"
MOST: Final = 1_000
USUAL: Final = 100
MAX_RETURNED: Final = 64
BEGINS_WITH: Final = "BeginsWith"

_ENCODING: Final = "http://schemas.xmlsoap.org/soap/encoding/"
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LISTS: Final = frozenset({"telephonenumber"})
"""What clients read as a list; of other attributes they read one value."""


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A SearchAbEntry. Either ``all_of`` or ``any_of`` says what is searched for."""

    all_of: tuple[tuple[str, str], ...] = ()
    """ChangeSearch: attributes, and what their values begin with; all have to hold."""
    any_of: tuple[str, ...] = ()
    """BasicSearch: attributes of which any may begin with ``value``."""
    value: str = ""
    most: int = USUAL
    """How many entries at most, 1 to `MOST`."""
    returned: tuple[str, ...] = ()
    """The attributes that are asked for; () for all."""

    @classmethod
    def parse(cls, element: etree._Element) -> SearchRequest:
        """From the body of an envelope. Raises SoapError."""
        request = required(element, "AbEntryRequest")
        changes, basic, metadata = (child(request, name) for name in ("ChangeSearch", "BasicSearch", "Metadata"))
        all_of = tuple(_pairs(changes)) if changes is not None else ()
        any_of, value = _basic(basic) if basic is not None and not all_of else ((), "")
        if not all_of and not (any_of and value):
            raise SoapError("there is nothing to search for; give a ChangeSearch or a BasicSearch with a value")
        if metadata is None:
            return cls(all_of, any_of, value)
        returned = _names(text_of(child(metadata, "ReturnList")), MAX_RETURNED)
        return cls(all_of, any_of, value, _most(text_of(child(metadata, "MaxResultNum"))), returned)

    @classmethod
    def from_bytes(cls, data: bytes) -> SearchRequest:
        """From an envelope, whatever its header. Raises SoapError."""
        return cls.parse(parse_envelope(data, OPERATION).request)

    def criteria(self) -> Criteria:
        """What is searched for. Raises QueryError."""
        return Criteria.all_of(self.all_of) if self.all_of else Criteria.any_of(self.any_of, self.value)

    def add_to(self, body: etree._Element) -> None:
        """Writes it into a body, as a client does. Raises ValueError for text that XML cannot hold."""
        spaces = {None: NAMESPACE, "q1": NAMESPACE, "soapenc": _ENCODING}
        operation = etree.SubElement(body, f"{{{NAMESPACE}}}{OPERATION}", nsmap=spaces)
        request = add(operation, NAMESPACE, "AbEntryRequest")
        if self.all_of:
            array = f"q1:AbEntryRequest.ChangeSearchQuery[{len(self.all_of)}]"
            changes = add(request, NAMESPACE, "ChangeSearch", **{f"{{{_ENCODING}}}arrayType": array})
            for name, value in self.all_of:
                query = add(changes, NAMESPACE, "AbEntryRequest.ChangeSearchQuery")
                add(query, NAMESPACE, "SearchOn", name)
                add(query, NAMESPACE, "Value", value)
        else:
            basic = add(request, NAMESPACE, "BasicSearch")
            add(basic, NAMESPACE, "SearchList", ",".join(self.any_of))
            add(basic, NAMESPACE, "Value", self.value)
            add(basic, NAMESPACE, "Verb", BEGINS_WITH)
        metadata = add(request, NAMESPACE, "Metadata")
        add(metadata, NAMESPACE, "FromDialPad", "false")
        add(metadata, NAMESPACE, "MaxResultNum", str(self.most))
        if self.returned:
            add(metadata, NAMESPACE, "ReturnList", ",".join(self.returned))

    def __bytes__(self) -> bytes:
        root, body = envelope({})
        self.add_to(body)
        return to_bytes(root)


def _pairs(changes: etree._Element) -> Iterable[tuple[str, str]]:
    found = children(changes, "AbEntryRequest.ChangeSearchQuery")
    if len(found) > MAX_CRITERIA:
        raise SoapError(f"more than {MAX_CRITERIA} attributes are too many")
    for query in found:
        name, value = (_limited(text_of(child(query, part))) for part in ("SearchOn", "Value"))
        if name and value:
            yield name, value


def _basic(basic: etree._Element) -> tuple[tuple[str, ...], str]:
    verb = _limited(text_of(child(basic, "Verb")))
    if verb and verb.lower() != BEGINS_WITH.lower():
        raise SoapError(f"the verb {verb[:40]} is not known; it has to be {BEGINS_WITH}")
    return _names(text_of(child(basic, "SearchList")), MAX_CRITERIA), _limited(text_of(child(basic, "Value")))


def _limited(text: str) -> str:
    if len(text) > MAX_QUERY:
        raise SoapError(f"a name or a value has more than {MAX_QUERY} characters")
    return text


def _names(text: str, most: int) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(name for part in text.split(",") if (name := _limited(part.strip()))))
    if len(found) > most:
        raise SoapError(f"more than {most} attributes are too many")
    return found


def _most(text: str) -> int:
    if not text:
        return USUAL
    if not text.isascii() or not text.isdigit() or len(text) > 10:
        raise SoapError("MaxResultNum has to be a number")
    return min(max(int(text), 1), MOST)


@dataclass(frozen=True, slots=True)
class FoundEntry:
    """An entry of an answer: attributes with their values."""

    attributes: tuple[tuple[str, tuple[str, ...]], ...]

    @classmethod
    def of(cls, entry: Entry, returned: Sequence[str]) -> FoundEntry:
        """What is asked for of an entry; attributes that it does not have are left out."""
        found = ((name, tuple(map(xml_text, _answer(entry, name)))) for name in returned or USUAL_ATTRIBUTES)
        return cls(tuple((name, values) for name, values in found if values))


USUAL_ATTRIBUTES: Final = (
    "displayName", "msRTCSIP-PrimaryUserAddress", "title", "telephoneNumber", "homePhone", "mobile", "otherTelephone",
    "mail", "company", "country", "photoRelPath", "photoSize", "photoHash",
)  # fmt: skip
"""What clients ask for."""


def _answer(entry: Entry, name: str) -> list[str]:
    if name.lower() == "displayname":
        return [entry.name]
    known = attribute(name)
    return known.values(entry) if known is not None else []


@dataclass(frozen=True, slots=True)
class SearchResponse:
    """A SearchAbEntryResponse."""

    entries: tuple[FoundEntry, ...]

    def __bytes__(self) -> bytes:
        root, body = envelope({})
        response = etree.SubElement(body, f"{{{NAMESPACE}}}{OPERATION}Response", nsmap={None: NAMESPACE})
        items = add(add(response, NAMESPACE, f"{OPERATION}Result"), NAMESPACE, "Items")
        for entry in self.entries:
            attributes = add(add(items, NAMESPACE, "AbEntry"), NAMESPACE, "Attributes")
            for name, values in entry.attributes:
                element = add(attributes, NAMESPACE, "Attribute")
                add(element, NAMESPACE, "Name", name)
                if len(values) > 1 or name.lower() in _LISTS:
                    several = add(element, NAMESPACE, "Values")
                    for value in values:
                        add(several, NAMESPACE, "string", value)
                else:
                    add(element, NAMESPACE, "Value", values[0])
        return to_bytes(root)

    @classmethod
    def from_bytes(cls, data: bytes) -> SearchResponse:
        """As a client reads it. Raises SoapError."""
        result = required(parse_envelope(data, f"{OPERATION}Response").request, f"{OPERATION}Result")
        items = child(result, "Items")
        found = []
        for entry in children(items, "AbEntry") if items is not None else []:
            attributes = children(required(entry, "Attributes"), "Attribute")
            found.append(FoundEntry(tuple((text_of(child(item, "Name")), _values(item)) for item in attributes)))
        return cls(tuple(found))


def _values(item: etree._Element) -> tuple[str, ...]:
    several = child(item, "Values")
    found = [child(item, "Value")] if several is None else children(several, "string")
    return tuple(text_of(element) for element in found)


def xml_text(text: str) -> str:
    """A text that XML can hold."""
    return _NOT_XML.sub(" ", text)
