"""Those who watch presence in the benchmarks: standard phones over UDP, and Communicator over TCP.

What they do when a notification comes is little, so that they do not measure themselves: they note the time, and a phone
answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Self

from parley.sip.message import Request, Response, parse_message
from tests.integration.test_presence import subscribe_batch
from tests.support.ocs_client import OcsClient
from tests.support.sip_client import DOMAIN, SipClient

Arrived = Callable[[float], None]
"""Told when a notification came, in seconds of the performance counter."""

_KEPT = (b"via:", b"from:", b"to:", b"call-id:", b"cseq:", b"record-route:")


class Phone(SipClient):
    """A standard phone with a socket of its own."""

    def __init__(self, user: str, password: str, arrived: Arrived) -> None:
        super().__init__(user, password)
        self.arrived = arrived

    async def connect(self, port: int, host: str = "127.0.0.1", **_: Any) -> Self:
        """Opens the socket towards a port."""
        loop = asyncio.get_running_loop()
        transport, _protocol = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self), local_addr=(host, 0), remote_addr=(host, port)
        )
        self._opened(transport, transport.sendto)
        return self

    async def watch(self, whom: str) -> None:
        """Subscribes to somebody's presence. Raises RuntimeError."""
        for wait in (0.1, 0.5, 2.0):
            headers = [("Event", "presence"), ("Accept", "application/pidf+xml"), ("Expires", "3000")]
            answer = await self.ask(self.request("SUBSCRIBE", f"sip:{whom}@{DOMAIN}", headers=headers), timeout=30)
            if answer.status in (200, 202):
                return
            await asyncio.sleep(wait)
        raise RuntimeError(f"{self.user} may not watch: {answer.status} {answer.reason}")


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, phone: Phone) -> None:
        self._phone = phone

    def datagram_received(self, data: bytes, addr: object) -> None:
        if data.startswith(b"NOTIFY "):
            self._phone.arrived(time.perf_counter())
            self._phone.send(answer_of(data))
        elif data.strip():
            self._phone.received.put_nowait(parse_message(data))

    def error_received(self, exc: Exception) -> None:
        pass


def answer_of(request: bytes) -> bytes:
    """The 200 for a NOTIFY, made of its lines as they stand."""
    head = request.partition(b"\r\n\r\n")[0].split(b"\r\n")
    kept = [line for line in head[1:] if line[:13].lower().startswith(_KEPT)]
    return b"\r\n".join([b"SIP/2.0 200 OK", *kept, b"Content-Length: 0\r\n\r\n"])


class Communicator(OcsClient):
    """Communicator: signs in with NTLM and watches with a batched subscription."""

    def __init__(self, user: str, password: str, arrived: Arrived, *, epid: str) -> None:
        super().__init__(user, password, epid=epid)
        self.received = _Arrivals(arrived)

    async def watch(self, *whom: str) -> None:
        """Subscribes to the presence of users. Raises RuntimeError."""
        for wait in (0.1, 0.5, 2.0):
            answer = await self.ask_signed(subscribe_batch(self, *whom), timeout=30)
            if answer.status == 200:
                return
            await asyncio.sleep(wait)
        raise RuntimeError(f"{self.user} may not watch: {answer.status} {answer.reason}")


class _Arrivals(asyncio.Queue[Request | Response]):
    """Keeps responses; of notifications only the time."""

    def __init__(self, arrived: Arrived) -> None:
        super().__init__()
        self._arrived = arrived

    def put_nowait(self, item: Request | Response) -> None:
        if isinstance(item, Request):
            self._arrived(time.perf_counter())
        else:
            super().put_nowait(item)
