"""Every way in: UDP, TCP and TLS over IPv4 and IPv6, WebSocket, the port of trusted servers, ten thousand idle phones."""

from __future__ import annotations

import asyncio
import resource
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from parley.platform.tls import CertificateFiles, DevelopmentCa
from parley.sip.message import Request
from tests.integration.test_bad_input import metric
from tests.support.parley_server import ParleyServer, quiet_limits
from tests.support.ports import free_port
from tests.support.sip_client import DOMAIN, SipClient
from tests.support.waiting import eventually

pytestmark = pytest.mark.valkey

_CONNECTIONS = 10_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    folder = tmp_path_factory.mktemp("transports")
    authority = DevelopmentCa(folder / "peers").ensure()
    running = ParleyServer(
        folder,
        config={
            "frontend": {
                "listen": ["127.0.0.1", "::1"], "trusted_peers": ["gateway.test"], "tls": {"peer_ca": str(authority)},
                "limits": quiet_limits() | {"first_message_seconds": 60.0},
            }
        },
    )  # fmt: skip
    running.ports["peers"] = free_port()
    try:
        asyncio.run(running.start())
        yield running
    finally:
        asyncio.run(running.stop())


async def call(caller: SipClient, callee: SipClient) -> Request:
    """One whole call; the INVITE as the callee got it."""
    invite = await caller.invite(f"sip:{callee.user}@{DOMAIN}")
    offered = await callee.expect("INVITE")
    callee.answer(offered, 200)
    answer = await caller.response()
    assert answer.status == 200
    caller.send(bytes(caller.in_dialog("ACK", invite, answer)))
    await callee.expect("ACK")
    await caller.hang_up(callee, invite, answer)
    return offered


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_ipv6_phone_calls_an_ipv4_phone(server: ParleyServer, transport: str) -> None:
    alice = await SipClient("alice", transport=transport).connect(server.ports[transport], "::1")
    bob = await SipClient("bob").connect(server.ports["udp"])
    assert (await alice.register()).status == 200
    assert (await bob.register()).status == 200
    await call(alice, bob)
    offered = await call(bob, alice)
    assert any("[::1]" in route for route in offered.values("Record-Route"))  # double record-routing, RFC 5658
    assert (await bob.register(contact="*", expires=0)).status == 200
    assert (await alice.register(contact="*", expires=0)).status == 200


async def test_plain_websocket_phone_calls_and_is_called(server: ParleyServer) -> None:
    carol = await SipClient("carol", transport="ws").connect(server.ports["ws"])
    bob = await SipClient("bob", transport="tcp").connect(server.ports["tcp"])
    assert (await carol.register()).status == 200
    assert (await bob.register()).status == 200
    await call(carol, bob)
    await call(bob, carol)
    assert (await bob.register(contact="*", expires=0)).status == 200
    assert (await carol.register(contact="*", expires=0)).status == 200


def peer_context(server: ParleyServer, files: CertificateFiles | None) -> ssl.SSLContext:
    """A server that checks Parley's certificate, and shows one of its own or none."""
    context = ssl.create_default_context(cafile=str(server.ca_file))
    if files is not None:
        context.load_cert_chain(files.certificate, files.key)
    return context


async def test_trusted_server_needs_no_digest_and_may_say_who_calls(server: ParleyServer) -> None:
    files = DevelopmentCa(server.folder / "peers").issue("gateway", ["gateway.test"])
    gateway = await SipClient("0301234", transport="tls").connect(server.ports["peers"], context=peer_context(server, files))
    bob = await SipClient("bob").connect(server.ports["udp"])
    assert (await bob.register()).status == 200
    asserted = ("P-Asserted-Identity", '"Front desk" <tel:+49301234>')
    invite = gateway.request("INVITE", f"sip:bob@{DOMAIN}", headers=[asserted])
    gateway.send(bytes(invite))
    offered = await bob.expect("INVITE")
    assert offered.get("P-Asserted-Identity") == asserted[1]
    bob.answer(offered, 486)
    busy = await gateway.response()
    assert busy.status == 486
    gateway.acknowledge(invite, busy)
    assert (await bob.register(contact="*", expires=0)).status == 200


async def test_certificate_of_a_stranger_gives_no_trust(server: ParleyServer) -> None:
    files = DevelopmentCa(server.folder / "peers").issue("stranger", ["stranger.test"])
    stranger = await SipClient("alice", transport="tls").connect(server.ports["peers"], context=peer_context(server, files))
    asserted = ("P-Asserted-Identity", "<tel:+49301234>")
    stranger.send(bytes(stranger.request("INVITE", f"sip:bob@{DOMAIN}", headers=[asserted])))
    assert (await stranger.response()).status == 407


@pytest.mark.parametrize("issuer", ["", "elsewhere"])
async def test_port_of_trusted_servers_wants_a_certificate_of_their_authority(
    server: ParleyServer, tmp_path: Path, issuer: str
) -> None:
    files = DevelopmentCa(tmp_path / issuer).issue("gateway", ["gateway.test"]) if issuer else None
    context = peer_context(server, files)
    gateway = SipClient("0301234", transport="tls")
    try:
        await gateway.connect(server.ports["peers"], context=context)
    except (ssl.SSLError, ConnectionError):
        return  # TLS 1.3 tells later
    gateway.send(bytes(gateway.request("OPTIONS", f"sip:{DOMAIN}")))
    await asyncio.wait_for(gateway.closed.wait(), 5)
    assert gateway.received.empty()


async def test_ten_thousand_idle_connections(server: ParleyServer) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard >= _CONNECTIONS + 500, "the system allows too few open files for this test"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, _CONNECTIONS + 500), hard))
    before = await metric(server, 'parley_frontend_flows{transport="TCP"}')
    sockets: list[socket.socket] = []

    async def open_now() -> float:
        return await metric(server, 'parley_frontend_flows{transport="TCP"}') - before

    async def all_there() -> bool:
        return await open_now() >= _CONNECTIONS

    async def none_there() -> bool:
        return await open_now() <= 0

    try:
        for number in range(_CONNECTIONS):
            one = socket.socket()
            one.bind((f"127.0.0.{2 + number % 100}", 0))
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", server.ports["tcp"]))
            sockets.append(one)
            if number % 200 == 0:
                await asyncio.sleep(0.02)
        await eventually(all_there, timeout=30, what="every connection is there")
        alice = await SipClient("alice", transport="tls").connect(server.ports["tls"])
        assert (await alice.register()).status == 200
        sockets[-1].setblocking(True)
        sockets[-1].settimeout(5)
        sockets[-1].sendall(b"\r\n\r\n")
        assert sockets[-1].recv(2) == b"\r\n"
    finally:
        for one in sockets:
            one.close()
    await eventually(none_there, timeout=30, what="closed connections are forgotten")
