"""How Kafka brokers are reached: addresses, TLS, and the name to sign in with; the same for all that talks to them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError

from parley.platform.config import ConfigError, EventsConfig
from parley.platform.events.api import EventBusError
from parley.platform.reasons import reason_of
from parley.platform.tls import server_context

_CHECK_MS: Final = 2_000
"""Longest wait for one broker that is tried."""


@dataclass(frozen=True, slots=True)
class Brokers:
    """The brokers of one Kafka."""

    servers: tuple[str, ...]
    """ "host:port" of those that are asked where the others are."""
    security: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Options that all clients of aiokafka take."""

    @classmethod
    def of(cls, config: EventsConfig) -> Brokers:
        """As ``platform.events`` says. Raises ConfigError."""
        problems = [
            f"platform.events.kafka_servers: {text!r} is not host:port"
            for text in config.kafka_servers
            if not text.rpartition(":")[2].isdigit() or not text.rpartition(":")[0]
        ]
        if not config.kafka_servers:
            problems.append("platform.events.kafka_servers: name the brokers, as [kafka:9092]")
        if config.kafka_username and not config.kafka_password.get_secret_value():
            problems.append("platform.events.kafka_password: is needed with kafka_username")
        if problems:
            raise ConfigError(problems)
        return cls(tuple(config.kafka_servers), _security(config))

    @property
    def options(self) -> dict[str, Any]:
        """What a client of aiokafka is made with."""
        return {"bootstrap_servers": list(self.servers), **self.security}

    async def check(self) -> None:
        """Returns when one of them takes us. Raises EventBusError, which says why none does."""
        reasons: dict[str, str] = {}
        for server in self.servers:
            host, _, port = server.rpartition(":")
            try:
                connection = await create_conn(host.strip("[]"), int(port), request_timeout_ms=_CHECK_MS, **self.security)
            except (KafkaError, OSError, TimeoutError, ValueError) as error:
                reasons[server] = reason_of(error)
                continue
            with contextlib.suppress(KafkaError, OSError):
                connection.close()
            return
        text = "; ".join(f"{server}: {reason}" for server, reason in reasons.items())
        raise EventBusError(f"no Kafka broker can be reached: {text}")


def _security(config: EventsConfig) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if config.kafka_tls is not None:
        found["ssl_context"] = server_context("platform.events.kafka_tls", config.kafka_tls)
    if config.kafka_username:
        found["sasl_mechanism"] = config.kafka_mechanism
        found["sasl_plain_username"] = config.kafka_username
        found["sasl_plain_password"] = config.kafka_password.get_secret_value()
    transport = "SSL" if config.kafka_tls is not None else "PLAINTEXT"
    found["security_protocol"] = f"SASL_{transport}" if config.kafka_username else transport
    return found
