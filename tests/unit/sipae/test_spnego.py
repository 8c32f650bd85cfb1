"""SPNEGO: what clients send, what is answered, and what is refused, with the reason."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.sipae.spnego import Mechanism, SpnegoError, Token, answer, initial

NTLM = b"NTLMSSP\0\x01\0\0\0"
KERBEROS_OID = "06092a864886f712010202"
NTLM_OID = "060a2b06010401823702020a"
BROWSER = bytes.fromhex(
    # Chromium on Windows: Kerberos (MS), Kerberos, NegoEx, NTLM; a mechToken of 4 bytes
    "604a06062b0601050502a040303ea030302e"
    "06092a864882f712010202" "06092a864886f712010202" "060a2b06010401823702021e" "060a2b06010401823702020a"
    "a20a0408" "4142434445464748"
)  # fmt: skip
"""A NegTokenInit, put together by hand."""


def test_the_first_token_of_a_browser() -> None:
    assert Token.parse(BROWSER) == Token(Mechanism.MS_KERBEROS, b"ABCDEFGH", is_wrapped=True)


def test_bare_tokens_are_those_of_their_mechanism() -> None:
    assert Token.parse(NTLM) == Token(Mechanism.NTLM, NTLM, is_wrapped=False)
    bare = bytes.fromhex("600f" + KERBEROS_OID + "01006e02")
    assert Token.parse(bare) == Token(Mechanism.KERBEROS, bare, is_wrapped=False)


def test_a_further_token_has_no_mechanism() -> None:
    assert Token.parse(bytes.fromhex("a1073005a203040158")) == Token(None, b"X", is_wrapped=True)


def test_answers_are_what_the_standard_says() -> None:
    assert answer(Mechanism.NTLM, b"X", complete=False).hex() == (
        "a11a3018" "a0030a0101" "a10c" + NTLM_OID + "a203040158"
    )  # fmt: skip
    assert answer(Mechanism.KERBEROS, b"", complete=True).hex() == "a1143012a0030a0100a10b" + KERBEROS_OID


@given(st.sampled_from(Mechanism), st.binary(max_size=70_000))
def test_what_is_written_is_read(mechanism: Mechanism, data: bytes) -> None:
    assert Token.parse(initial(mechanism, data)) == Token(mechanism, data, is_wrapped=True)
    if data:
        assert Token.parse(answer(mechanism, data, complete=False)) == Token(None, data, is_wrapped=True)


@pytest.mark.parametrize("size", [0, 127, 128, 255, 256, 65_535, 65_536])
def test_lengths_of_every_form(size: int) -> None:
    assert Token.parse(initial(Mechanism.NTLM, bytes(size))).data == bytes(size)


@pytest.mark.parametrize(
    ("token", "problem"),
    [
        ("", "the token is damaged"),
        ("60", "the token is damaged"),
        ("6005", "the token is damaged"),
        ("6080", "the token is damaged"),
        ("608401000000", "the token is damaged"),
        ("6000", "the token is damaged"),
        ("3000", "not a GSS-API token"),
        ("60050603" + "2a0304", "a mechanism that is not known"),
        (BROWSER.hex() + "00", "there is more than a token"),
        (BROWSER.hex()[:-2], "the token is damaged"),
        ("a1053003a20104", "the token is damaged"),
        ("a1023000", "the token lacks a mechanism or its token"),
        ("600c06062b0601050502a0023000", "the token lacks a mechanism or its token"),
        # a mechanism list whose first is one that nobody knows
        ("601a06062b0601050502a010300ea0073005" + "06032a0304" + "a203040158", "the preferred mechanism is not known"),
        ("601506062b0601050502a00b3009a0023000" + "a203040158", "the token is damaged"),
        # a field twice
        ("a10c300aa203040158a203040158", "the token is damaged"),
    ],
)
def test_what_cannot_be_taken(token: str, problem: str) -> None:
    with pytest.raises(SpnegoError, match=f"^{re.escape(problem)}$"):
        Token.parse(bytes.fromhex(token))


@given(st.binary(max_size=80))
def test_no_bytes_do_more_than_be_refused(data: bytes) -> None:
    try:
        token = Token.parse(data)
    except SpnegoError:
        return
    assert token.data in data


@given(st.integers(0, len(BROWSER)))
def test_a_token_that_is_cut_off_is_damaged(at: int) -> None:
    if at < len(BROWSER):
        with pytest.raises(SpnegoError):
            Token.parse(BROWSER[:at])
