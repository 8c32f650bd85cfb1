"""Metadata of the services (MS-OCAUTHWS): the WSDL that clients get at ``<service>/mex`` before anything else.

It says under which name and where each service takes calls, and for those that want a ticket where tickets come from.
"""

from __future__ import annotations

from typing import Final

from lxml import etree

from parley.webticket.names import ADDRESSING, POLICY, SECURITY_POLICY, WSDL, WSDL_SOAP, WSU
from parley.webticket.soap import add
from parley.xml import to_bytes

TICKET_PORT: Final = "WebTicketServiceWinNegotiate"
CERTIFICATE_PORT: Final = "CertProvisioningServiceWebTicketProof_SHA1"
ADDRESS_BOOK_PORT: Final = "AddressBookWebTicketBearer"

_PREFIXES: Final = {
    "wsdl": WSDL, "soap": WSDL_SOAP, "wsp": POLICY, "sp": SECURITY_POLICY, "wsa": ADDRESSING, "wsu": WSU
}  # fmt: skip


def ticket_metadata(location: str) -> bytes:
    """Of the ticket service; ``location``: URL that takes requests for tickets."""
    root = etree.Element(f"{{{WSDL}}}definitions", nsmap=_PREFIXES)
    _add_port(root, "WebTicketService", TICKET_PORT, location)
    return to_bytes(root)


def certificate_metadata(location: str, issuer: str) -> bytes:
    """Of certificate provisioning; ``issuer``: URL of the ticket service. Calls prove the key of their ticket."""
    root = etree.Element(f"{{{WSDL}}}definitions", nsmap=_PREFIXES)
    _add_policy(root, CERTIFICATE_PORT, "EndorsingSupportingTokens", issuer)
    _add_port(root, "CertProvisioningService", CERTIFICATE_PORT, location)
    return to_bytes(root)


def address_book_metadata(location: str, issuer: str) -> bytes:
    """Of searches of the address book. Calls bring their ticket, and prove nothing."""
    root = etree.Element(f"{{{WSDL}}}definitions", nsmap=_PREFIXES)
    _add_policy(root, ADDRESS_BOOK_PORT, "SignedSupportingTokens", issuer)
    _add_port(root, "DistributionListExpander", ADDRESS_BOOK_PORT, location)
    return to_bytes(root)


def _add_policy(root: etree._Element, port: str, kind: str, issuer: str) -> None:
    policy = etree.SubElement(root, f"{{{POLICY}}}Policy", {f"{{{WSU}}}Id": f"{port}_policy"})
    alternative = add(add(policy, POLICY, "ExactlyOne"), POLICY, "All")
    tokens = add(add(alternative, SECURITY_POLICY, kind), POLICY, "Policy")
    token = add(tokens, SECURITY_POLICY, "IssuedToken")
    add(add(token, SECURITY_POLICY, "Issuer"), ADDRESSING, "Address", issuer)


def _add_port(root: etree._Element, service: str, port: str, location: str) -> None:
    element = add(add(root, WSDL, "service", name=service), WSDL, "port", name=port, binding=f"wsdl:{port}")
    add(element, WSDL_SOAP, "address", location=location)
