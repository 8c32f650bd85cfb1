"""Calls to other domains: closed unless opened, servers found in DNS (RFC 3263), the next one tried when one fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from parley.sip.framing import KeepAlive, StreamFramer
from parley.sip.message import Request, make_response, parse_message
from tests.support.dns_server import DnsServer
from tests.support.parley_server import ParleyServer
from tests.support.ports import free_port
from tests.support.sip_client import SipClient

pytestmark = pytest.mark.valkey


class Server(asyncio.DatagramProtocol):
    """A SIP server of another domain that answers every request with one status."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.port = free_port()
        self.seen: list[Request] = []
        self._stream: asyncio.Server | None = None
        self._datagrams: Any = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._stream = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self._datagrams, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", self.port))

    def stop(self) -> None:
        assert self._stream is not None
        self._stream.close()
        self._datagrams.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        framer = StreamFramer()
        while data := await reader.read(65_536):
            for item in framer.feed(data):
                if not isinstance(item, KeepAlive):
                    writer.writelines(self._answers(item))
        writer.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        for answer in self._answers(data):
            self._datagrams.sendto(answer, addr)

    def _answers(self, data: bytes) -> list[bytes]:
        request = parse_message(data)
        if not isinstance(request, Request) or request.method == "ACK":
            return []
        self.seen.append(request)
        return [bytes(make_response(request, self.status, to_tag="o"))]


@pytest.fixture
async def servers() -> AsyncIterator[list[Server]]:
    made = [Server(), Server()]
    for server in made:
        await server.start()
    yield made
    for server in made:
        server.stop()


def records(*lines: str) -> str:
    return "\n".join(("host A 127.0.0.1", *lines)) + "\n"


async def parley(folder: Path, dns: DnsServer, allowed: list[str]) -> ParleyServer:
    outbound = {"domains": allowed, "nameservers": ["127.0.0.1"], "nameserver_port": dns.port}
    server = ParleyServer(folder, config={"frontend": {"outbound": outbound}})
    await server.start()
    return server


async def message(server: ParleyServer, uri: str) -> tuple[int, SipClient]:
    alice = await SipClient("alice", server.password).connect(server.ports["udp"])
    return (await alice.ask(alice.request("MESSAGE", uri, body=b"x"), timeout=10)).status, alice


async def test_closed_by_default(tmp_path: Path, servers: list[Server]) -> None:
    zone = records(f"_sip._udp SRV 0 0 {servers[0].port} host")
    async with DnsServer("other.test", zone) as dns:
        server = await parley(tmp_path, dns, [])
        try:
            assert (await message(server, "sip:dave@other.test"))[0] == 403
            assert not dns.asked
            assert not servers[0].seen
        finally:
            await server.stop()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_naptr_says_the_transport_and_srv_the_server(tmp_path: Path, servers: list[Server], transport: str) -> None:
    service = {"udp": "SIP+D2U", "tcp": "SIP+D2T"}[transport]
    zone = records(
        f'@ NAPTR 10 10 "s" "{service}" "" _sip._{transport}',
        f"_sip._{transport} SRV 0 0 {servers[0].port} host",
    )
    async with DnsServer("other.test", zone) as dns:
        server = await parley(tmp_path, dns, ["other.test"])
        try:
            status, alice = await message(server, "sip:dave@other.test")
            assert status == 200
            (seen,) = servers[0].seen
            assert seen.via.transport.lower() == transport
            assert seen.uri_text == "sip:dave@other.test"
            assert seen.get("P-Asserted-Identity")
            assert seen.get("Proxy-Authorization") is None
            other = await alice.ask(alice.request("MESSAGE", "sip:dave@third.test", body=b"x"))
            assert other.status == 403
            invite = await alice.ask(alice.request("INVITE", "sip:dave@other.test"))
            assert invite.status == 200
            assert len(servers[0].seen[-1].values("Record-Route")) >= 1
        finally:
            await server.stop()


async def test_the_second_server_is_tried_when_the_first_is_dead_or_overloaded(
    tmp_path: Path, servers: list[Server]
) -> None:
    dead = free_port()
    servers[0].status = 503
    zone = records(
        '@ NAPTR 10 10 "s" "SIP+D2T" "" _sip._tcp',
        f"_sip._tcp SRV 1 0 {dead} host",
        f"_sip._tcp SRV 2 0 {servers[0].port} host",
        f"_sip._tcp SRV 3 0 {servers[1].port} host",
    )
    async with DnsServer("other.test", zone) as dns:
        server = await parley(tmp_path, dns, ["other.test"])
        try:
            status, alice = await message(server, "sip:dave@other.test")
            assert status == 200
            assert [len(other.seen) for other in servers] == [1, 1]
            servers[1].status = 486  # a user who is busy is so on every server
            answer = await alice.ask(alice.request("MESSAGE", "sip:dave@other.test", body=b"x"))
            assert answer.status == 486
            servers[1].status = 503
            answer = await alice.ask(alice.request("MESSAGE", "sip:dave@other.test", body=b"x"))
            assert answer.status in (500, 503)
        finally:
            await server.stop()


async def test_no_such_domain_and_a_dead_name_server_are_answered(tmp_path: Path) -> None:
    async with DnsServer("other.test", records()) as dns:
        server = await parley(tmp_path, dns, ["*"])
        status, _ = await message(server, "sip:dave@missing.test")
        assert status == 404
    try:
        assert (await message(server, "sip:dave@unheard.test"))[0] == 503
    finally:
        await server.stop()
