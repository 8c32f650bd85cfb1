"""Events on a Kafka that wants TLS, a certificate, or a name and a password."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from pydantic import SecretStr

from parley.platform.clock import SystemClock
from parley.platform.config import ClientTls, ConfigError, EventsConfig
from parley.platform.events.api import EventBusError
from parley.platform.events.brokers import Brokers
from parley.platform.events.kafka import KafkaBus
from parley.platform.tls import DevelopmentCa
from parley.proto.events.v1.call_pb2 import CallChanged
from tests.support.events import Listener, all_of
from tests.support.kafka import kafka_missing
from tests.support.secure_kafka import NAME, PASSWORD, USER, SecureKafka

pytestmark = pytest.mark.kafka

MakeBus = Callable[..., KafkaBus]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    problem = kafka_missing()
    if problem is not None:
        pytest.skip(problem)
    with SecureKafka(tmp_path_factory.mktemp("secure-kafka")) as running:
        yield running


@pytest.fixture
async def make_bus() -> AsyncIterator[MakeBus]:
    made: list[KafkaBus] = []

    def make(server: str, **options: Any) -> KafkaBus:
        config = EventsConfig(driver="kafka", kafka_servers=[server], **options)
        made.append(KafkaBus(Brokers.of(config), SystemClock(), partitions=2))
        return made[-1]

    yield make
    for bus in made:
        await bus.stop()


def trusting(broker: SecureKafka, **more: Any) -> ClientTls:
    return ClientTls(ca=broker.authority.certificate, server_name=NAME, **more)


async def comes_through(bus: KafkaBus) -> None:
    """A topic is made, an event is published, and read by a member of a group."""
    listener, topic = Listener(), f"parley.test.{token_hex(4)}"
    bus.subscribe(topic, CallChanged, listener, group="one")
    await bus.publish(topic, "k", CallChanged(call_id="k", at_ms=7))
    await all_of([listener], 1)
    assert listener.numbers("k") == [7]


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_name_and_password_over_tls(broker: SecureKafka, make_bus: MakeBus, mechanism: Any) -> None:
    bus = make_bus(
        broker.signed, kafka_tls=trusting(broker), kafka_username=USER, kafka_password=SecretStr(PASSWORD),
        kafka_mechanism=mechanism,
    )  # fmt: skip
    await bus.check()
    await comes_through(bus)


async def test_certificate_of_the_client(broker: SecureKafka, make_bus: MakeBus) -> None:
    shown = trusting(broker, certificate=broker.client.certificate, key=broker.client.key)
    bus = make_bus(broker.mutual, kafka_tls=shown)
    await bus.check()
    await comes_through(bus)


async def test_reasons_why_a_broker_refuses(broker: SecureKafka, make_bus: MakeBus, tmp_path: Path) -> None:
    stranger = DevelopmentCa(tmp_path).ensure()
    tls = trusting(broker)
    named: dict[str, Any] = {"kafka_username": USER, "kafka_password": SecretStr("wrong")}
    tried: list[tuple[KafkaBus, str]] = [
        (make_bus(broker.signed, kafka_tls=tls, **named), "(?i)authentication failed"),
        (make_bus(broker.signed, kafka_tls=ClientTls(ca=stranger, server_name=NAME), **named), "certificate is refused"),
        (make_bus(broker.signed, kafka_tls=ClientTls(ca=tls.ca), **named), "certificate is refused.*127.0.0.1"),
        (make_bus("127.0.0.1:1", kafka_tls=tls), "127.0.0.1:1: .*(refused|Connect)"),
        (make_bus("no-such-host.invalid:9092"), "no-such-host.invalid:9092: "),
        (make_bus(broker.mutual), "no Kafka broker can be reached: "),
    ]
    for bus, reason in tried:
        with pytest.raises(EventBusError, match=reason) as caught:
            await bus.check()
        assert "wrong" not in str(caught.value)


async def test_one_broker_that_answers_is_enough(broker: SecureKafka) -> None:
    await Brokers(("127.0.0.1:1", f"127.0.0.1:{broker.port}")).check()


def test_mistakes_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="kafka_servers: name the brokers"):
        Brokers.of(EventsConfig(driver="kafka"))
    with pytest.raises(ConfigError, match="'kafka' is not host:port"):
        Brokers.of(EventsConfig(driver="kafka", kafka_servers=["kafka"]))
    with pytest.raises(ConfigError, match="kafka_password: is needed"):
        Brokers.of(EventsConfig(driver="kafka", kafka_servers=["kafka:9092"], kafka_username="parley"))
    with pytest.raises(ConfigError, match=r"platform\.events\.kafka_tls\.ca: cannot read"):
        Brokers.of(EventsConfig(driver="kafka", kafka_servers=["kafka:9092"], kafka_tls=ClientTls(ca=tmp_path / "no")))
