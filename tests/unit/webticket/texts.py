"""Messages as a client writes them that puts them together as text; what varies is filled in."""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64encode

PREFIXES = (
    'xmlns:saml="urn:oasis:names:tc:SAML:1.0:assertion" xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/" '
    'xmlns:wst="http://docs.oasis-open.org/ws-sx/ws-trust/200512" '
    'xmlns:auth="http://schemas.xmlsoap.org/ws/2006/12/authorization" xmlns:wsa="http://www.w3.org/2005/08/addressing" '
    'xmlns:wsp="http://schemas.xmlsoap.org/ws/2004/09/policy" '
    'xmlns:wsse="http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd" '
    'xmlns:wsu="http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"'
)
UTILITY = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"


def envelope(body: str, header: str = "") -> bytes:
    """An envelope with blanks here and there."""
    head = (
        f"<soap:Header> <wsa:To>https://x/</wsa:To> <wsse:Security>{header}</wsse:Security></soap:Header>" if header else ""
    )
    return (
        f'<?xml version="1.0"?>\r\n<soap:Envelope {PREFIXES} >{head} <soap:Body>{body}</soap:Body></soap:Envelope>'.encode()
    )


def token_request(
    entropy: bytes, *, claim: str = "sip:alice@example.test", applies_to: str = "https://x/CertProv/y"
) -> bytes:
    """A RequestSecurityToken; the request type is of an older namespace, as in the field."""
    return envelope(
        '<wst:RequestSecurityToken Context="01020304-0506"> '
        "<wst:RequestType>http://schemas.xmlsoap.org/ws/2005/02/trust/Issue</wst:RequestType> "
        f"<wsp:AppliesTo>  <wsa:EndpointReference>   <wsa:Address>{applies_to}</wsa:Address>  </wsa:EndpointReference> "
        '</wsp:AppliesTo> <wst:Claims Dialect="urn:component:Microsoft.Rtc.WebAuthentication.2010:authclaims">  '
        '<auth:ClaimType Uri="http://schemas.xmlsoap.org/ws/2005/05/identity/claims/uri" Optional="false">   '
        f"<auth:Value>{claim}</auth:Value>  </auth:ClaimType> </wst:Claims> <wst:Entropy>  "
        f"<wst:BinarySecret>{b64encode(entropy).decode()}</wst:BinarySecret> </wst:Entropy> "
        "<wst:KeyType>http://docs.oasis-open.org/ws-sx/ws-trust/200512/SymmetricKey</wst:KeyType></wst:RequestSecurityToken>"
    )


def certificate_request(request: str, *, entity: str = "alice@example.test") -> str:
    """A GetAndPublishCert; ``request``: base64, with line breaks or without."""
    return (
        '<GetAndPublishCert xmlns="http://schemas.microsoft.com/OCS/AuthWebServices/" '
        'xmlns:wst="http://docs.oasis-open.org/ws-sx/ws-trust/200512/" '
        'xmlns:wstep="http://schemas.microsoft.com/windows/pki/2009/01/enrollment" '
        f'DeviceId="{{01020304-0506}}" Entity="{entity}"> <wst:RequestSecurityToken>  '
        "<wst:TokenType>http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-x509-token-profile-1.0#X509v3"
        f"</wst:TokenType>  <wsse:BinarySecurityToken  >\r\n{request}</wsse:BinarySecurityToken>  "
        "<wstep:RequestID>abc-1</wstep:RequestID> </wst:RequestSecurityToken></GetAndPublishCert>"
    )


def cut(text: str, name: str, *, whole: bool = False) -> str:
    """An element out of a text, without regard to what XML is."""
    found = re.search(rf"(<(?:\w+:)?{name}[ >].*?</(?:\w+:)?{name}>)", text, re.S)
    assert found is not None, f"no {name}"
    return found[1] if whole else found[1][found[1].index(">") + 1 : found[1].rindex("<")]


def signed_header(answer: str, key: bytes) -> str:
    """The security header of a later call, put together from the text of the ticket service's answer."""
    timestamp = f'<wsu:Timestamp xmlns:wsu="{UTILITY}" wsu:Id="timestamp">{cut(answer, "Lifetime")}</wsu:Timestamp>'
    assertion = cut(answer, "Assertion", whole=True)
    name = assertion.partition('AssertionID="')[2].partition('"')[0]
    digest = b64encode(hashlib.sha1(timestamp.encode()).digest()).decode()
    canonical = (
        '<SignedInfo xmlns="http://www.w3.org/2000/09/xmldsig#">'
        '<CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"></CanonicalizationMethod>'
        '<SignatureMethod Algorithm="http://www.w3.org/2000/09/xmldsig#hmac-sha1"></SignatureMethod>'
        '<Reference URI="#timestamp"><Transforms><Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"></Transform>'
        '</Transforms><DigestMethod Algorithm="http://www.w3.org/2000/09/xmldsig#sha1"></DigestMethod>'
        f"<DigestValue>{digest}</DigestValue></Reference></SignedInfo>"
    )
    value = b64encode(hmac.digest(key, canonical.encode(), "sha1")).decode()
    return (
        f'{timestamp}{assertion}<Signature xmlns="http://www.w3.org/2000/09/xmldsig#"> {canonical} '
        f"<SignatureValue>{value}</SignatureValue> <KeyInfo>  <wsse:SecurityTokenReference>   "
        f"<wsse:KeyIdentifier>{name}</wsse:KeyIdentifier>  </wsse:SecurityTokenReference> </KeyInfo></Signature>"
    )
