"""What the configuration of the edge refuses."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from parley.stun.addresses import Address
from services.avedge.config import AvEdgeConfig
from services.avedge.worker import discovery_of

HOSTS = ["192.0.2.1", "192.0.2.2"]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"discovery": {"hosts": HOSTS[:1]}}, "two different addresses"),
        ({"discovery": {"hosts": HOSTS[:1] * 2}}, "two different addresses"),
        ({"discovery": {"hosts": ["192.0.2.1", "2001:db8::1"]}}, "of one family"),
        ({"discovery": {"hosts": HOSTS, "advertised": ["198.51.100.1"]}}, "discovery.advertised takes two"),
        ({"discovery": {"advertised": HOSTS}}, "goes with discovery.hosts"),
        ({"discovery": {"hosts": HOSTS}, "listen": HOSTS[:1]}, "in listen too"),
        ({"discovery": {"hosts": HOSTS}, "listen": HOSTS, "ports": {"udp": 0}}, "two fixed ports"),
        ({"discovery": {"hosts": HOSTS}, "listen": HOSTS, "ports": {"udp": 3479}}, "two fixed ports"),
    ],
)
def test_discovery_takes_two_addresses_and_two_ports(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        AvEdgeConfig.model_validate(settings)


def test_discovery_has_four_sockets_and_tells_of_the_outer_addresses() -> None:
    outer = ["198.51.100.1", "198.51.100.2"]
    config = AvEdgeConfig.model_validate({"listen": HOSTS, "discovery": {"hosts": HOSTS, "advertised": outer}})
    discovery = discovery_of(config)
    assert discovery is not None
    assert (discovery.primary, discovery.alternate) == (Address("192.0.2.1", 3478), Address("192.0.2.2", 3479))
    assert discovery.advertised == dict(zip(HOSTS, outer, strict=True))
    assert discovery_of(AvEdgeConfig()) is None
