"""The exchange with the certificate provisioning service (MS-OCAUTHWS): GetAndPublishCert."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass

from lxml import etree

from parley.webticket.names import AUTH_SERVICES, BASE64, ENROLLMENT, PKCS10, TRUST, WSSE, X509_V3
from parley.webticket.soap import SoapError, add, attribute, decode, envelope, parse_envelope, required, text_at
from parley.xml import text_of, to_bytes


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """A GetAndPublishCert."""

    device: str
    """As the client names it: a UUID, usually in braces."""
    entity: str
    """The user whose certificate is asked for, "alice@example.test"."""
    request: bytes
    """PKCS#10, DER."""
    request_id: str

    @classmethod
    def parse(cls, element: etree._Element) -> CertificateRequest:
        """From the body of an envelope. Raises SoapError."""
        device, entity = attribute(element, "DeviceId"), attribute(element, "Entity")
        if not device or not entity:
            raise SoapError("DeviceId or Entity is missing")
        token = required(element, "RequestSecurityToken")
        encoded = text_of(required(token, "BinarySecurityToken"))
        return cls(device, entity, decode(encoded, "BinarySecurityToken"), text_at(token, "RequestID"))

    @classmethod
    def from_bytes(cls, data: bytes) -> CertificateRequest:
        """From an envelope, whatever its header. Raises SoapError."""
        return cls.parse(parse_envelope(data, "GetAndPublishCert").request)

    def add_to(self, body: etree._Element) -> None:
        """Writes it into a body, as a client does."""
        element = etree.SubElement(
            body, f"{{{AUTH_SERVICES}}}GetAndPublishCert", {"DeviceId": self.device, "Entity": self.entity},
            nsmap={None: AUTH_SERVICES},
        )  # fmt: skip
        token = add(element, TRUST, "RequestSecurityToken")
        add(token, TRUST, "TokenType", X509_V3)
        add(token, TRUST, "RequestType", f"{TRUST}/Issue")
        encoded = b64encode(self.request).decode()
        add(token, WSSE, "BinarySecurityToken", encoded, ValueType=PKCS10, EncodingType=BASE64)
        add(token, ENROLLMENT, "RequestID", self.request_id)


def certificate_response(der: bytes, request_id: str) -> bytes:
    """The answer with a certificate."""
    root, body = envelope({"t": TRUST, "wsse": WSSE, "wstep": ENROLLMENT})
    answer = etree.SubElement(body, f"{{{AUTH_SERVICES}}}GetAndPublishCertResponse", nsmap={None: AUTH_SERVICES})
    response = add(answer, TRUST, "RequestSecurityTokenResponse")
    add(response, TRUST, "TokenType", X509_V3)
    token = add(response, TRUST, "RequestedSecurityToken")
    encoded = b64encode(der).decode()
    add(token, WSSE, "BinarySecurityToken", encoded, ValueType=X509_V3, EncodingType=BASE64)
    add(response, ENROLLMENT, "RequestID", request_id)
    return to_bytes(root)
