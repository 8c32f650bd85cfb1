"""The headers of MS-SIPAE (section 2.2): challenges, credentials and Authentication-Info."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass
from typing import Final

from parley.sip.authfields import auth_fields
from parley.sip.errors import SipParseError

REALM: Final = "SIP Communications Service"
VERSION: Final = 4
"""What Office Communications Server 2007 R2 offers; clients may answer with a lower one, or with none, which means 2."""

SCHEMES: Final = ("TLS-DSK", "Kerberos", "NTLM")
_MAX_LENGTH: Final = 49_152
_MAX_NUMBER: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class SignedCredentials:
    """What an Authorization or Proxy-Authorization header of these schemes says."""

    scheme: str
    realm: str
    targetname: str
    opaque: str
    gssapi_data: bytes | None
    """None when absent; empty when the client asks for a challenge."""
    version: int
    crand: str
    cnum: int
    """0 when the message is not signed."""
    response: bytes

    @property
    def signed(self) -> bool:
        """Whether a signature comes with it."""
        return bool(self.response)


def scheme_of(value: str) -> str | None:
    """The scheme of a header value when it is one of these, as it is to be written; None for any other."""
    name = value.partition(" ")[0].lower()
    return next((scheme for scheme in SCHEMES if scheme.lower() == name), None)


def parse_signed_credentials(value: str) -> SignedCredentials:
    """Raises SipParseError 400."""
    scheme = scheme_of(value)
    if scheme is None or len(value) > _MAX_LENGTH:
        raise SipParseError(400, "Not Such Credentials")
    fields = auth_fields(value, len(scheme) + 1, scheme)
    data = fields.get("gssapi-data")
    try:
        gssapi_data = None if data is None else b64decode(data, validate=True)
        response = bytes.fromhex(fields.get("response", ""))
    except (Base64Error, ValueError):
        raise SipParseError(400, f"Bad {scheme} Credentials") from None
    return SignedCredentials(
        scheme, fields.get("realm", ""), fields.get("targetname", ""), fields.get("opaque", ""), gssapi_data,
        _number(fields, "version", 2, scheme), fields.get("crand", ""), _number(fields, "cnum", 0, scheme), response,
    )  # fmt: skip


def _number(fields: dict[str, str], name: str, default: int, scheme: str) -> int:
    text = fields.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > _MAX_NUMBER:
        raise SipParseError(400, f"Bad {scheme} Credentials")
    return int(text)


def offer(scheme: str, targetname: str, sts_uri: str = "") -> str:
    """A challenge that names the scheme alone. ``sts_uri``: where clients get a certificate that have none."""
    where = f', sts-uri="{sts_uri}"' if sts_uri else ""
    return f'{scheme} realm="{REALM}", targetname="{targetname}"{where}, version={VERSION}'


def challenge(scheme: str, targetname: str, opaque: str, data: bytes) -> str:
    """A challenge with a token of the handshake."""
    token = b64encode(data).decode()
    return (
        f'{scheme} opaque="{opaque}", gssapi-data="{token}", targetname="{targetname}", realm="{REALM}", version={VERSION}'
    )


def authentication_info(
    scheme: str, targetname: str, opaque: str, srand: str, snum: int, signature: bytes, data: bytes = b""
) -> str:
    """The value of Authentication-Info: our signature (section 2.2.3).

    ``data``: the token of the server for a client that asked for mutual authentication. Where that goes is not published;
    what clients do not know here they pass over.
    """
    token = f', gssapi-data="{b64encode(data).decode()}"' if data else ""
    return (
        f'{scheme} rspauth="{signature.hex().upper()}", srand="{srand}", snum="{snum}", opaque="{opaque}", qop="auth", '
        f'targetname="{targetname}", realm="{REALM}"{token}'
    )
