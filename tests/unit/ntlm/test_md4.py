"""MD4 by the vectors of RFC 1320 section A.5, and NT hashes by those of MS-NLMP."""

from __future__ import annotations

import pytest

from parley.ntlm.md4 import md4, nt_hash


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        ("", "31d6cfe0d16ae931b73c59d7e0c089c0"),
        ("a", "bde52cb31de33e46245e05fbdbd6fb24"),
        ("abc", "a448017aaf21d8525fc10ae87aa6729d"),
        ("message digest", "d9130a8164549fe818874806e1c7014b"),
        ("abcdefghijklmnopqrstuvwxyz", "d79e1c308aa5bbcdeea8ed63df412da9"),
        ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "043f8582f241db351ce627e153e7f0e4"),
        ("1234567890" * 8, "e33b4ddc9c38f2199c3e7b164fcc0536"),
    ],
)
def test_digests_of_rfc_1320(text: str, digest: str) -> None:
    assert md4(text.encode()).hex() == digest


@pytest.mark.parametrize("length", [55, 56, 63, 64, 65, 119, 120, 128])
def test_digests_around_the_length_of_a_block_differ(length: int) -> None:
    assert len({md4(b"x" * size) for size in (length - 1, length, length + 1)}) == 3


def test_the_nt_hash_of_ms_nlmp() -> None:
    assert nt_hash("Password").hex() == "a4f49c406510bdcab6824ee7c30fd852"  # MS-NLMP 4.2.2.1.2


def test_a_password_beyond_ascii_is_hashed_as_utf_16() -> None:
    assert nt_hash("é𝄞") == md4(b"\xe9\x00\x34\xd8\x1e\xdd")
