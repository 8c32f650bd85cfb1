from __future__ import annotations

import socket
from pathlib import Path

import pytest
from pydantic import ValidationError

from parley.platform.config import PlatformConfig
from parley.platform.tls import CertificateFiles
from parley.proto.avedge.v1.worker_pb2 import Setup
from services.avedge.config import AvEdgeConfig
from services.avedge.setups import decode_settings, decode_sockets, encode_setup
from services.avedge.sockets import open_groups
from services.avedge.worker import Keys, WorkerSettings


def config_of(**avedge: object) -> AvEdgeConfig:
    return AvEdgeConfig.model_validate(
        {
            "credentials": {"shared_secret": "a shared secret", "users": {"alice": "her password"}, "grace_hours": 3},
            "ports": {"udp": 0, "tcp": 0, "tls": -1, "dtls": -1},
            **avedge,
        }
    )


def test_a_setup_comes_back_with_its_sockets_and_secrets_stand_only_among_the_keys() -> None:
    config = config_of(limits={"allocations_per_user": 7}, peers={"allow": ["10.1.0.0/16"]})
    keys = Keys(b"n" * 32, b"a shared secret", {"alice": "her password"}, b"m" * 32)
    files = CertificateFiles(Path("/some/cert.pem"), Path("/some/key.pem"))
    settings = WorkerSettings(1, 2, config, {"127.0.0.1": "198.51.100.1"}, keys, files, True)
    first, second = open_groups(config, ["127.0.0.1"], 2)
    assert [bound.local for bound in first] == [bound.local for bound in second]
    sent = encode_setup(settings, second, PlatformConfig()).SerializeToString()
    setup = Setup.FromString(sent)
    assert "secret" not in setup.config_json.replace('"shared_secret":""', "")
    assert "her password" not in setup.config_json

    taken = decode_settings(setup)
    assert (taken.number, taken.workers, taken.keys, taken.files, taken.loopback) == (1, 2, keys, files, True)
    assert taken.relay_hosts == settings.relay_hosts
    assert taken.config.limits == config.limits
    assert taken.config.peers == config.peers
    assert taken.config.credentials.grace_hours == 3

    sockets = decode_sockets(setup, [socket.dup(bound.socket.fileno()) for bound in second])
    assert [(bound.name, bound.kind, bound.local) for bound in sockets] == [
        ("udp", "udp", second[0].local),
        *((bound.name, bound.kind, bound.local) for bound in second[1:]),
    ]
    for bound in [*first, *second, *sockets]:
        bound.socket.close()


def test_every_worker_needs_relay_ports() -> None:
    with pytest.raises(ValidationError, match="fewer pairs of ports"):
        config_of(workers=3, relay={"first": 50_000, "last": 50_003})
