"""The security header of a request (WS-Security 1.1): a ticket, and the signature that proves its key.

What is signed is the timestamp of the header, by HMAC-SHA1 over exclusively canonicalised XML (XML Signature). Nothing else
is taken: one reference, to that timestamp, with the one algorithm of each kind.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from dataclasses import dataclass

from lxml import etree

from parley.webticket.bearer import BearerHeader, add_bearer
from parley.webticket.names import DSIG, EXCLUSIVE_C14N, HMAC_SHA1, SAML_ASSERTION_ID, SHA1, WSSE, WSU
from parley.webticket.soap import SoapError, add, attribute, decode, required, text_at
from parley.xml import children


@dataclass(frozen=True, slots=True)
class SecurityHeader(BearerHeader):
    """What proves who sends a request."""

    _timestamp: etree._Element
    _signature: etree._Element

    @classmethod
    def parse(cls, header: etree._Element | None) -> SecurityHeader:
        """From the header of an envelope. Raises SoapError."""
        brought = BearerHeader.parse(header)
        assert header is not None
        security = required(header, "Security")
        if len(children(security, "Signature")) != 1:
            raise SoapError("the security header has to hold one Signature")
        timestamp, signature = required(security, "Timestamp"), required(security, "Signature")
        identifier = required(signature, "KeyInfo", "SecurityTokenReference", "KeyIdentifier")
        if (identifier.text or "").strip() != brought.ticket_id:
            raise SoapError("the signature is by another ticket")
        return cls(brought.ticket_id, brought.ticket, brought.created_at, brought.expires_at, timestamp, signature)

    def verify(self, key: bytes, now: float) -> None:
        """Checks the signature and the time. ``now``: Unix time. Raises SoapError."""
        info = required(self._signature, "SignedInfo")
        _expect(info, EXCLUSIVE_C14N, "CanonicalizationMethod")
        _expect(info, HMAC_SHA1, "SignatureMethod")
        if len(children(info, "Reference")) != 1 or len(required(info, "SignatureMethod")):
            raise SoapError("the signature has to be of one reference, and whole")
        reference = required(info, "Reference")
        transforms = required(reference, "Transforms")
        _expect(transforms, EXCLUSIVE_C14N, "Transform")
        _expect(reference, SHA1, "DigestMethod")
        name = self._timestamp.get(f"{{{WSU}}}Id") or ""
        if len(transforms) != 1 or len(transforms[0]) or not name or attribute(reference, "URI") != f"#{name}":
            raise SoapError("the signature is not of the timestamp")
        digest = hashlib.sha1(canonical(self._timestamp), usedforsecurity=False).digest()
        signed = hmac.digest(key, canonical(info), "sha1")
        right = hmac.compare_digest(decode(text_at(reference, "DigestValue"), "DigestValue"), digest)
        right &= hmac.compare_digest(decode(text_at(self._signature, "SignatureValue"), "SignatureValue"), signed)
        if not right:
            raise SoapError("the signature is wrong")
        self.check_time(now)


def _expect(parent: etree._Element, algorithm: str, name: str) -> None:
    if attribute(required(parent, name), "Algorithm") != algorithm:
        raise SoapError(f"{name} has to be {algorithm}")


def canonical(element: etree._Element) -> bytes:
    """An element by exclusive canonicalisation without comments (xml-exc-c14n). Raises SoapError.

    It is not defined for relative namespaces (section 1.3 of Canonical XML).
    """
    try:
        return bytes(etree.tostring(element, method="c14n", exclusive=True, with_comments=False))
    except etree.C14NError:
        raise SoapError("the signed part has no canonical form") from None


def add_security(
    header: etree._Element, assertion: etree._Element, key: bytes, *, created_at: float, expires_at: float
) -> None:
    """Writes a security header, as a client does; times: Unix. ``assertion``: as it came from the ticket service."""
    security = add_bearer(header, assertion, created_at=created_at, expires_at=expires_at)
    signature = etree.SubElement(security, f"{{{DSIG}}}Signature", nsmap={None: DSIG})
    info = add(signature, DSIG, "SignedInfo")
    add(info, DSIG, "CanonicalizationMethod", Algorithm=EXCLUSIVE_C14N)
    add(info, DSIG, "SignatureMethod", Algorithm=HMAC_SHA1)
    reference = add(info, DSIG, "Reference", URI="#timestamp")
    add(add(reference, DSIG, "Transforms"), DSIG, "Transform", Algorithm=EXCLUSIVE_C14N)
    add(reference, DSIG, "DigestMethod", Algorithm=SHA1)
    digest = hashlib.sha1(canonical(required(security, "Timestamp")), usedforsecurity=False).digest()
    add(reference, DSIG, "DigestValue", b64encode(digest).decode())
    add(signature, DSIG, "SignatureValue", b64encode(hmac.digest(key, canonical(info), "sha1")).decode())
    token = add(add(signature, DSIG, "KeyInfo"), WSSE, "SecurityTokenReference")
    add(token, WSSE, "KeyIdentifier", attribute(assertion, "AssertionID"), ValueType=SAML_ASSERTION_ID)
