"""Addresses to listen on, and those that others are told."""

from __future__ import annotations

import pytest

from parley.platform.addresses import is_wildcard, with_brackets
from parley.platform.config import RpcConfig


@pytest.mark.parametrize(
    ("host", "wildcard"),
    [("", True), ("0.0.0.0", True), ("::", True), ("127.0.0.1", False), ("::1", False), ("example.test", False)],
)
def test_a_wildcard_is_no_address_to_connect_to(host: str, wildcard: bool) -> None:
    assert is_wildcard(host) is wildcard


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("10.1.2.3:9090", "10.1.2.3:9090"),
        ("fd00::1:9090", "[fd00::1]:9090"),
        ("::1:9090", "[::1]:9090"),
        ("fe80::1%eth0:9090", "[fe80::1%eth0]:9090"),
        ("[fd00::1]:9090", "[fd00::1]:9090"),
        ("parley-registrar:9090", "parley-registrar:9090"),
        ("dns:///parley-registrar:9090", "dns:///parley-registrar:9090"),
        ("unix:/run/parley.sock", "unix:/run/parley.sock"),
        ("", ""),
    ],
)
def test_an_address_of_ipv6_is_told_from_the_port_behind_it(given: str, meant: str) -> None:
    assert with_brackets(given) == meant
    assert RpcConfig(advertise=given).advertise == meant
