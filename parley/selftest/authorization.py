"""The client's side of digest authentication (RFC 3261 section 22, RFC 7616, RFC 8760)."""

from __future__ import annotations

from secrets import token_hex

from parley.sip.authfields import auth_fields
from parley.sip.digest import MD5, SHA256, DigestCredentials, expected_response, ha1
from parley.sip.errors import SipParseError
from parley.sip.message import Request, Response
from parley.sip.params import quote

_HEADERS = {401: ("WWW-Authenticate", "Authorization"), 407: ("Proxy-Authenticate", "Proxy-Authorization")}


def authorize(request: Request, challenge: Response, user: str, password: str) -> None:
    """Puts the answer to a challenge (401 or 407) on a request: to the first whose algorithm we know, as servers prefer it.

    Raises SipParseError for a challenge that cannot be answered.
    """
    asked, answered = _HEADERS[challenge.status]
    request.remove(answered)
    for value in challenge.get_all(asked):
        if value[:7].lower() != "digest ":
            continue
        fields = auth_fields(value, 7, "Digest")
        algorithm = {"MD5": MD5, "SHA-256": SHA256}.get(fields.get("algorithm", "MD5").upper())
        if algorithm is not None and "auth" in [word.strip() for word in fields.get("qop", "").lower().split(",")]:
            request.add(answered, _answer(fields, algorithm, request, user, password))
            return
    raise SipParseError(400, f"{challenge.status} Without a Digest Challenge That Can Be Answered")


def _answer(fields: dict[str, str], algorithm: str, request: Request, user: str, password: str) -> str:
    if "realm" not in fields or "nonce" not in fields:
        raise SipParseError(400, "Challenge Without Realm or Nonce")
    realm, count = fields["realm"], "00000001"  # each nonce is used once
    credentials = DigestCredentials(
        user, realm, fields["nonce"], request.uri_text, "", algorithm, token_hex(8), "auth", 1, count,
        fields.get("opaque", ""),
    )  # fmt: skip
    response = expected_response(credentials, request.method, ha1(algorithm, user, realm, password))
    opaque = f", opaque={quote(credentials.opaque)}" if "opaque" in fields else ""
    return (
        f"Digest username={quote(user)}, realm={quote(realm)}, nonce={quote(credentials.nonce)}, "
        f'uri={quote(credentials.uri)}, response="{response}", algorithm={algorithm}, cnonce="{credentials.cnonce}", '
        f"qop=auth, nc={count}{opaque}"
    )
