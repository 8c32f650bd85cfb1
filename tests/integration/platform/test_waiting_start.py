"""Processes that start while Redis or Kafka is away: what waits, what probes are told; and mistakes that end a start."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import redis
from grpc_health.v1 import health_pb2, health_pb2_grpc

from parley.platform.tls import DevelopmentCa
from tests.support.parley_server import Node
from tests.support.ports import free_port
from tests.support.valkey import Valkey
from tests.support.waiting import eventually

pytestmark = pytest.mark.valkey

MASTER_KEY = "ab" * 32


class Started:
    """A process of one or more services, with ports for probes."""

    def __init__(self, folder: Path, services: list[str], platform: dict[str, Any], **sections: Any) -> None:
        self.metrics, self.health = free_port(), free_port()
        ports = {"metrics_port": self.metrics, "health_port": self.health}
        common = {"master_key": MASTER_KEY, "log": {"format": "json"}, "drain_seconds": 2, **ports}
        self.node = Node(folder, services, {"platform": {**common, **platform}, **sections})
        self.node.launch()

    async def page(self, name: str) -> int:
        """The status of /livez or /readyz; 0 when nothing answers."""
        try:
            async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.metrics}/{name}") as got:
                return got.status
        except aiohttp.ClientError:
            return 0

    async def probes(self) -> dict[str, str]:
        """What the health service says; empty when it is not there."""
        told = {}
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.health}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            for name in ("startup", "liveness", "readiness", ""):
                try:
                    answer = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=2)
                except grpc.aio.AioRpcError:
                    return {}
                told[name] = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        return told

    async def says(self, text: str) -> None:
        """Returns when the log has a line with a text."""

        async def found() -> bool:
            assert self.node.exit_code is None, self.node.log()
            return text in self.node.log()

        await eventually(found, timeout=60, what=f"{text!r} in {self.node.log()[-2000:]}")

    async def is_ready(self) -> None:
        """Returns when probes say so."""

        async def ready() -> bool:
            assert self.node.exit_code is None, self.node.log()
            return (await self.probes()).get("readiness") == "SERVING"

        await eventually(ready, timeout=60, what="it is ready")

    def waits(self) -> list[str]:
        """The lines of the log that say why it waits."""
        lines = [json.loads(line) for line in self.node.log().splitlines() if line.startswith("{")]
        return [line["message"] for line in lines if line["message"].startswith("the start waits")]


async def test_registrar_waits_for_redis_and_goes_on_by_itself(tmp_path: Path) -> None:
    port = free_port()
    started = Started(tmp_path / "node", ["registrar"], {"redis": {"url": f"redis://127.0.0.1:{port}/0"}})
    server = Valkey(tmp_path / "valkey", port=port)
    try:
        await started.says("the start waits: Redis at ")
        waits = {"startup": "SERVING", "liveness": "SERVING", "readiness": "NOT_SERVING", "": "NOT_SERVING"}

        async def told() -> bool:
            return await started.probes() == waits

        await eventually(told, what="who starts processes anew is told that this one waits")
        assert (await started.page("livez"), await started.page("readyz")) == (200, 503)
        assert not (started.node.folder / "run.json").exists()
        shown = await started.node.parley("drain")
        assert "has not started yet" in shown.stderr
        assert len(started.waits()) <= 2
        assert started.waits()[0].endswith("cannot be reached: Connection refused")
        server.start()
        await started.is_ready()
        assert set((await started.probes()).values()) == {"SERVING"}
        assert (await started.page("livez"), await started.page("readyz")) == (200, 200)
        server.kill()
        await started.says("the sweep failed")
        assert set((await started.probes()).values()) == {"SERVING"}
        assert await started.page("readyz") == 200
    finally:
        await started.node.stop()
        server.stop()
    assert started.node.exit_code == 0


async def test_password_that_is_refused_is_waited_for(tmp_path: Path) -> None:
    with Valkey(tmp_path / "valkey") as server:
        await asyncio.to_thread(server.raw, "CONFIG", "SET", "requirepass", "other")
        url = f"redis://127.0.0.1:{server.port}"
        started = Started(tmp_path / "node", ["addressbook"], {"redis": {"url": url, "password": "gu3ss"}})
        try:
            await started.says("WRONGPASS")
            assert "gu3ss" not in started.node.log()
            with contextlib.closing(redis.Redis(port=server.port, password="other")) as operator:
                await asyncio.to_thread(operator.config_set, "requirepass", "gu3ss")
            await started.is_ready()
        finally:
            await started.node.stop()


async def test_told_to_end_while_it_waits(tmp_path: Path) -> None:
    started = Started(tmp_path / "node", ["registrar"], {"redis": {"url": "redis://no-such-host.invalid"}})
    try:
        await started.says("Name or service not known")
        started.node.signal(signal.SIGTERM)

        async def ended() -> bool:
            return started.node.exit_code is not None

        await eventually(ended, timeout=10, what="it ends")
        assert started.node.exit_code == 0
        assert "Traceback" not in started.node.log()
    finally:
        await started.node.stop()


async def test_front_end_waits_for_nothing(tmp_path: Path) -> None:
    ports = {"udp": 0, "tcp": 0, "tls": -1, "ws": -1, "wss": -1}
    started = Started(
        tmp_path / "node", ["frontend"], {"redis": {"url": "redis://127.0.0.1:1"}}, frontend={"ports": ports}
    )  # fmt: skip
    try:
        await started.is_ready()
        assert started.waits() == []
    finally:
        await started.node.stop()


async def test_kafka_is_waited_for_by_those_who_read_events(tmp_path: Path, valkey: Valkey) -> None:
    platform = {
        "redis": {"url": valkey.url}, "events": {"driver": "kafka", "kafka_servers": ["127.0.0.1:1"]},
        "rpc": {"targets": {"addressbook": "127.0.0.1:1", "registrar": "127.0.0.1:1"}},
    }  # fmt: skip
    reader = Started(tmp_path / "presence", ["presence"], platform)
    writer = Started(tmp_path / "registrar", ["registrar"], platform)
    try:
        await writer.is_ready()
        await reader.says("the start waits: no Kafka broker can be reached: 127.0.0.1:1: Connection refused")
        assert (await reader.probes())["readiness"] == "NOT_SERVING"
        assert (await reader.probes())["liveness"] == "SERVING"
        assert writer.waits() == []
    finally:
        await reader.node.stop()
        await writer.node.stop()


async def test_data_of_a_newer_release_ends_the_start(tmp_path: Path, valkey: Valkey) -> None:
    await asyncio.to_thread(valkey.raw, "HSET", "parley:schema", "version", 99)
    started = Started(tmp_path / "node", ["registrar"], {"redis": {"url": valkey.url}})
    try:

        async def ended() -> bool:
            return started.node.exit_code is not None

        await eventually(ended, timeout=60, what="it ends")
        assert started.node.exit_code == 5
        assert "a newer one has written it" in started.node.log()
        assert "Traceback" not in started.node.log()
    finally:
        await started.node.stop()


async def test_mistakes_end_the_start_with_one_sentence(tmp_path: Path) -> None:
    authority = DevelopmentCa(tmp_path / "ca")
    mine, other = authority.issue("mine", ["parley.internal"]), authority.issue("other", ["parley.internal"])
    rpc = {"certificate": str(mine.certificate), "key": str(other.key), "ca": str(authority.certificate)}
    store = {"url": "rediss://127.0.0.1:1", "tls": {"ca": str(tmp_path / "none.pem")}}
    mistakes: dict[str, dict[str, Any]] = {
        "is not the one of the certificate": {"rpc": {"tls": rpc}},
        "platform.redis.tls.ca: cannot read": {"redis": store},
        "'kafka' is not host:port": {"events": {"driver": "kafka", "kafka_servers": ["kafka"]}},
    }
    nodes = {
        text: Started(tmp_path / f"node{number}", ["registrar"], {"redis": {"url": "redis://127.0.0.1:1"}, **platform})
        for number, (text, platform) in enumerate(mistakes.items())
    }
    try:
        for text, started in nodes.items():

            async def ended(node: Node = started.node) -> bool:
                return node.exit_code is not None

            await eventually(ended, timeout=90, what=f"it ends: {text}")
            log = started.node.log()
            assert text in log
            assert started.node.exit_code == 5, log
            assert "Traceback" not in log
    finally:
        for started in nodes.values():
            await started.node.stop()
