"""Namespaces and identifiers of MS-OCAUTHWS and what it builds on (WS-Trust 1.3, WS-Security 1.1, XML Signature)."""

from __future__ import annotations

from typing import Final

SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"
WSU: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
WSSE: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
TRUST: Final = "http://docs.oasis-open.org/ws-sx/ws-trust/200512"
ADDRESSING: Final = "http://www.w3.org/2005/08/addressing"
POLICY: Final = "http://schemas.xmlsoap.org/ws/2004/09/policy"
SECURITY_POLICY: Final = "http://docs.oasis-open.org/ws-sx/ws-securitypolicy/200702"
WSDL: Final = "http://schemas.xmlsoap.org/wsdl/"
WSDL_SOAP: Final = "http://schemas.xmlsoap.org/wsdl/soap/"
AUTHORIZATION: Final = "http://schemas.xmlsoap.org/ws/2006/12/authorization"
SAML: Final = "urn:oasis:names:tc:SAML:1.0:assertion"
DSIG: Final = "http://www.w3.org/2000/09/xmldsig#"
AUTH_SERVICES: Final = "http://schemas.microsoft.com/OCS/AuthWebServices/"
ENROLLMENT: Final = "http://schemas.microsoft.com/windows/pki/2009/01/enrollment"

EXCLUSIVE_C14N: Final = "http://www.w3.org/2001/10/xml-exc-c14n#"
HMAC_SHA1: Final = DSIG + "hmac-sha1"
SHA1: Final = DSIG + "sha1"

SAML_V11: Final = "http://docs.oasis-open.org/wss/oasis-wss-saml-token-profile-1.1#SAMLV1.1"
SAML_ASSERTION_ID: Final = "http://docs.oasis-open.org/wss/oasis-wss-saml-token-profile-1.0#SAMLAssertionID"
X509_V3: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-x509-token-profile-1.0#X509v3"
PKCS10: Final = "http://schemas.microsoft.com/OCS/AuthWebServices.xsd#PKCS10"
BASE64: Final = WSSE + "#Base64Binary"
SYMMETRIC_KEY: Final = TRUST + "/SymmetricKey"
COMPUTED_KEY: Final = TRUST + "/CK/PSHA1"
CLAIMS_DIALECT: Final = "urn:component:Microsoft.Rtc.WebAuthentication.2010:authclaims"
CLAIM_URI: Final = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/uri"
