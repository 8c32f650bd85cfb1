"""The media relay: what a relayed packet costs, how long it takes, how many are lost; and memory of an allocation.

Parley with each of its data planes, and coturn, have one relay thread each on the same core and are loaded in turn; clients
and peers are played by native/relay's load generator on another core. Half of the packets go each way. CPU is that of all
threads of a server. Each case is measured twice, and the run that cost the server less is shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.cpu import cpu_seconds, resident_bytes
from bench.peers.relays import PASSWORD, USER, RelayPeer
from bench.pinning import pinned
from bench.tables import Result
from parley.stun.addresses import Address
from parley.stun.turn.client import TurnClient
from parley.stun.turn.events import Failed
from parley.stun.turn.transactions import Session

PAYLOAD = 172
"""Bytes: 20 ms of G.711 in RTP."""
_BUILD = Path("tools") / "build_native.py"
_PATIENCE_S = 5.0
_HOSTS = (f"127.0.1.{number}" for number in itertools.count(1))
_ROUND = 0.25
_ROUNDS = 2


@dataclass
class Leg:
    """One allocation with the sockets of its client and its peer."""

    client: socket.socket
    peer: socket.socket
    turn: TurnClient
    head: bytes = b""


@dataclass
class Legs:
    """Allocations on one server. ``host``: of the clients, not used before, as coturn remembers five-tuples for a while."""

    server: tuple[str, int]
    host: str
    legs: list[Leg] = field(default_factory=list)

    def add(self, count: int, *, channels: bool) -> None:
        """Makes more of them. Raises RefusedError, TimeoutError."""
        for _ in range(count):
            client, peer = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
            peer.bind(("127.0.0.1", 0))
            client.bind((self.host, 0))
            client.connect(self.server)
            client.settimeout(_ROUND)
            leg = Leg(client, peer, TurnClient(Session(USER, PASSWORD)))
            self.legs.append(leg)
            to = Address(*peer.getsockname())
            leg.turn.allocate(time.monotonic())
            _exchange(leg, "Allocated")
            peer.connect(leg.turn.relayed[0])
            if channels:
                leg.turn.bind_channel(to, time.monotonic())
                _exchange(leg, "ChannelBound")
            else:
                leg.turn.permit([to.host], time.monotonic())
                _exchange(leg, "Permitted")
            leg.head = leg.turn.send(to, bytes(PAYLOAD))[:-PAYLOAD]
            client.setblocking(False)
            peer.setblocking(False)

    def close(self) -> None:
        """Gives the allocations back."""
        for leg in self.legs:
            leg.client.settimeout(_ROUND)
            leg.turn.release(time.monotonic())
            with contextlib.suppress(TimeoutError, RefusedError):  # it ends by itself then
                _exchange(leg, "Released")
            leg.client.close()
            leg.peer.close()
        self.legs.clear()


class RefusedError(Exception):
    """The server answers with an error."""


def _exchange(leg: Leg, wanted: str) -> None:
    """Talks to the server until that event has come. Raises RefusedError, TimeoutError."""
    until = time.monotonic() + _PATIENCE_S
    while (now := time.monotonic()) < until:
        leg.turn.expire(now)
        for message in leg.turn.take_outgoing():
            leg.client.send(message)
        for event in leg.turn.take_events():
            if type(event).__name__ == wanted:
                return
            if isinstance(event, Failed):
                raise RefusedError(str(event))
        try:
            leg.turn.receive(leg.client.recv(2048), time.monotonic())
        except TimeoutError:
            continue
    raise TimeoutError(f"the server has not answered: no {wanted}")


@dataclass(frozen=True, slots=True)
class Load:
    """What one load did. Delays in microseconds, one way."""

    sent: int
    received: int
    p50_us: int
    p99_us: int
    cpu_us: float
    """CPU of the server for each packet that arrived."""

    @property
    def lost(self) -> float:
        """Of a hundred."""
        return 100 * (1 - self.received / self.sent) if self.sent else 0.0


async def load(peer: RelayPeer, legs: Sequence[Leg], rate: int, seconds: float, generator: Path) -> Load:
    """Sends packets through allocations of a server."""
    sockets = [sock for leg in legs for sock in (leg.client, leg.peer)]
    lines = [f"{leg.client.fileno()} {leg.peer.fileno()} {leg.head.hex()}\n" for leg in legs]
    pids = peer.pids()
    before = cpu_seconds(pids)
    process = await asyncio.create_subprocess_exec(
        *pinned(-1), str(generator), str(rate), str(seconds), str(PAYLOAD), stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, pass_fds=[sock.fileno() for sock in sockets],
    )  # fmt: skip
    output, _ = await process.communicate("".join(lines).encode())
    used = cpu_seconds(pids) - before
    sent, received, p50, p99, _ = (int(word) for word in output.split())
    return Load(sent, received, p50, p99, used / max(1, received) * 1e6)


def load_generator() -> Path:
    """The program that makes the load, built now or before. Raises RuntimeError when it cannot be."""
    # Compiled, this is in a folder of the checkout.
    script = next(folder / _BUILD for folder in Path(__file__).resolve().parents if (folder / _BUILD).is_file())
    build = subprocess.run([sys.executable, script, "--print"], capture_output=True, text=True, check=False)
    if not build.stdout:
        raise RuntimeError(f"the relay benchmark needs the load generator: {build.stderr.strip()}")
    return Path(build.stdout.strip()) / "relay-load"


async def relayed(
    peers: Sequence[RelayPeer], generator: Path, *, seconds: float, rates: Sequence[int] = (1_000, 50_000, 100_000),
    allocations: Sequence[int] = (1, 100, 2_000),
) -> list[Result]:  # fmt: skip
    """All measurements of all servers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    packets = Result(
        f"Relayed packets of {PAYLOAD} bytes", ["server", "as", "allocations", "packets/s", "CPU µs/packet", "packets/CPU s",
        "p50 µs", "p99 µs", "lost %"],
    )  # fmt: skip
    memory = Result("Memory of an allocation", ["server", "KiB each"])
    best: dict[tuple[str, int, int], dict[str, Load]] = {}
    try:
        for peer in peers:
            await peer.start()
            # First of all, while nothing that was freed lies about.
            memory.rows.append([peer.label, f"{await _memory(peer, max(allocations)) / 1024:.1f}"])
        for case in _cases(rates, allocations) * _ROUNDS:
            for peer in peers:  # in turn, so that whatever else the machine does meets all of them
                result = await _measure(peer, *case, seconds, generator)
                known = best.setdefault(case, {})
                known[peer.label] = min(known.get(peer.label, result), result, key=lambda load: load.cpu_us)
    finally:
        for peer in peers:
            await peer.stop()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for peer in peers:
        for (name, count, rate), known in best.items():
            result = known[peer.label]
            packets.rows.append(
                [peer.label, name, str(count), str(rate), f"{result.cpu_us:.2f}", f"{1e6 / result.cpu_us:.0f}",
                 str(result.p50_us), str(result.p99_us), f"{result.lost:.2f}"]
            )  # fmt: skip
    reference = peers[-1].label
    for peer in peers[:-1]:
        ratios = [(by[peer.label].cpu_us / by[reference].cpu_us, *case) for case, by in best.items()]
        worst, name, count, rate = max(ratios)
        packets.notes.append(
            f"CPU of {peer.label} / {reference}: {min(ratios)[0]:.2f} to {worst:.2f} ({name}, {count} allocations, {rate}/s)"
        )
    return [packets, memory]


def _cases(rates: Sequence[int], allocations: Sequence[int]) -> list[tuple[str, int, int]]:
    """Every rate both ways with a hundred allocations, and the other numbers of allocations with channels."""
    middle = sorted(rates)[len(rates) // 2]
    cases = [(name, 100, rate) for name in ("channel data", "indications") for rate in rates]
    return cases + [("channel data", count, middle) for count in allocations if count != 100]


async def _measure(peer: RelayPeer, name: str, count: int, rate: int, seconds: float, generator: Path) -> Load:
    legs = Legs(peer.address, next(_HOSTS))
    try:
        legs.add(count, channels=name == "channel data")
        await load(peer, legs.legs, min(rate, 20_000), 0.3, generator)  # whatever is made at first use is there then
        return await load(peer, legs.legs, rate, seconds, generator)
    finally:
        legs.close()


async def _memory(peer: RelayPeer, count: int) -> float:
    """Bytes of each further allocation, with a channel."""
    legs = Legs(peer.address, next(_HOSTS))
    try:
        legs.add(100, channels=True)
        before = resident_bytes(peer.pids())
        legs.add(count, channels=True)
        return (resident_bytes(peer.pids()) - before) / count
    finally:
        legs.close()
