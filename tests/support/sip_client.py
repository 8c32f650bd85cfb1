"""A SIP user agent for tests that need to decide every byte: over UDP or a stream, with digest."""

from __future__ import annotations

import asyncio
import hashlib
import re
import ssl
from collections.abc import Callable, Coroutine, Iterable
from ipaddress import ip_address
from itertools import count
from typing import Any, Self

from aiohttp import ClientSession

from parley.sip.framing import KeepAlive, StreamFramer
from parley.sip.message import Request, Response, make_response, parse_message

DOMAIN = "example.test"
_PARAMETER = re.compile(r'(\w+)="?([^",]+)"?')
_unique = count(1)

OPEN: list[SipClient] = []
"""Clients of the running test; a fixture closes them."""


class SipClient:
    """One user on one socket."""

    def __init__(self, user: str, password: str = "Secret-1", *, transport: str = "udp") -> None:
        self.user = user
        self.password = password
        self.transport = transport
        self.received: asyncio.Queue[Request | Response] = asyncio.Queue()
        self.local: tuple[str, int] = ("127.0.0.1", 0)
        self.closed = asyncio.Event()
        self._cseq = count(1)
        self._write: Callable[[bytes], None] = lambda _: None
        self._close: Callable[[], None] = lambda: None
        self._abort: Callable[[], None] = self.closed.set

    async def connect(self, port: int, host: str = "127.0.0.1", *, context: ssl.SSLContext | None = None) -> Self:
        """Opens the socket towards a port; over TLS any certificate will do unless ``context`` says otherwise."""
        loop = asyncio.get_running_loop()
        if self.transport == "udp":
            here = (host, 0) if ip_address(host).is_loopback else None
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(self), local_addr=here, remote_addr=(host, port)
            )
            self._opened(transport, transport.sendto)
        elif self.transport == "ws":
            await self._connect_websocket(f"ws://{host}:{port}/")
        else:
            if self.transport == "tls" and context is None:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            stream, _ = await loop.create_connection(lambda: _Stream(self), host, port, ssl=context)
            self._opened(stream, stream.write)
        return self

    async def _connect_websocket(self, url: str) -> None:
        session = ClientSession()
        socket = await session.ws_connect(url, protocols=("sip",))
        assert socket.protocol == "sip"

        async def read() -> None:
            async for frame in socket:
                data = frame.data
                self.received.put_nowait(parse_message(data.encode() if isinstance(data, str) else data))
            await session.close()
            self.closed.set()

        reader = asyncio.ensure_future(read())
        writes: set[asyncio.Future[None]] = set()

        def write(data: bytes) -> None:
            sending = asyncio.ensure_future(socket.send_str(data.decode()))
            writes.add(sending)
            sending.add_done_callback(writes.discard)

        self._write = write
        self._close = self._abort = lambda: None if reader.done() else _later(socket.close(), writes)
        OPEN.append(self)
        self.local = ("client.invalid", 5060)

    def _opened(self, transport: asyncio.WriteTransport | asyncio.DatagramTransport, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._close = transport.close
        self._abort = transport.abort
        OPEN.append(self)
        self.local = transport.get_extra_info("sockname")[:2]

    def close(self) -> None:
        """Closes the socket."""
        self._close()

    async def abort(self) -> None:
        """Closes the socket at once, and waits until it is."""
        self._abort()
        await self.closed.wait()

    def send(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self._write(data)

    @property
    def sent_by(self) -> str:
        """Host and port of Via and Contact."""
        host, port = self.local
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def contact(self) -> str:
        """Our contact URI."""
        return f"sip:{self.user}@{self.sent_by};transport={self.transport}"

    def request(
        self, method: str, uri: str, *, to: str | None = None, headers: Iterable[tuple[str, str]] = (), body: bytes = b"",
        call_id: str | None = None, cseq: int | None = None, from_tag: str = "f", to_tag: str | None = None,
        branch: str | None = None,
    ) -> Request:  # fmt: skip
        """A request of this user; everything can be set."""
        n = next(_unique)
        to_value = f"<{to or uri}>" + (f";tag={to_tag}" if to_tag else "")
        fields = [
            (
                "Via",
                f"SIP/2.0/{self.transport.upper()} {self.sent_by};rport;branch={branch or f'z9hG4bKt{n}'}",
            ),
            ("Max-Forwards", "70"),
            ("From", f"<sip:{self.user}@{DOMAIN}>;tag={from_tag}"),
            ("To", to_value),
            ("Call-ID", call_id or f"call{n}@{self.user}"),
            ("CSeq", f"{cseq or next(self._cseq)} {method}"),
            *headers,
        ]
        if not any(name.lower() == "contact" for name, _ in fields) and method in ("INVITE", "REFER", "SUBSCRIBE"):
            fields.append(("Contact", f"<{self.contact}>"))
        return Request.create(method, uri, headers=fields, body=body)

    async def receive(self, timeout: float = 5.0) -> Request | Response:
        """The next message."""
        return await asyncio.wait_for(self.received.get(), timeout)

    async def response(
        self, timeout: float = 5.0, *, final: bool = True, passed: list[Request | Response] | None = None
    ) -> Response:
        """The next response; provisional ones are passed over unless wanted. ``passed`` takes what is passed over."""
        while True:
            message = await self.receive(timeout)
            if isinstance(message, Response) and (message.status >= 200 or not final):
                return message
            if passed is not None:
                passed.append(message)

    async def expect(self, method: str, timeout: float = 5.0) -> Request:
        """The next request of that method; others are passed over."""
        while True:
            message = await self.receive(timeout)
            if isinstance(message, Request) and message.method == method:
                return message

    def answer(
        self, request: Request, status: int, *, to_tag: str = "t", headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> None:
        """Answers a request."""
        extra = list(headers)
        if 100 < status < 300 and request.method == "INVITE":
            extra.append(("Contact", f"<{self.contact}>"))
        response = make_response(request, status, to_tag=to_tag, headers=extra, body=body, record_route=True)
        self.send(bytes(response))

    def authorize(self, request: Request, challenge: Response, *, password: str | None = None, nc: int = 1) -> Request:
        """The request again, with credentials for an MD5 challenge."""
        proxy = challenge.status == 407
        name = "Proxy-Authenticate" if proxy else "WWW-Authenticate"
        value = next(v for v in challenge.get_all(name) if "SHA-256" not in v)
        again = request.copy()
        number = request.cseq.number + 1
        again.set("CSeq", f"{number} {request.method}")
        again.set("Via", f"SIP/2.0/{self.transport.upper()} {self.sent_by};rport;branch=z9hG4bKt{next(_unique)}")
        header = self.credentials(value, request.method, request.uri_text, password=password, nc=nc)
        again.add("Proxy-Authorization" if proxy else "Authorization", header)
        return again

    def credentials(self, challenge: str, method: str, uri: str, *, password: str | None = None, nc: int = 1) -> str:
        """The value of Authorization for a challenge."""
        values = dict(_PARAMETER.findall(challenge))

        def md5(text: str) -> str:
            return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

        ha1 = md5(f"{self.user}:{values['realm']}:{password or self.password}")
        response = md5(f"{ha1}:{values['nonce']}:{nc:08x}:c:auth:{md5(f'{method}:{uri}')}")
        return (
            f'Digest username="{self.user}", realm="{values["realm"]}", nonce="{values["nonce"]}", uri="{uri}", '
            f'response="{response}", algorithm=MD5, cnonce="c", qop=auth, nc={nc:08x}'
        )

    async def ask(
        self, request: Request, *, password: str | None = None, timeout: float = 5.0,
        passed: list[Request | Response] | None = None,
    ) -> Response:  # fmt: skip
        """Sends a request, with credentials when they are asked for; the final response. ``passed``: see `response`."""
        self.send(bytes(request))
        response = await self.response(timeout, passed=passed)
        if response.status in (401, 407):
            if request.method == "INVITE":
                self.acknowledge(request, response)
            again = self.authorize(request, response, password=password)
            self.send(bytes(again))
            response = await self.response(timeout, passed=passed)
        return response

    def acknowledge(self, invite: Request, response: Response) -> None:
        """The ACK of a final response that is no 2xx."""
        ack = Request.create(
            "ACK", invite.uri_text,
            headers=[("Via", str(invite.via)), ("Max-Forwards", "70"), ("From", invite.get("From") or ""),
                     ("To", response.get("To") or ""), ("Call-ID", invite.call_id), ("CSeq", f"{invite.cseq.number} ACK")],
        )  # fmt: skip
        self.send(bytes(ack))

    async def register(self, *, expires: int = 600, headers: Iterable[tuple[str, str]] = (), contact: str = "") -> Response:
        """Registers our contact; requests that come before the answer, as they may, stay to be received."""
        fields = [("Contact", contact or f"<{self.contact}>"), ("Expires", str(expires)), *headers]
        request = self.request("REGISTER", f"sip:{DOMAIN}", to=f"sip:{self.user}@{DOMAIN}", headers=fields)
        early: list[Request | Response] = []
        answer = await self.ask(request, passed=early)
        later = [self.received.get_nowait() for _ in range(self.received.qsize())]
        for message in (*early, *later):
            self.received.put_nowait(message)
        return answer

    async def invite(self, target: str, *, headers: Iterable[tuple[str, str]] = ()) -> Request:
        """Sends an INVITE, answers the challenge, and returns the INVITE that is under way."""
        first = self.request("INVITE", target, headers=headers)
        self.send(bytes(first))
        challenge = await self.response()
        assert challenge.status == 407, challenge
        self.acknowledge(first, challenge)
        invite = self.authorize(first, challenge)
        self.send(bytes(invite))
        return invite

    def in_dialog(
        self,
        method: str,
        invite: Request,
        answer: Response,
        *,
        cseq: int | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> Request:
        """A request of the caller within the dialog of an answered INVITE."""
        contacts = answer.contacts
        uri = contacts[0].uri_text if isinstance(contacts, list) and contacts else invite.uri_text
        routes = [("Route", value) for value in reversed(answer.values("Record-Route"))]
        number = invite.cseq.number if method == "ACK" else cseq or invite.cseq.number + 1
        request = self.request(
            method, uri, call_id=invite.call_id, cseq=number, from_tag=invite.from_tag or "", headers=[*routes, *headers]
        )
        request.set("To", answer.get("To") or "")
        return request

    async def hang_up(self, callee: SipClient, invite: Request, answer: Response) -> None:
        """Ends an answered call of ours; a front end waits for its calls before it ends."""
        self.send(bytes(self.in_dialog("BYE", invite, answer)))
        callee.answer(await callee.expect("BYE"), 200)
        assert (await self.response()).status == 200

    def in_dialog_of_callee(self, method: str, invite: Request, *, cseq: int = 1) -> Request:
        """A request of the callee within the dialog of an INVITE it answered with tag "t"."""
        contacts = invite.contacts
        uri = contacts[0].uri_text if isinstance(contacts, list) and contacts else ""
        routes = [("Route", value) for value in invite.values("Record-Route")]
        request = self.request(method, uri, call_id=invite.call_id, cseq=cseq, headers=routes)
        request.set("From", f"{invite.get('To')};tag=t")
        request.set("To", invite.get("From") or "")
        return request


def _later(action: Coroutine[Any, Any, Any], kept: set[asyncio.Future[None]]) -> None:
    task = asyncio.ensure_future(action)
    kept.add(task)
    task.add_done_callback(kept.discard)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, client: SipClient) -> None:
        self._client = client

    def datagram_received(self, data: bytes, addr: object) -> None:
        if data.strip():
            self._client.received.put_nowait(parse_message(data))

    def error_received(self, exc: Exception) -> None:
        pass

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.closed.set()


class _Stream(asyncio.Protocol):
    def __init__(self, client: SipClient) -> None:
        self._client = client
        self._framer = StreamFramer()

    def data_received(self, data: bytes) -> None:
        for item in self._framer.feed(data):
            if not isinstance(item, KeepAlive):
                self._client.received.put_nowait(parse_message(item))

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.closed.set()
