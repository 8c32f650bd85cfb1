"""The exchange with the ticket service (WS-Trust 1.3, MS-OCAUTHWS): a request for a token, and its answer.

Some clients cut the answer up as text rather than as XML, so its form matters: the assertion declares every prefix that is
used within it, Lifetime holds nothing but two elements whose prefix is declared outside, and the first BinarySecret is ours.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from dataclasses import dataclass
from typing import Final

from lxml import etree

from parley.webticket.names import (
    ADDRESSING,
    AUTHORIZATION,
    CLAIM_URI,
    CLAIMS_DIALECT,
    COMPUTED_KEY,
    POLICY,
    SAML,
    SAML_V11,
    SYMMETRIC_KEY,
    TRUST,
    WSU,
)
from parley.webticket.soap import SoapError, add, attribute, decode, envelope, instant, parse_envelope, required, text_at
from parley.xml import child, to_bytes

TICKET: Final = "urn:parley:webticket"
_MIN_ENTROPY: Final = 16
_MAX_ENTROPY: Final = 128


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A RequestSecurityToken."""

    context: str
    """Repeated in the answer."""
    applies_to: str
    """URL of the service that the ticket is for."""
    claim: str
    """The SIP URI that the client says is its own; "" when it says none."""
    entropy: bytes
    """The client's part of the key."""

    @classmethod
    def parse(cls, data: bytes) -> TokenRequest:
        """Raises SoapError."""
        request = parse_envelope(data, "RequestSecurityToken").request
        entropy = decode(text_at(request, "Entropy", "BinarySecret"), "BinarySecret")
        if not _MIN_ENTROPY <= len(entropy) <= _MAX_ENTROPY:
            raise SoapError(f"BinarySecret has to be of {_MIN_ENTROPY} to {_MAX_ENTROPY} bytes")
        claims = child(request, "Claims")
        claim = text_at(claims, "ClaimType", "Value") if claims is not None else ""
        applies_to = text_at(request, "AppliesTo", "EndpointReference", "Address")
        return cls(attribute(request, "Context"), applies_to, claim, entropy)

    def __bytes__(self) -> bytes:
        root, body = envelope({"t": TRUST, "wsp": POLICY, "wsa": ADDRESSING, "auth": AUTHORIZATION})
        request = add(body, TRUST, "RequestSecurityToken", **({"Context": self.context} if self.context else {}))
        add(request, TRUST, "TokenType", SAML_V11)
        add(request, TRUST, "RequestType", f"{TRUST}/Issue")
        reference = add(add(request, POLICY, "AppliesTo"), ADDRESSING, "EndpointReference")
        add(reference, ADDRESSING, "Address", self.applies_to)
        if self.claim:
            claims = add(request, TRUST, "Claims", Dialect=CLAIMS_DIALECT)
            add(add(claims, AUTHORIZATION, "ClaimType", Uri=CLAIM_URI), AUTHORIZATION, "Value", self.claim)
        add(add(request, TRUST, "Entropy"), TRUST, "BinarySecret", b64encode(self.entropy).decode())
        add(request, TRUST, "KeyType", SYMMETRIC_KEY)
        return to_bytes(root)


@dataclass(frozen=True, slots=True)
class TokenResponse:
    """A RequestSecurityTokenResponse with a ticket."""

    context: str
    issuer: str
    """URL of this server."""
    ticket_id: str
    ticket: str
    """Sealed, base64."""
    entropy: bytes
    """The server's part of the key, as long as the client's."""
    created_at: float
    expires_at: float
    """Unix time, both."""

    def __bytes__(self) -> bytes:
        root, body = envelope({"t": TRUST, "wsu": WSU})
        collection = add(body, TRUST, "RequestSecurityTokenResponseCollection")
        context = {"Context": self.context} if self.context else {}
        response = add(collection, TRUST, "RequestSecurityTokenResponse", **context)
        add(response, TRUST, "TokenType", SAML_V11)
        self._add_assertion(add(response, TRUST, "RequestedSecurityToken"))
        add(add(response, TRUST, "RequestedProofToken"), TRUST, "ComputedKey", COMPUTED_KEY)
        add(add(response, TRUST, "Entropy"), TRUST, "BinarySecret", b64encode(self.entropy).decode())
        lifetime = add(response, TRUST, "Lifetime")
        add(lifetime, WSU, "Created", instant(self.created_at))
        add(lifetime, WSU, "Expires", instant(self.expires_at))
        add(response, TRUST, "KeySize", str(len(self.entropy) * 8))
        return to_bytes(root)

    def _add_assertion(self, parent: etree._Element) -> None:
        attributes = {
            "MajorVersion": "1", "MinorVersion": "1", "AssertionID": self.ticket_id, "Issuer": self.issuer,
            "IssueInstant": instant(self.created_at),
        }  # fmt: skip
        assertion = etree.SubElement(parent, f"{{{SAML}}}Assertion", attributes, nsmap={"saml": SAML})
        times = {"NotBefore": instant(self.created_at), "NotOnOrAfter": instant(self.expires_at)}
        add(assertion, SAML, "Conditions", **times)
        advice = add(assertion, SAML, "Advice")
        etree.SubElement(advice, f"{{{TICKET}}}Ticket", nsmap={"p": TICKET}).text = self.ticket


def ticket_of(assertion: etree._Element) -> tuple[str, str]:
    """The AssertionID, and the sealed ticket, of an assertion that a client brings back. Raises SoapError."""
    name = attribute(assertion, "AssertionID")
    if not name:
        raise SoapError("the assertion has no AssertionID")
    return name, text_at(required(assertion, "Advice"), "Ticket")


def computed_key(client: bytes, server: bytes) -> bytes:
    """The key that follows from both parts (WS-Trust 1.3, CK/PSHA1), as long as the client's."""
    return p_sha1(client, server, len(client))


def p_sha1(secret: bytes, seed: bytes, length: int) -> bytes:
    """P_SHA-1 (RFC 2246 section 5)."""
    output, a = b"", seed
    while len(output) < length:
        a = hmac.digest(secret, a, "sha1")
        output += hmac.digest(secret, a + seed, "sha1")
    return output[:length]
