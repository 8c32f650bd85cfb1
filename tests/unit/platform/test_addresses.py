"""Addresses to listen on."""

from __future__ import annotations

import pytest

from parley.platform.addresses import is_wildcard


@pytest.mark.parametrize(
    ("host", "wildcard"),
    [("", True), ("0.0.0.0", True), ("::", True), ("127.0.0.1", False), ("::1", False), ("example.test", False)],
)
def test_a_wildcard_is_no_address_to_connect_to(host: str, wildcard: bool) -> None:
    assert is_wildcard(host) is wildcard
