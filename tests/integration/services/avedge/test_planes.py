"""Both data planes do the same, behind the same worker, on real sockets."""

import asyncio
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from parley.platform.clock import SystemClock
from parley.platform.telemetry.tracing import Tracer
from parley.platform.tls import DevelopmentCa
from parley.proto.avedge.v1 import worker_pb2
from parley.stun.addresses import Address
from parley.stun.turn.client import TurnClient
from parley.stun.turn.events import Allocated, ChannelBound, ClientEvent, Permitted, Received, Released
from parley.stun.turn.transactions import Session
from services.avedge.config import AvEdgeConfig
from services.avedge.planes.native import NativePathMissing, load_native
from services.avedge.sockets import open_sockets
from services.avedge.worker import Keys, Worker, WorkerSettings

HOST = "127.0.0.1"
PEER_HOST = "127.0.0.2"
KNOWN_AS = "127.0.0.9"
"""Where relays are advertised; they are bound to the other."""
USER, PASSWORD, REALM = "alice", "sesame", "example.test"
Event = TypeVar("Event", bound=ClientEvent)
PATIENCE_S = 5.0
QUIET_S = 0.15


class Phone:
    """A TURN client on a socket of its own."""

    def __init__(self, server: Address) -> None:
        self.turn = TurnClient(Session(USER, PASSWORD))
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect(server)
        self.came: list[ClientEvent] = []

    async def wait(self, kind: type[Event], seconds: float = PATIENCE_S) -> Event:
        """Talks to the server until that has happened. Raises TimeoutError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(seconds):
            while True:
                for message in self.turn.take_outgoing():
                    await loop.sock_sendall(self.socket, message)
                self.came += self.turn.take_events()
                for event in self.came:
                    if isinstance(event, kind):
                        self.came.remove(event)
                        return event
                self.turn.receive(await loop.sock_recv(self.socket, 65536), time.monotonic())

    async def allocate(self) -> Address:
        """The relay that it gets."""
        self.turn.allocate(time.monotonic())
        await self.wait(Allocated)
        return self.turn.relayed[0]

    async def is_silent(self) -> bool:
        """Whether nothing of a peer comes."""
        try:
            await self.wait(Received, QUIET_S)
        except TimeoutError:
            return True
        return False


class Edge:
    """A worker with one UDP port; phones and peers that use it."""

    def __init__(self, plane: str, folder: Path, **limits: int) -> None:
        config = AvEdgeConfig.model_validate(
            {
                "plane": plane,
                "ports": {"udp": 0, "tcp": -1, "dtls": -1, "tls": -1},
                "credentials": {"realm": REALM, "users": {USER: PASSWORD}},
                "limits": limits,
            }
        )
        self.ended: list[worker_pb2.Ended] = []
        files = DevelopmentCa(folder).issue("relay", [HOST])
        keys = Keys(bytes(32), b"unused", {USER: PASSWORD}, bytes(32))
        settings = WorkerSettings(0, 1, config, {HOST: KNOWN_AS}, keys, files, loopback=True)
        self.worker = Worker(settings, self._report, SystemClock(), Tracer(None))
        sockets = open_sockets(config, [HOST])
        self.address = sockets[0].local
        self.worker.start(sockets)
        self._open: list[socket.socket] = []

    def _report(self, report: worker_pb2.WorkerReport) -> None:
        if report.HasField("ended"):
            self.ended.append(report.ended)

    def phone(self) -> Phone:
        """A client that has not spoken yet."""
        phone = Phone(self.address)
        self._open.append(phone.socket)
        return phone

    def peer(self) -> socket.socket:
        """Somebody on the other side."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind((PEER_HOST, 0))
        self._open.append(sock)
        return sock

    async def stop(self) -> None:
        """Ends it."""
        await self.worker.stop()
        for sock in self._open:
            sock.close()


Start = Callable[..., Edge]


@pytest.fixture(params=["native", "python"])
async def start(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Start]:
    if request.param == "native":
        pytest.importorskip("parley_relay", reason="the native packet path is not built")
    edges: list[Edge] = []

    def one(**limits: int) -> Edge:
        edges.append(Edge(request.param, tmp_path, **limits))
        return edges[-1]

    yield one
    for edge in edges:
        await edge.stop()


def bound(relay: Address) -> Address:
    """Where a relay can be reached here."""
    assert relay.host == KNOWN_AS
    return Address(HOST, relay.port)


