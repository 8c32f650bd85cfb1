"""Which peers may be reached."""

from __future__ import annotations

import pytest

from parley.stun.turn.peers import DENIED, PeerPolicy


@pytest.mark.parametrize("host", ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2600::1", "2a00:1450::1"])
def test_hosts_of_the_internet(host: str) -> None:
    assert PeerPolicy().allows(host)


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.168.1.1",
        "224.0.0.1", "239.255.255.255", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::7f00:1",
        "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::", "2001::1", "fe80::1", "fc00::1", "fd12::1", "fec0::1", "ff02::1",
    ],
)  # fmt: skip
def test_hosts_of_nobody_or_of_the_network_within(host: str) -> None:
    assert not PeerPolicy().allows(host)


def test_what_is_allowed_comes_first() -> None:
    policy = PeerPolicy(["10.0.0.0/24", "::1/128"], [*DENIED, "8.8.8.0/24"])
    assert policy.allows("10.0.0.1")
    assert not policy.allows("10.0.1.1")
    assert policy.allows("::1")
    assert not policy.allows("8.8.8.8")


def test_own_addresses() -> None:
    policy = PeerPolicy(own=["10.0.0.1"], relay_ports=range(50000, 50010))
    assert policy.allows("10.0.0.1")
    assert policy.allows_port("10.0.0.1", 50009)
    assert not policy.allows_port("10.0.0.1", 50010)
    assert not policy.allows_port("10.0.0.1", 22)
    assert policy.allows_port("8.8.8.8", 22)
    assert not policy.allows_port("8.8.8.8", 0)


def test_what_is_no_network() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        PeerPolicy(["nonsense"])
