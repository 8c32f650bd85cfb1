"""Digest, nonces, flow tokens and GRUUs: vectors of the RFCs, replays, forgeries."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.sip.digest import (
    MD5,
    SHA256,
    authentication_info,
    challenges,
    expected_response,
    ha1,
    parse_credentials,
    verify,
)
from parley.sip.errors import SipParseError
from parley.sip.flowtoken import FlowToken, FlowTokens
from parley.sip.gruu import TemporaryGruus, gruu_instance, public_gruu
from parley.sip.nonce import Nonces, NonceState, issued_by, issuer_id
from parley.sip.uri import parse_uri

KEY = b"k" * 32
RFC7616 = (
    'Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm={}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, '
    'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, response="{}"'
)


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        (MD5, "8ca523f5e9506fed4657c9700eebdbec"),
        (SHA256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_vectors_of_rfc_7616(algorithm: str, response: str) -> None:
    credentials = parse_credentials(RFC7616.format(algorithm, response))
    secret = ha1(algorithm, "Mufasa", "http-auth@example.org", "Circle of Life")
    assert verify(credentials, "GET", secret)
    assert not verify(credentials, "POST", secret)
    assert not verify(credentials, "GET", ha1(algorithm, "Mufasa", "http-auth@example.org", "wrong"))
    assert f'rspauth="{expected_response(credentials, "", secret)}"' in authentication_info(credentials, secret)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("Basic abc", "Not Digest Credentials"),
        ("Digest " + "x" * 5000, "Not Digest Credentials"),
        ('Digest username="a"', "Digest Credentials Without realm"),
        ('Digest username="a", username="b"', "Repeated Digest Parameter"),
        ('Digest username="a', "Bad Digest Credentials"),
        (RFC7616.format("SHA-1", "00"), "Unknown Digest Algorithm"),
        (RFC7616.format("MD5", "00").replace("nc=00000001", "nc=1"), "Bad Nonce Count"),
    ],
)
def test_credentials_refused(value: str, reason: str) -> None:
    with pytest.raises(SipParseError) as refused:
        parse_credentials(value)
    assert refused.value.reason == reason


@given(st.text(max_size=60))
def test_any_credentials_are_read_or_refused(text: str) -> None:
    with contextlib.suppress(SipParseError):
        parse_credentials("Digest " + text)


@given(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_quoted_names_survive(name: str) -> None:
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    value = RFC7616.format(MD5, "00").replace("Mufasa", quoted)
    assert parse_credentials(value).username == name


def test_sha256_is_offered_first() -> None:
    first, second = challenges("example.test", "n", stale=True)
    assert "algorithm=SHA-256" in first
    assert "algorithm=MD5" in second
    assert first.endswith("stale=true")


def test_a_nonce_counts_each_use_once_and_ends() -> None:
    nonces = Nonces(KEY, "edge", lifetime=300, started_at=900)
    nonce = nonces.issue("example.test", 1000)
    assert nonces.judge(nonce, "example.test", 1100) is NonceState.OWN
    assert [nonces.use(nonce, count, 1100) for count in (1, 1, 3, 2, 2, 100, 37, 36)] == [
        True, False, True, True, False, True, True, False,
    ]  # fmt: skip
    assert nonces.judge(nonce, "other.test", 1100) is NonceState.FORGED
    assert nonces.judge(nonce, "example.test", 1301) is NonceState.STALE
    assert nonces.judge(nonce[:-2] + "AA", "example.test", 1100) is NonceState.FORGED
    assert nonces.judge("x", "example.test", 1100) is NonceState.FORGED


def test_counts_are_remembered_across_generations() -> None:
    nonces = Nonces(KEY, "edge", lifetime=300)
    nonce = nonces.issue("r", 1000)
    assert nonces.use(nonce, 1, 1000)
    other = nonces.issue("r", 1290)
    assert nonces.use(other, 1, 1400)
    assert not nonces.use(other, 1, 1580)


def test_nonces_of_others_and_of_an_earlier_start() -> None:
    mine, other = Nonces(KEY, "edge-a", started_at=1000), Nonces(KEY, "edge-b", started_at=1000)
    nonce = other.issue("r", 1001)
    assert mine.judge(nonce, "r", 1002) is NonceState.FOREIGN
    assert issued_by(nonce) == issuer_id("edge-b")
    restarted = Nonces(KEY, "edge-b", started_at=1005)
    assert restarted.judge(nonce, "r", 1006) is NonceState.STALE
    assert Nonces(b"x" * 32, "edge-b").judge(nonce, "r", 1002) is NonceState.FORGED


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=4, max_size=40), st.integers(0, 2**64 - 1))
def test_flow_tokens(uid: str, number: int) -> None:
    tokens = FlowTokens(KEY)
    text = tokens.encode(FlowToken(uid, number))
    assert FlowTokens(b"n" * 32, [KEY]).decode(text) == FlowToken(uid, number)
    assert FlowTokens(b"n" * 32).decode(text) is None
    forged = ("B" if text[0] == "A" else "A") + text[1:]
    assert FlowTokens(KEY).decode(forged) is None
    assert str(parse_uri(f"sip:{text}@h;lr")).startswith(f"sip:{text}@")


@given(st.text(max_size=80))
def test_no_text_is_a_flow_token_by_chance(text: str) -> None:
    assert FlowTokens(KEY).decode(text) is None


def test_gruus() -> None:
    instance = "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"
    public = parse_uri(public_gruu("sip:alice@example.test", instance))
    assert gruu_instance(public) == instance
    gruus = TemporaryGruus(KEY)
    first, second = (gruus.make("sip:alice@example.test", instance) for _ in range(2))
    assert first != second
    assert gruus.resolve(parse_uri(first)) == ("sip:alice@example.test", instance)
    assert TemporaryGruus(b"x" * 32).resolve(parse_uri(first)) is None
    assert gruus.resolve(parse_uri("sip:tgruu.AAAA@x;gr")) is None
    assert gruus.resolve(public) is None
