"""The members of a group by SOAP: QueryDLMembers (MS-DLX; web-services sheet, section 3).

That there is this operation, what goes in (a mail address) and what comes out (the direct members) is known; the names of
its elements and of its results are not confirmed. All names stand in `Names`, so that the true ones can be put there. Until
then requests of any form are read: the first element of the body is the operation, and its only text is the address.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from lxml import etree

from parley.addressbook.entries import Entry, Kind
from parley.addressbook.queries import NAMESPACE, xml_text
from parley.webticket.names import WSDL, WSDL_SOAP
from parley.webticket.soap import MAX_TEXT, SoapError, add, envelope, parse_envelope, required
from parley.xml import child, children, text_of, to_bytes

_SCHEMA: Final = "http://www.w3.org/2001/XMLSchema"
_TRANSPORT: Final = "http://schemas.xmlsoap.org/soap/http"


class ExpansionResult(StrEnum):
    """What became of a request; the words are ours."""

    OK = "ok"
    NOT_FOUND = "notFound"
    TOO_LARGE = "tooLarge"
    DISABLED = "disabled"
    NOT_ALLOWED = "notAllowed"


@dataclass(frozen=True, slots=True)
class Names:
    """How elements and values are called. Only the operation and the namespace are confirmed."""

    namespace: str = NAMESPACE
    operation: str = "QueryDLMembers"
    argument: str = "mailAddress"
    response: str = "QueryDLMembersResponse"
    answer: str = "QueryDLMembersResult"
    result: str = "Result"
    members: str = "Members"
    member: str = "Member"
    display_name: str = "DisplayName"
    mail: str = "Mail"
    address: str = "SipAddress"
    kind: str = "Type"
    results: tuple[tuple[ExpansionResult, str], ...] = tuple((result, result.value) for result in ExpansionResult)
    kinds: tuple[tuple[Kind, str], ...] = tuple((kind, kind.value) for kind in Kind)

    @property
    def action(self) -> str:
        """The SOAPAction, by the rule of services of its kind."""
        return f"{self.namespace}/{self.operation}"


NAMES: Final = Names()


@dataclass(frozen=True, slots=True)
class MembersRequest:
    """A QueryDLMembers."""

    mail: str
    """The group's address in lower case, without a scheme."""

    @classmethod
    def parse(cls, element: etree._Element, names: Names = NAMES) -> MembersRequest:
        """From the body of an envelope. Raises SoapError."""
        texts = [text for text in _leaves(element) if text]
        if len(texts) != 1 or len(texts[0]) > MAX_TEXT:
            raise SoapError(f"{names.operation} has to hold the mail address of one group")
        mail = _mail_of(texts[0])
        if not mail or any(char.isspace() for char in mail):
            raise SoapError("this is no mail address; write name@domain")
        return cls(mail)

    @classmethod
    def from_bytes(cls, data: bytes, names: Names = NAMES) -> MembersRequest:
        """From an envelope, whatever its header. Raises SoapError."""
        return cls.parse(parse_envelope(data, names.operation).request, names)

    def to_bytes(self, names: Names = NAMES) -> bytes:
        """Raises ValueError for text that XML cannot hold."""
        root, body = envelope({})
        operation = etree.SubElement(body, f"{{{names.namespace}}}{names.operation}", nsmap={None: names.namespace})
        add(operation, names.namespace, names.argument, self.mail)
        return to_bytes(root)


def _mail_of(text: str) -> str:
    """The mail as groups are looked up by it: whatever the case, but with its accents."""
    folded = text.strip().casefold()
    for scheme in ("mailto:", "smtp:", "sip:", "sips:"):
        if folded.startswith(scheme):
            return folded.removeprefix(scheme)
    return folded


def _leaves(element: etree._Element) -> Iterator[str]:
    """The texts of the elements that hold no others."""
    for found in element.iter():
        if isinstance(found.tag, str) and not len(found):
            yield text_of(found)


@dataclass(frozen=True, slots=True)
class Member:
    """A direct member."""

    kind: Kind
    display_name: str
    mail: str = ""
    address: str = ""
    """``sip:user@host``."""

    @classmethod
    def of(cls, entry: Entry) -> Member:
        """How an entry is shown as a member."""
        return cls(entry.kind, xml_text(entry.name), xml_text(entry.mail), xml_text(entry.address))


