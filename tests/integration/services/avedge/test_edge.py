"""The edge as a process: probes through it, hostile input, drain, events."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from parley.stun.addresses import Address
from parley.stun.ms.pseudo_tls import client_hello
from parley.stun.probe import Probe, ProbeError
from parley.stun.turn.allocations import Transport
from tests.support.edge import PASSWORD, USER, EdgeNode


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[EdgeNode]:
    """An edge on loopback."""
    async with EdgeNode(tmp_path / "edge") as node:
        yield node


def address(edge: EdgeNode, transport: Transport) -> Address:
    port = edge.udp if transport is Transport.UDP else edge.tcp if transport is Transport.TCP else edge.tls
    return Address("127.0.0.1", port)


def trusting(edge: EdgeNode) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(edge.folder / "tls" / "ca.pem"))


async def connect(one: Probe, other: Probe) -> None:
    """Gives both an allocation, and each a channel to the other's relay."""
    first, second = await one.allocate(USER, PASSWORD), await other.allocate(USER, PASSWORD)
    await one.bind(second)
    await other.bind(first)


async def ended(edge: EdgeNode) -> None:
    """Waits until it has ended by itself, as after a drain."""
    async with asyncio.timeout(10):
        while edge.exit_code is None:
            await asyncio.sleep(0.05)
    assert edge.exit_code == 0


async def came(received: list[bytes], count: int) -> None:
    async with asyncio.timeout(10):
        while len(received) < count:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("transport", list(Transport))
async def test_two_relays_talk_over_channels(edge: EdgeNode, transport: Transport) -> None:
    received: list[bytes] = []
    async with (
        Probe.open(address(edge, transport), transport, tls=trusting(edge)) as one,
        Probe.open(address(edge, Transport.UDP)) as other,
    ):
        await connect(one, other)
        other.on_data = received.append
        for number in range(50):
            one.send(b"packet %d" % number)
        await came(received, 50)
        assert received == [b"packet %d" % number for number in range(50)]
        other.on_data, one.on_data = other.send, received.append
        one.send(b"there and back")
        await came(received, 51)
        assert received[-1] == b"there and back"
        await one.release()
        await other.release()
    assert await edge.metric("parley_relay_packets_total", direction="sent", transport=str(transport)) >= 51


@pytest.mark.parametrize("transport", [Transport.TLS, Transport.DTLS])
async def test_a_probe_knows_the_edge_by_its_certificate(edge: EdgeNode, transport: Transport) -> None:
    with pytest.raises(ssl.SSLError, match=r"other\.example"):
        async with Probe.open(address(edge, transport), transport, tls=trusting(edge), name="other.example"):
            pass
    with pytest.raises(ssl.SSLError, match="certificate"):
        async with Probe.open(address(edge, transport), transport, name="localhost"):
            pass
    async with Probe.open(address(edge, transport), transport, tls=trusting(edge), name="localhost") as probe:
        await probe.binding()


async def test_it_reaches_itself_and_says_so(edge: EdgeNode) -> None:
    async with asyncio.timeout(10):
        while not await edge.metric("parley_relay_self_test", host="127.0.0.1"):
            await asyncio.sleep(0.1)


async def test_garbage_harms_nobody(edge: EdgeNode) -> None:
    chance = random.Random(7)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for size in range(1, 400):
            sock.sendto(chance.randbytes(size), ("127.0.0.1", edge.udp))
            sock.sendto(
                b"\x00\x03" + size.to_bytes(2, "big") + b"\x21\x12\xa4\x42" + chance.randbytes(size), ("127.0.0.1", edge.udp)
            )
            sock.sendto(b"\x16\xfe\xfd" + chance.randbytes(size), ("127.0.0.1", edge.tls))
    hello = client_hello(bytes(32))
    heads = (
        b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x20" + chance.randbytes(80), chance.randbytes(64), hello[:20],
        hello[:-1], hello + b"\x02\x00\xff\xff" + bytes(65_535), hello + b"\x03\x00\xff\xff" + bytes(70_000),
        b"\x02\x00\xff\xff" + bytes(65_535), b"\x40\x00\xff\xff" + bytes(70_000), b"\x02\x00\x00\x00" * 5_000,
    )  # fmt: skip
    for port in (edge.tcp, edge.tls):
        for head in heads:
            with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port)) as stream:
                stream.sendall(head)
    for transport in Transport:
        async with Probe.open(address(edge, transport), transport, tls=trusting(edge)) as probe:
            await probe.allocate(USER, PASSWORD)
            await probe.release()
    assert await edge.metric("parley_relay_dropped_total", cause="garbage") > 100
    assert await edge.metric("parley_relay_dropped_total", cause="dtls_garbage") > 300
    assert await edge.metric("parley_relay_dropped_total", cause="broken_stream") > 0
    assert edge.exit_code is None
    assert "Traceback" not in edge.log()


async def test_a_client_that_says_nothing_is_let_go(tmp_path: Path) -> None:
    limits = {"handshake_seconds": 0.5, "idle_seconds": 0.5}
    async with EdgeNode(tmp_path / "edge", limits=limits) as edge:
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.tcp)
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()
        async with Probe.open(address(edge, Transport.TCP), Transport.TCP) as probe:
            await probe.binding()
            await asyncio.sleep(2.5)
            with pytest.raises(ProbeError):
                async with asyncio.timeout(10):
                    await probe.binding()


