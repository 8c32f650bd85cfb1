"""Digest credentials and nonces. The first line is an Authorization value; the bytes after it are nonce counts."""

from __future__ import annotations

from dataclasses import replace

from fuzz.common import read, text_of
from parley.sip.digest import DigestCredentials, authentication_info, expected_response, ha1, parse_credentials, verify
from parley.sip.flowtoken import FlowToken, FlowTokens
from parley.sip.gruu import TemporaryGruus
from parley.sip.nonce import Nonces, NonceState, issued_by, issuer_id
from parley.sip.params import quote
from parley.sip.uri import parse_uri

NOW = 1_700_000_000.0
KEY = bytes(range(32))
REALM = "example.test"


def fuzz_one(data: bytes) -> None:
    """Reads credentials, judges their nonce, uses counts."""
    first, _, counts = data.partition(b"\n")
    text = text_of(first)
    credentials = read(lambda: parse_credentials(text))
    if credentials is not None:
        _credentials(credentials)
    nonce = credentials.nonce if credentials is not None else text
    nonces = Nonces(KEY, "edge-1", started_at=NOW - 10)
    _nonce(nonces, nonce)
    _uses(nonces, counts)
    _tokens(text)


def _credentials(credentials: DigestCredentials) -> None:
    secret = ha1(credentials.hash_name, credentials.username, credentials.realm, "secret")
    right = replace(credentials, response=expected_response(credentials, "REGISTER", secret))
    assert verify(right, "REGISTER", secret) == (credentials.qop == "auth")
    assert not verify(right, "INVITE", secret)
    verify(credentials, "REGISTER", secret)
    authentication_info(credentials, secret)
    written = (
        f"Digest username={quote(credentials.username)}, realm={quote(credentials.realm)}, "
        f"nonce={quote(credentials.nonce)}, uri={quote(credentials.uri)}, response={quote(credentials.response)}, "
        f"algorithm={credentials.algorithm}, opaque={quote(credentials.opaque)}, cnonce={quote(credentials.cnonce)}"
    )
    if credentials.qop:
        written += f", qop={quote(credentials.qop)}, nc={credentials.nonce_count_text}"
    again = read(lambda: parse_credentials(written))
    if again is not None:  # quoting may make it too long
        count = credentials.nonce_count_text if credentials.qop else ""
        assert again == replace(credentials, nonce_count_text=count), (again, credentials)
    else:
        assert len(written) > 4096, written


def _nonce(nonces: Nonces, nonce: str) -> None:
    """What was not issued is never good; what was, is, and only for its realm and its time."""
    assert nonces.judge(nonce, REALM, NOW) is NonceState.FORGED
    issuer = issued_by(nonce)
    assert issuer is None or len(issuer) <= 8
    own = nonces.issue(REALM, NOW)
    assert issued_by(own) == issuer_id("edge-1")
    assert nonces.judge(own, REALM, NOW) is NonceState.OWN
    assert nonces.judge(own, REALM + "x", NOW) is NonceState.FORGED
    assert nonces.judge(own, REALM, NOW + 301) is NonceState.STALE
    assert Nonces(KEY, "edge-2").judge(own, REALM, NOW) is NonceState.FOREIGN
    at = len(nonce) % len(own)
    changed = own[:at] + (nonce[:1] or "A") + own[at + 1 :]
    if changed.replace("+", "-").replace("/", "_") != own:
        assert nonces.judge(changed, REALM, NOW) is NonceState.FORGED, changed


def _uses(nonces: Nonces, counts: bytes) -> None:
    """No count is accepted twice; one above all before it is accepted. Four bytes are a count."""
    nonce = nonces.issue(REALM, NOW)
    used: set[int] = set()
    for at in range(0, min(len(counts), 256), 4):
        count = int.from_bytes(counts[at : at + 4], "big")
        accepted = nonces.use(nonce, count, NOW + at)
        assert not (accepted and count in used), count
        if count > max(used, default=0):
            assert accepted, count
        if accepted:
            assert count > 0
            used.add(count)


def _tokens(text: str) -> None:
    """Tokens in URIs that were not made here say nothing."""
    tokens = FlowTokens(KEY)
    assert tokens.decode(text) is None
    assert tokens.decode(tokens.encode(FlowToken("edge-1", len(text)))) == FlowToken("edge-1", len(text))
    uri = read(lambda: parse_uri(f"sip:tgruu.{text}@example.test;gr"))
    if uri is not None:
        assert TemporaryGruus(KEY).resolve(uri) is None