async def receive(peer: socket.socket) -> tuple[bytes, tuple[str, int]]:
    async with asyncio.timeout(PATIENCE_S):
        data, source = await asyncio.get_running_loop().sock_recvfrom(peer, 65536)
    return data, source


@pytest.mark.parametrize("channel", [True, False])
async def test_packets_pass_both_ways_and_are_counted(start: Start, channel: bool) -> None:
    edge = start()
    phone, peer = edge.phone(), edge.peer()
    relay = bound(await phone.allocate())
    to = Address(*peer.getsockname())
    if channel:
        phone.turn.bind_channel(to, time.monotonic())
        await phone.wait(ChannelBound)
    else:
        phone.turn.permit([to.host], time.monotonic())
        await phone.wait(Permitted)
    phone.socket.send(phone.turn.send(to, b"to you"))
    assert await receive(peer) == (b"to you", relay)
    peer.sendto(b"back", relay)
    got = await phone.wait(Received)
    assert (got.peer, got.payload) == (to, b"back")
    assert [state.traffic.sent_bytes for state in edge.worker.listing(10)] == [6]
    phone.turn.release(time.monotonic())
    await phone.wait(Released)
    traffic = edge.ended[0].allocation.traffic
    assert (traffic.sent_packets, traffic.sent_bytes, traffic.received_packets, traffic.received_bytes) == (1, 6, 1, 4)


async def test_nobody_gets_through_without_permission(start: Start) -> None:
    edge = start()
    phone, peer = edge.phone(), edge.peer()
    relay = bound(await phone.allocate())
    peer.sendto(b"let me in", relay)
    phone.socket.send(phone.turn.send(Address(*peer.getsockname()), b"let me out"))
    assert await phone.is_silent()
    assert edge.worker.listing(1)[0].traffic.dropped_packets == 2


async def test_two_clients_meet_at_their_advertised_relays(start: Start) -> None:
    edge = start()
    alice, bob = edge.phone(), edge.phone()
    relays = [await alice.allocate(), await bob.allocate()]
    for phone, other in ((alice, relays[1]), (bob, relays[0])):
        phone.turn.bind_channel(other, time.monotonic())
        await phone.wait(ChannelBound)
    alice.socket.send(alice.turn.send(relays[1], b"hello"))
    got = await bob.wait(Received)
    assert (got.peer, got.payload) == (relays[0], b"hello")


async def test_a_client_of_another_worker_is_known_by_its_advertised_relay(start: Start) -> None:
    edge, other = start(), start()
    alice, bob = edge.phone(), other.phone()
    relays = [await alice.allocate(), await bob.allocate()]
    for phone, relay in ((alice, relays[1]), (bob, relays[0])):
        phone.turn.permit([relay.host], time.monotonic())
        await phone.wait(Permitted)
    alice.socket.send(alice.turn.send(relays[1], b"hello"))
    got = await bob.wait(Received)
    assert (got.peer, got.payload) == (relays[0], b"hello")


async def test_no_more_passes_than_the_rate_allows(start: Start) -> None:
    edge = start(bytes_per_second=2_000)
    phone, peer = edge.phone(), edge.peer()
    await phone.allocate()
    to = Address(*peer.getsockname())
    phone.turn.bind_channel(to, time.monotonic())
    await phone.wait(ChannelBound)
    for _ in range(10):
        phone.socket.send(phone.turn.send(to, bytes(250)))
    got = [await receive(peer) for _ in range(4)]
    assert [len(data) for data, _ in got] == [250] * 4
    assert await phone.is_silent()
    traffic = edge.worker.listing(1)[0].traffic
    assert traffic.sent_packets + traffic.dropped_packets == 10
    assert traffic.sent_packets < 7


async def test_what_ends_leaves_no_way_behind(start: Start) -> None:
    edge = start()
    phone, peer = edge.phone(), edge.peer()
    relay = bound(await phone.allocate())
    to = Address(*peer.getsockname())
    phone.turn.bind_channel(to, time.monotonic())
    await phone.wait(ChannelBound)
    message = phone.turn.send(to, b"late")
    phone.turn.release(time.monotonic())
    await phone.wait(Released)
    phone.socket.send(message)
    peer.sendto(b"late", relay)
    assert await phone.is_silent()
    await phone.allocate()  # the same five-tuple may have another


def test_a_wanted_native_path_that_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "parley_relay", None)
    assert load_native("auto") is None
    with pytest.raises(NativePathMissing, match="parley_relay is not installed"):
        load_native("native")