async def test_connections_of_one_address_are_limited(tmp_path: Path) -> None:
    async with EdgeNode(tmp_path / "edge", limits={"connections_per_address": 3}) as edge:
        streams = [await asyncio.open_connection("127.0.0.1", edge.tcp) for _ in range(4)]
        async with asyncio.timeout(10):
            assert await streams[3][0].read() == b""
        assert await edge.metric("parley_relay_dropped_total", cause="connections") == 1
        for _, writer in streams:
            writer.close()


async def test_clients_that_come_and_go_at_once_leave_no_trace(tmp_path: Path) -> None:
    request = bytes.fromhex("00010000 2112a442") + bytes(12)
    async with EdgeNode(tmp_path / "edge", limits={"connections_per_address": 8}) as edge:
        for number in range(150):
            stream = socket.create_connection(("127.0.0.1", edge.tcp))
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if number % 3:
                stream.sendall(request)
            stream.close()
            await asyncio.sleep(0.005 if number % 10 == 0 else 0)
        await asyncio.sleep(0.5)
        async with asyncio.timeout(10):
            streams = [await asyncio.open_connection("127.0.0.1", edge.tcp) for _ in range(8)]
            for reader, writer in streams:
                writer.write(request)
                assert await reader.readexactly(20) != b""
                writer.close()


async def test_a_slow_reader_loses_packets_and_nobody_else_does(tmp_path: Path) -> None:
    received: list[bytes] = []
    async with (
        EdgeNode(tmp_path / "edge", limits={"buffer_bytes": 65_536}) as edge,
        Probe.open(address(edge, Transport.TCP), Transport.TCP) as slow,
        Probe.open(address(edge, Transport.UDP)) as sender,
        Probe.open(address(edge, Transport.UDP)) as other,
    ):
        await connect(sender, slow)
        slow.pause()
        for number in range(12_000):
            sender.send(bytes(1_200))
            if not number % 50:
                await asyncio.sleep(0.001)
        async with asyncio.timeout(15):
            while not await edge.metric("parley_relay_dropped_total", cause="slow_reader"):
                await asyncio.sleep(0.1)
        await sender.release()
        async with Probe.open(address(edge, Transport.UDP)) as last:
            await connect(last, other)
            other.on_data = received.append
            last.send(b"still here")
            await came(received, 1)


async def test_a_quota_holds_over_all_clients_of_a_user(tmp_path: Path) -> None:
    async with (
        EdgeNode(tmp_path / "edge", limits={"allocations_per_user": 1}) as edge,
        Probe.open(address(edge, Transport.UDP)) as one,
        Probe.open(address(edge, Transport.UDP)) as two,
    ):
        await one.allocate(USER, PASSWORD)
        with pytest.raises(ProbeError, match="486"):
            await two.allocate(USER, PASSWORD)
        await one.release()
        await two.allocate(USER, PASSWORD)


async def test_a_drain_loses_no_packet_and_takes_no_client(tmp_path: Path) -> None:
    received: list[bytes] = []
    async with EdgeNode(tmp_path / "edge", drain_seconds=30) as edge:
        async with Probe.open(address(edge, Transport.UDP)) as one, Probe.open(address(edge, Transport.UDP)) as other:
            await connect(one, other)
            other.on_data = received.append
            for number in range(300):
                if number == 100:
                    edge.signal(signal.SIGTERM)
                one.send(number.to_bytes(2, "big"))
                await asyncio.sleep(0.005)
            async with Probe.open(address(edge, Transport.UDP)) as late:
                with pytest.raises(ProbeError, match="508"):
                    await late.allocate(USER, PASSWORD)
            await came(received, 300)
            assert edge.exit_code is None
            edge.signal(signal.SIGUSR1)
            async with Probe.open(address(edge, Transport.UDP)) as late:
                async with asyncio.timeout(5):
                    while True:
                        try:
                            await late.allocate(USER, PASSWORD)
                            break
                        except ProbeError:
                            await asyncio.sleep(0.1)
                await late.release()
            edge.signal(signal.SIGTERM)
            await one.release()
            await other.release()
            await ended(edge)
        assert received == [number.to_bytes(2, "big") for number in range(300)]


async def test_peers_on_this_machine_are_denied_unless_all_is_local(tmp_path: Path) -> None:
    async with (
        EdgeNode(tmp_path / "edge", peers={"loopback": "no"}) as edge,
        Probe.open(address(edge, Transport.UDP)) as probe,
    ):
        await probe.allocate(USER, PASSWORD)
        with pytest.raises(ProbeError, match="403"):
            await probe.bind(Address("127.0.0.2", 6379))


async def test_an_advertised_address_that_is_not_bound(tmp_path: Path) -> None:
    """As behind 1:1 NAT: clients name each other's relays by an address that no socket here has."""
    received: list[bytes] = []
    async with (
        EdgeNode(tmp_path / "edge", advertised={"hosts": ["198.51.100.9"], "self_test": False}) as edge,
        Probe.open(address(edge, Transport.UDP)) as one,
        Probe.open(address(edge, Transport.UDP)) as other,
    ):
        await connect(one, other)
        assert one.relayed is not None
        assert one.relayed.host == "198.51.100.9"
        other.on_data = received.append
        one.send(b"by the outer address")
        await came(received, 1)
