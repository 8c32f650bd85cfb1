"""A small authoritative DNS server on loopback, for tests that look servers up."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import dns.zone

from tests.support.ports import free_port


class DnsServer(asyncio.DatagramProtocol):
    """Answers from one zone; what is not in it does not exist."""

    def __init__(self, origin: str, records: str) -> None:
        """``records``: lines of a zone file without SOA and NS."""
        self._origin = dns.name.from_text(origin)
        self.replace(records)
        self.port = free_port()
        self.asked: list[str] = []
        self._transport: asyncio.DatagramTransport | None = None

    def replace(self, records: str) -> None:
        """The zone has other records from now on."""
        head = f"$ORIGIN {self._origin}\n$TTL 1\n@ SOA ns admin 1 60 60 60 1\n@ NS ns\nns A 127.0.0.1\n"
        self._zone = dns.zone.from_text(head + records, origin=self._origin, relativize=False)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", self.port))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._transport is not None
        self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """One question, one answer."""
        with contextlib.suppress(dns.exception.DNSException):
            assert self._transport is not None
            self._transport.sendto(self._answer(dns.message.from_wire(data)), addr)

    def _answer(self, query: dns.message.Message) -> bytes:
        question = query.question[0]
        self.asked.append(f"{question.name} {dns.rdatatype.to_text(question.rdtype)}")
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        node = self._zone.get_node(question.name) if question.name.is_subdomain(self._origin) else None
        if node is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        else:
            found = node.get_rdataset(question.rdclass, question.rdtype)
            if found is not None:
                response.answer.append(dns.rrset.from_rdata_list(question.name, found.ttl, list(found)))
        return response.to_wire()
