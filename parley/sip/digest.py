"""Digest authentication for SIP (RFC 3261 section 22, RFC 7616, RFC 8760): challenges, credentials, responses.

SHA-256 is offered before MD5, each in a challenge of its own. ``qop=auth`` is demanded; the form of RFC 2069 without qop is
refused. Responses are compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from parley.sip.authfields import auth_fields
from parley.sip.errors import SipParseError
from parley.sip.params import quote

MD5 = "MD5"
SHA256 = "SHA-256"

_MAX_LENGTH = 4096


@dataclass(frozen=True)
class DigestCredentials:
    """What an Authorization or Proxy-Authorization header says."""

    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    """Hex digits in lower case."""
    algorithm: str
    """"MD5" or "SHA-256", with "-sess" if so."""
    cnonce: str
    qop: str
    nonce_count: int
    nonce_count_text: str
    opaque: str

    @property
    def hash_name(self) -> str:
        """The algorithm without "-sess"."""
        return self.algorithm.removesuffix("-sess")


def challenges(realm: str, nonce: str, algorithms: Sequence[str] = (SHA256, MD5), *, stale: bool = False) -> list[str]:
    """Values of WWW-Authenticate or Proxy-Authenticate, the preferred one first (RFC 8760 section 2.4)."""
    tail = ", stale=true" if stale else ""
    return [
        f'Digest realm={quote(realm)}, nonce="{nonce}", algorithm={algorithm}, qop="auth"{tail}' for algorithm in algorithms
    ]


def parse_credentials(value: str) -> DigestCredentials:
    """Reads a Digest header value. Raises SipParseError 400 for one that is malformed or of another scheme."""
    if value[:7].lower() != "digest " or len(value) > _MAX_LENGTH:
        raise SipParseError(400, "Not Digest Credentials")
    return _from_fields(auth_fields(value, 7, "Digest"))


def _from_fields(fields: dict[str, str]) -> DigestCredentials:
    for name in ("username", "realm", "nonce", "uri", "response"):
        if name not in fields:
            raise SipParseError(400, f"Digest Credentials Without {name}")
    algorithm = fields.get("algorithm", MD5)
    upper = algorithm.upper()
    known = {"MD5": MD5, "SHA-256": SHA256, "MD5-SESS": "MD5-sess", "SHA-256-SESS": "SHA-256-sess"}
    if upper not in known:
        raise SipParseError(400, "Unknown Digest Algorithm")
    count_text = fields.get("nc", "")
    qop = fields.get("qop", "").lower()
    count = 0
    if qop:
        if len(count_text) != 8 or any(char not in "0123456789abcdefABCDEF" for char in count_text):
            raise SipParseError(400, "Bad Nonce Count")
        count = int(count_text, 16)
        if "cnonce" not in fields:
            raise SipParseError(400, "Digest Credentials Without cnonce")
    return DigestCredentials(
        fields["username"], fields["realm"], fields["nonce"], fields["uri"], fields["response"].lower(),
        known[upper], fields.get("cnonce", ""), qop, count, count_text, fields.get("opaque", ""),
    )  # fmt: skip


def ha1(algorithm: str, username: str, realm: str, password: str) -> bytes:
    """H(username:realm:password), 16 or 32 bytes (RFC 7616 section 3.4.2)."""
    return _hash(algorithm, f"{username}:{realm}:{password}").digest()


def expected_response(credentials: DigestCredentials, method: str, secret: bytes) -> str:
    """The response (hex) that who knows the password sends; ``secret`` is the `ha1` of the credentials' algorithm.

    An empty ``method`` gives ``rspauth`` of Authentication-Info (RFC 7616 section 3.5).
    """
    name = credentials.hash_name
    first = secret.hex()
    if credentials.algorithm.endswith("-sess"):
        first = _hash(name, f"{first}:{credentials.nonce}:{credentials.cnonce}").hexdigest()
    second = _hash(name, f"{method}:{credentials.uri}").hexdigest()
    text = f"{first}:{credentials.nonce}:{credentials.nonce_count_text}:{credentials.cnonce}:{credentials.qop}:{second}"
    return _hash(name, text).hexdigest()


def verify(credentials: DigestCredentials, method: str, secret: bytes) -> bool:
    """Whether the response shows knowledge of the password; qop must be "auth"."""
    expected = expected_response(credentials, method, secret)
    given = credentials.response.encode("utf-8", "surrogateescape")
    return hmac.compare_digest(expected.encode(), given) and credentials.qop == "auth"


def authentication_info(credentials: DigestCredentials, secret: bytes) -> str:
    """The value of Authentication-Info: the server proves that it knows the password too (RFC 7616 section 3.5)."""
    proof = expected_response(credentials, "", secret)
    return f'qop=auth, rspauth="{proof}", cnonce={quote(credentials.cnonce)}, nc={credentials.nonce_count_text}'


def _hash(algorithm: str, text: str) -> hashlib._Hash:
    data = text.encode("utf-8", "surrogateescape")
    if algorithm == SHA256:
        return hashlib.sha256(data)
    return hashlib.md5(data, usedforsecurity=False)
