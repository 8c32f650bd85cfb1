"""Relay credentials: the published layout, what survives the trimming of clients, generations of keys."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.mras.tokens import (
    GENERATION_S,
    TokenKeys,
    Tokens,
    from_filetime,
    issue,
    survives_trimming,
    to_filetime,
    verify,
)
from parley.stun.ms.integrity import integrity_key

KEYS = TokenKeys(identity=bytes(range(0x40, 0x80)), username=bytes(range(0x14)), password=bytes(range(0x20, 0x34)))
MASTER = bytes(range(32))
OTHER = bytes(range(1, 33))
NOW = 1_790_000_000.0

users = st.text(min_size=1, max_size=30)
times = st.floats(0, 4e9, allow_nan=False)
flags = st.none() | st.integers(0, 0xFFFFFFFF)


def test_the_vector() -> None:
    issued = issue(KEYS, "sip:alice@example.org", from_filetime(0x01D8000000000000))
    assert base64.b64encode(issued.username).decode() == (
        "AQAAIAAAAAAB2AAAicPhc3Wshc44aYg+01akiDkB+MVRWmptWh/p5dNQUAfbwXIe5qUhfQ=="
    )
    assert base64.b64encode(issued.password).decode() == "2QBUYr2MEED0aX3gD8xzn+MrUok="
    assert integrity_key(issued.username, "example.org", issued.password).hex() == "4d96e7a2d224b99794fd2916676cfa8f"


def test_version_2_has_flags_and_56_bytes() -> None:
    issued = issue(KEYS, "sip:alice@example.org", NOW, flags=0x80000001)
    assert len(issued.username) == 56
    assert issued.username[:4] == bytes.fromhex("02000024")
    verified = verify(KEYS, issued.username)
    assert verified is not None
    assert verified.flags == 0x80000001


@given(users, times, flags)
def test_what_is_issued_survives_trimming_and_verifies(user: str, until: float, given_: int | None) -> None:
    tokens = Tokens([MASTER])
    issued = tokens.issue(user, until, flags=given_)
    for value in (issued.username, issued.password):
        assert value.lstrip(b'"').rstrip(b'"\0') == value
    assert len(issued.username) == (52 if given_ is None else 56)
    assert abs(issued.expires_at - until) < 0.001
    verified = tokens.verify(issued.username)
    assert verified is not None
    assert (verified.password, verified.flags) == (issued.password, given_ or 0)
    assert abs(verified.expires_at - issued.expires_at) < 0.001


def test_some_credentials_have_to_be_rolled_again() -> None:
    """The property above would prove nothing if none of its credentials had needed it."""
    expiry = to_filetime(NOW)
    moved = [issue(KEYS, f"sip:user{n}@example.org", NOW).username for n in range(600)]
    rolled = sum(int.from_bytes(name[8:12] + name[4:8], "big") != expiry for name in moved)
    assert 1 <= rolled <= 60  # some 2 %


@pytest.mark.parametrize(
    ("value", "survives"), [(b"ab", True), (b'"b', False), (b'a"', False), (b"a\0", False), (b"\0b", True)]
)
def test_trimming(value: bytes, survives: bool) -> None:
    assert survives_trimming(value) is survives


@given(users, st.integers(0, 51), st.integers(1, 255))
def test_an_altered_user_name_is_not_ours(user: str, at: int, flip: int) -> None:
    tokens = Tokens([MASTER])
    name = bytearray(tokens.issue(user, NOW).username)
    name[at] ^= flip
    assert tokens.verify(bytes(name)) is None


@given(st.binary(max_size=80))
def test_no_other_bytes_are_ours(data: bytes) -> None:
    assert Tokens([MASTER]).verify(data) is None
    assert verify(KEYS, data) is None


def test_a_user_has_one_id_in_all_generations_and_another_than_others() -> None:
    tokens = Tokens([MASTER])
    found = [tokens.verify(tokens.issue("sip:a@b", NOW + n * GENERATION_S).username) for n in range(3)]
    assert len({verified.client_id for verified in found if verified}) == 1
    other = tokens.verify(tokens.issue("sip:c@b", NOW).username)
    assert other is not None
    assert found[0] is not None
    assert other.client_id != found[0].client_id
    assert len(other.client_id) == 20


def test_each_generation_has_passwords_of_its_own() -> None:
    tokens = Tokens([MASTER])
    names = [tokens.issue("sip:a@b", NOW + n * GENERATION_S) for n in range(2)]
    forged = bytearray(names[0].username)
    forged[4:12] = names[1].username[4:12]
    assert tokens.verify(bytes(forged)) is None


@given(st.integers(1, 10_000), st.integers(-40, 40), st.integers(0, 50))
def test_rolling_again_never_leaves_the_generation(generation: int, units: int, user: int) -> None:
    edge = generation * int(GENERATION_S) - 11_644_473_600 + units / 1e7
    tokens = Tokens([MASTER])
    assert tokens.verify(tokens.issue(f"sip:{user}@b", edge).username) is not None


def test_a_new_master_key_issues_while_the_old_one_verifies() -> None:
    before = Tokens([MASTER]).issue("sip:a@b", NOW)
    rotated = Tokens([OTHER, MASTER])
    after = rotated.issue("sip:a@b", NOW)
    assert rotated.verify(before.username) is not None
    assert rotated.verify(after.username) is not None
    assert Tokens([MASTER]).verify(after.username) is None
    assert Tokens([OTHER]).verify(before.username) is None
    with pytest.raises(ValueError, match="need a master key"):
        Tokens([])


def test_times() -> None:
    assert to_filetime(0) == 116_444_736_000_000_000
    assert from_filetime(116_444_736_000_000_000) == 0
    for beyond in (-1.2e10, 1e13):
        with pytest.raises(ValueError, match="FILETIME"):
            to_filetime(beyond)


def test_no_text_shows_a_secret() -> None:
    tokens = Tokens([MASTER])
    issued = tokens.issue("sip:a@b", NOW)
    for value in (KEYS, issued, tokens.verify(issued.username)):
        assert repr(issued.password) not in repr(value)
        assert repr(KEYS.username) not in repr(value)