@dataclass(frozen=True, slots=True)
class MembersResponse:
    """What became of a QueryDLMembers."""

    result: ExpansionResult
    members: tuple[Member, ...] = ()

    def to_bytes(self, names: Names = NAMES) -> bytes:
        """The envelope."""
        space = names.namespace
        root, body = envelope({})
        response = etree.SubElement(body, f"{{{space}}}{names.response}", nsmap={None: space})
        answer = add(response, space, names.answer)
        add(answer, space, names.result, dict(names.results)[self.result])
        members = add(answer, space, names.members)
        for member in self.members:
            element = add(members, space, names.member)
            add(element, space, names.display_name, member.display_name)
            add(element, space, names.mail, member.mail)
            add(element, space, names.address, member.address)
            add(element, space, names.kind, dict(names.kinds)[member.kind])
        return to_bytes(root)

    @classmethod
    def from_bytes(cls, data: bytes, names: Names = NAMES) -> MembersResponse:
        """As a client reads it. Raises SoapError."""
        answer = required(parse_envelope(data, names.response).request, names.answer)
        results = {word: result for result, word in names.results}
        kinds = {word: kind for kind, word in names.kinds}
        try:
            result = results[text_of(child(answer, names.result))]
            members = children(required(answer, names.members), names.member)
            return cls(result, tuple(_member(element, names, kinds) for element in members))
        except KeyError as error:
            raise SoapError(f"the word {str(error)[:40]} is not known") from None


def _member(element: etree._Element, names: Names, kinds: dict[str, Kind]) -> Member:
    name, mail, address = (text_of(child(element, part)) for part in (names.display_name, names.mail, names.address))
    return Member(kinds[text_of(child(element, names.kind))], name, mail, address)


def wsdl(location: str, names: Names = NAMES) -> bytes:
    """The description of the service; ``location``: the URL that takes requests."""
    space = names.namespace
    root = etree.Element(
        f"{{{WSDL}}}definitions", {"targetNamespace": space},
        nsmap={"wsdl": WSDL, "soap": WSDL_SOAP, "xs": _SCHEMA, "tns": space},
    )  # fmt: skip
    schema = add(add(root, WSDL, "types"), _SCHEMA, "schema", targetNamespace=space, elementFormDefault="qualified")
    text = {"type": "xs:string"}
    _element(schema, names.operation, [(names.argument, text)])
    answer = _element(schema, names.response, [(names.answer, {})])
    sequence = _sequence(answer)
    add(sequence, _SCHEMA, "element", name=names.result, **text)
    members = _sequence(add(sequence, _SCHEMA, "element", name=names.members))
    member = add(members, _SCHEMA, "element", name=names.member, minOccurs="0", maxOccurs="unbounded")
    fields = _sequence(member)
    for name in (names.display_name, names.mail, names.address, names.kind):
        add(fields, _SCHEMA, "element", name=name, **text)
    for message, element in (("In", names.operation), ("Out", names.response)):
        part = add(root, WSDL, "message", name=f"{names.operation}Soap{message}")
        add(part, WSDL, "part", name="parameters", element=f"tns:{element}")
    _add_port(root, location, names)
    return to_bytes(root)


def _add_port(root: etree._Element, location: str, names: Names) -> None:
    port = add(root, WSDL, "portType", name="DlxSoap")
    operation = add(port, WSDL, "operation", name=names.operation)
    add(operation, WSDL, "input", message=f"tns:{names.operation}SoapIn")
    add(operation, WSDL, "output", message=f"tns:{names.operation}SoapOut")
    binding = add(root, WSDL, "binding", name="DlxSoap", type="tns:DlxSoap")
    add(binding, WSDL_SOAP, "binding", transport=_TRANSPORT)
    operation = add(binding, WSDL, "operation", name=names.operation)
    add(operation, WSDL_SOAP, "operation", soapAction=names.action, style="document")
    for way in ("input", "output"):
        add(add(operation, WSDL, way), WSDL_SOAP, "body", use="literal")
    service = add(root, WSDL, "service", name="Dlx")
    address = add(service, WSDL, "port", name="DlxSoap", binding="tns:DlxSoap")
    add(address, WSDL_SOAP, "address", location=location)


def _sequence(element: etree._Element) -> etree._Element:
    return add(add(element, _SCHEMA, "complexType"), _SCHEMA, "sequence")


def _element(schema: etree._Element, name: str, fields: list[tuple[str, dict[str, str]]]) -> etree._Element:
    """An element with fields; the last of them."""
    sequence = _sequence(add(schema, _SCHEMA, "element", name=name))
    for field, attributes in fields:
        last = add(sequence, _SCHEMA, "element", name=field, **attributes)
    return last
