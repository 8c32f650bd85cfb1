"""The setup of a worker as a message, and back."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

from pydantic import SecretStr

from parley.platform.config import PlatformConfig
from parley.platform.tls import CertificateFiles
from parley.proto.avedge.v1.worker_pb2 import Setup
from parley.stun.addresses import Address
from services.avedge.config import AvEdgeConfig
from services.avedge.sockets import BoundSocket
from services.avedge.worker import Keys, WorkerSettings


def encode_setup(settings: WorkerSettings, sockets: Sequence[BoundSocket], platform: PlatformConfig) -> Setup:
    """What a worker process is told first; the descriptors of the sockets go with it."""
    keys, credentials = settings.keys, settings.config.credentials
    bare = credentials.model_copy(update={"shared_secret": SecretStr(""), "users": {}})
    return Setup(
        number=settings.number, workers=settings.workers,
        config_json=settings.config.model_copy(update={"credentials": bare}).model_dump_json(),
        relay_hosts=settings.relay_hosts,
        keys=Setup.Keys(nonce=keys.nonce, secret=keys.secret, users=keys.users, mras=keys.mras),
        certificate=str(settings.files.certificate), key=str(settings.files.key), loopback=settings.loopback,
        listeners=[
            Setup.Listener(name=bound.name, kind=bound.kind, host=bound.local.host, port=bound.local.port)
            for bound in sockets
        ],
        log_level=platform.log.level, log_format=platform.log.format, otlp_endpoint=platform.otlp_endpoint,
        trace_ratio=platform.trace_ratio,
    )  # fmt: skip


def decode_settings(setup: Setup) -> WorkerSettings:
    """What a worker is made with. Raises ValueError when the configuration is none."""
    keys = setup.keys
    return WorkerSettings(
        setup.number, setup.workers, AvEdgeConfig.model_validate_json(setup.config_json), dict(setup.relay_hosts),
        Keys(keys.nonce, keys.secret, dict(keys.users), keys.mras),
        CertificateFiles(Path(setup.certificate), Path(setup.key)), setup.loopback,
    )  # fmt: skip


def decode_sockets(setup: Setup, files: Sequence[int]) -> list[BoundSocket]:
    """The sockets that came with a setup. Raises ValueError when their number is wrong."""
    opened: list[BoundSocket] = []
    for listener, number in zip(setup.listeners, files, strict=True):
        sock = socket.socket(fileno=number)
        sock.setblocking(False)
        local = Address(listener.host, listener.port)
        opened.append(BoundSocket(listener.name, "udp" if listener.kind == "udp" else "tcp", local, sock))
    return opened
