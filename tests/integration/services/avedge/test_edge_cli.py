"""``parley edge`` against a running edge, and the facts that it publishes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from parley.platform.clock import SystemClock
from parley.platform.config import EventsConfig, RedisConfig
from parley.platform.events.api import Event
from parley.platform.events.factory import make_event_bus
from parley.platform.store.client import Store
from parley.platform.telemetry.tracing import NO_TRACER
from parley.proto.events.v1.edge_pb2 import AllocationChanged
from parley.stun.addresses import Address
from parley.stun.probe import Probe
from tests.support.edge import PASSWORD, USER, EdgeNode


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[EdgeNode]:
    """An edge on loopback that does not try itself."""
    async with EdgeNode(tmp_path / "edge", advertised={"self_test": False}) as node:
        yield node


async def test_the_running_relay_is_tried_over_every_transport(edge: EdgeNode) -> None:
    done = await edge.parley("--json", "edge", "test", "--packets", "10")
    assert done.returncode == 0, done.stdout + done.stderr
    trials = {trial["transport"]: trial for trial in json.loads(done.stdout)}
    assert set(trials) == {"udp", "tcp", "tls", "dtls"}
    for trial in trials.values():
        assert (trial["problem"], trial["sent"], trial["lost"]) == ("", 10, 0)
        assert 0 < trial["median_ms"] <= trial["worst_ms"] < 2_000
        assert trial["relayed"].startswith("127.0.0.1:")


async def test_wrong_passwords_and_closed_ports_are_named(edge: EdgeNode) -> None:
    arguments = ("edge", "test", "127.0.0.1", "--port", str(edge.udp), "--tls-port", str(edge.tls), "--user", USER)
    done = await edge.parley(*arguments, "--password", "wrong", "--packets", "1")
    assert done.returncode == 1
    assert "401" in done.stdout
    assert "Connection refused" in done.stdout  # the TCP port is another one


async def test_credentials_of_a_user_open_the_relay(edge: EdgeNode) -> None:
    done = await edge.parley("edge", "credentials", "alice@example.test", "--seconds", "60")
    assert done.returncode == 0, done.stderr
    servers = json.loads(done.stdout)["iceServers"]
    turn = next(server for server in servers if "username" in server)
    assert f"turn:127.0.0.1:{edge.udp}?transport=udp" in turn["urls"]
    async with Probe.open(Address("127.0.0.1", edge.udp)) as probe:
        await probe.allocate(turn["username"], turn["credential"])
        await probe.release()


async def test_allocations_are_shown(edge: EdgeNode) -> None:
    async with Probe.open(Address("127.0.0.1", edge.udp)) as probe:
        relayed = await probe.allocate(USER, PASSWORD)
        done = await edge.parley("--json", "edge", "allocations")
        assert done.returncode == 0, done.stderr
        (shown,) = json.loads(done.stdout)
        assert (shown["username"], shown["transport"], shown["relays"]) == (USER, "udp", [str(relayed)])
        assert PASSWORD not in done.stdout
        table = await edge.parley("edge", "allocations")
        assert USER in table.stdout
        assert "1 allocations" in table.stdout


async def test_facts_tell_of_each_allocation(edge: EdgeNode) -> None:
    store = Store(RedisConfig(url=f"unix://{edge.folder}/valkey/valkey.sock"))
    bus = make_event_bus(EventsConfig(), store, SystemClock(), NO_TRACER)
    facts: list[AllocationChanged] = []

    async def take(event: Event) -> None:
        facts.append(event.message)

    await bus.start()
    subscription = bus.subscribe("parley.edge", AllocationChanged, take)
    await subscription.ready()
    try:
        server = Address("127.0.0.1", edge.udp)
        async with Probe.open(server) as one, Probe.open(server) as other:
            first, second = await one.allocate(USER, PASSWORD), await other.allocate(USER, PASSWORD)
            await one.bind(second)
            await other.bind(first)
            received: list[bytes] = []
            other.on_data = received.append
            for _ in range(5):
                one.send(bytes(100))
            async with asyncio.timeout(5):
                while len(received) < 5:
                    await asyncio.sleep(0.01)
            await one.release()
            await other.release()
        async with asyncio.timeout(10):
            while len(facts) < 4:
                await asyncio.sleep(0.05)
    finally:
        await subscription.stop()
        await bus.stop()
        await store.close()
    mine = [fact for fact in facts if list(fact.relays) == [str(first)]]
    assert [fact.kind for fact in mine] == [AllocationChanged.KIND_OPENED, AllocationChanged.KIND_CLOSED]
    assert (mine[1].sent_packets, mine[1].sent_bytes, mine[1].reason) == (5, 500, "released")
    assert mine[1].username == USER
    assert not any(PASSWORD.encode() in fact.SerializeToString() for fact in facts)
