"""The phones of the tests in a cluster: where they answer, and what they say when nobody does."""

from __future__ import annotations

import asyncio

import pytest

from parley.sip.message import Request, Response, parse_message
from tests.support import cluster_line
from tests.support.cluster_ledger import Ledger
from tests.support.cluster_line import PhoneError
from tests.support.cluster_phone import Phone


class Server(asyncio.DatagramProtocol):
    """A socket that takes note of what comes."""

    def __init__(self) -> None:
        self.came: asyncio.Queue[Request | Response] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.came.put_nowait(parse_message(data))


async def test_a_request_is_answered_to_where_it_came_from() -> None:
    loop, servers = asyncio.get_running_loop(), (Server(), Server())
    sockets = [(await loop.create_datagram_endpoint(lambda s=s: s, local_addr=("127.0.0.1", 0)))[0] for s in servers]  # type: ignore[misc]
    edges = [socket.get_extra_info("sockname") for socket in sockets]
    phone = Phone("bob", "", edges, Ledger(), source="127.0.0.1")
    try:
        await phone.open()
        headers = [
            ("Via", "SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1"), ("From", "<sip:a@example.test>;tag=1"),
            ("To", "<sip:bob@example.test>"), ("Call-ID", "c"), ("CSeq", "1 OPTIONS"),
        ]  # fmt: skip
        for _ in range(2):  # the second one is a retransmission
            sockets[1].sendto(bytes(Request.create("OPTIONS", phone.contact, headers=headers)), phone.local)
            answer = await asyncio.wait_for(servers[1].came.get(), 5)
            assert isinstance(answer, Response)
            assert answer.status == 200
        assert servers[0].came.empty()
    finally:
        await phone.abort()
        for socket in sockets:
            socket.close()


async def test_no_answer_says_how_often_and_where_it_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_line, "T1", 0.02)
    monkeypatch.setattr(cluster_line, "TRANSACTION_S", 0.05)
    phone = Phone("bob", "", [("127.0.0.1", 9)], Ledger(), source="127.0.0.1")
    try:
        await phone.open()
        with pytest.raises(PhoneError, match=r"no answer from 127\.0\.0\.1:9 over udp, sent [2-9] times"):
            await phone.ask_until("INFO", "sip:a@example.test", timeout=0.05)
    finally:
        await phone.abort()
