"""Garbage, floods and connections that say nothing, at the ports of the nodes: others use Parley undisturbed meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.support.cluster_install import SERVICES, Installation, aside
from tests.support.cluster_people import People
from tests.support.sip_client import DOMAIN

BEGINNINGS = {
    ("sip-tcp", "frontend"): b"INVITE sip:x SIP/2.0\r\nVia: SIP/2.0/TCP",
    ("sip-tls", "frontend"): b"\x16\x03\x01\x02\x00\x01",
    ("sip-ws", "frontend"): b"GET / HTTP/1.1\r\nHost: x\r\n",
    ("sip-wss", "frontend"): b"\x16\x03\x01",
    ("https", "web"): b"",
    ("turn-tcp", "avedge"): b"\x00\x03\x00",
}
"""What a connection begins with, and then nothing more, by port and the service that has it."""
PATIENCE = 3.0
"""Seconds in which an undisturbed person is served, with both cores of the machine busy."""
SECONDS = 6.0


@asynccontextmanager
async def others_are_served(people: People, parley: Installation) -> AsyncIterator[None]:
    """Fails when those who did nothing wrong notice what the block does, or when a pod is started anew."""
    restarts = _restarts(parley)
    async with people.traffic(refresh=3.0) as traffic:
        yield
    traffic.check(calls=2, messages=5)
    for kind in ("call", "message", "refresh"):
        assert traffic.ledger.percentile(kind, 0.9) < PATIENCE, traffic.ledger.summary()
    assert await aside(_restarts, parley) == restarts, "no process ended"


def _restarts(parley: Installation) -> dict[str, int]:
    """How often each pod of a service was started anew."""
    return {pod.uid: pod.restarts for pod in parley.pods() if pod.component in SERVICES}


async def for_a_while(work: Callable[[], None], pause: float = 0.02) -> None:
    """Does something again and again."""
    deadline = asyncio.get_running_loop().time() + SECONDS
    while asyncio.get_running_loop().time() < deadline:
        work()
        await asyncio.sleep(pause)


def datagrams(address: str) -> socket.socket:
    """A socket that sends from an address of its own, so that limits of sources fall on it alone."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((address or "0.0.0.0", 0))
    made.setblocking(False)
    return made


async def test_garbage_over_udp(people: People, parley: Installation) -> None:
    chance = random.Random(1)
    targets = [*people.edges("udp"), *parley.edges("turn-udp"), *parley.edges("turn-dtls")]
    noise = [chance.randbytes(size) for size in (1, 20, 200, 1400)]
    noise += [b"INVITE sip:x SIP/2.0\r\nVia: \r\n\r\n", b"SIP/2.0 200 OK\r\n\r\n", b"\x00\x01\xff\xff" + bytes(16)]
    async with others_are_served(people, parley):
        with datagrams(people.addresses[-1]) as sender:

            def burst() -> None:
                for target in targets:
                    with contextlib.suppress(BlockingIOError):
                        sender.sendto(chance.choice(noise), target)

            await for_a_while(burst)


async def test_a_flood_of_requests_from_one_source(people: People, parley: Installation) -> None:
    """Far more than one source may send: it is dropped by its address, and counted."""
    limited = "parley_frontend_limited_total"
    pods = await aside(parley.ready, "frontend")
    before = sum([await aside(parley.metric, pod, limited) for pod in pods])
    request = (
        f"OPTIONS sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP 1.2.3.4:5060;branch=z9hG4bKflood%d;rport\r\nMax-Forwards: 70\r\n"
        f"From: <sip:flood@{DOMAIN}>;tag=1\r\nTo: <sip:{DOMAIN}>\r\nCall-ID: flood%d\r\nCSeq: 1 OPTIONS\r\n"
        "Content-Length: 0\r\n\r\n"
    )
    async with others_are_served(people, parley):
        with datagrams(people.addresses[-1]) as sender:
            number = 0

            def burst() -> None:
                nonlocal number
                for target in people.edges("udp"):
                    for _ in range(20):
                        number += 1
                        with contextlib.suppress(BlockingIOError):
                            sender.sendto((request % (number, number)).encode(), target)

            await for_a_while(burst)
    after = sum([await aside(parley.metric, pod, limited) for pod in pods])
    assert after > before, "a limit was met"


async def test_connections_that_begin_and_say_nothing(people: People, parley: Installation) -> None:
    """Half a handshake, half a message, or silence: none is in the way of others."""
    source = people.addresses[-1]
    local = (source, 0) if source else None
    async with others_are_served(people, parley):
        writers = []
        for (port, service), first in BEGINNINGS.items():
            host, number = (await aside(parley.edges, port, await aside(parley.node_of, service)))[0]
            for _ in range(40):
                _, writer = await asyncio.open_connection(host, number, local_addr=local)
                writer.write(first)
                writers.append(writer)
        await for_a_while(lambda: None)
        for writer in writers:
            writer.transport.abort()


async def test_garbage_over_streams(people: People, parley: Installation) -> None:
    chance = random.Random(2)
    async with others_are_served(people, parley):
        for port in ("sip-tcp", "sip-tls", "sip-ws", "sip-wss"):
            host, number = parley.edges(port)[0]
            source = people.addresses[-1]
            for size in (10, 1_000, 100_000):
                reader, writer = await asyncio.open_connection(host, number, local_addr=(source, 0) if source else None)
                with contextlib.suppress(ConnectionError, TimeoutError):
                    writer.write(chance.randbytes(size))
                    await asyncio.wait_for(writer.drain(), 2)
                    await asyncio.wait_for(reader.read(), 2)
                writer.transport.abort()
