"""SIP over WebSocket (RFC 7118): subprotocol ``sip``, one message a frame."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time

from aiohttp import WSMsgType, web

from services.frontend.flows import Flow, Flows
from services.frontend.limits import refused
from services.frontend.transports.sink import MessageSink
from services.frontend.transports.stream import Connections

logger = logging.getLogger(__name__)

_HEARTBEAT_S = 30.0


class WebSocketFlow(Flow):
    """One WebSocket; messages leave in order through a small queue."""

    __slots__ = ("_queue", "_socket", "_writer")

    def __init__(
        self,
        flows: Flows,
        transport: str,
        remote: tuple[str, int],
        local: tuple[str, int],
        socket: web.WebSocketResponse,
    ) -> None:
        super().__init__(flows.next_id(), transport, remote, local)
        self._socket = socket
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(256)
        self._writer = asyncio.get_running_loop().create_task(self._write())

    def send(self, data: bytes) -> bool:
        """Queues a message; a client that does not read is cut off."""
        if self._socket.closed:
            return False
        try:
            self._queue.put_nowait(data)
        except asyncio.QueueFull:
            refused("slow_reader")
            self.close()
            return False
        return True

    def close(self) -> None:
        """Closes the socket in the background."""
        if not self._writer.done():
            self._writer.cancel()

    async def ended(self) -> None:
        """Waits for the writer."""
        self._writer.cancel()
        await asyncio.gather(self._writer, return_exceptions=True)

    async def _write(self) -> None:
        try:
            while True:
                data = await self._queue.get()
                try:
                    await self._socket.send_str(data.decode())
                except UnicodeDecodeError:
                    await self._socket.send_bytes(data)
        except (ConnectionError, RuntimeError):
            pass
        finally:
            if not self._socket.closed:
                await asyncio.shield(asyncio.ensure_future(self._socket.close()))


class WebSocketListener:
    """One WS or WSS port; any path is taken."""

    def __init__(
        self,
        transport: str,
        flows: Flows,
        sink: MessageSink,
        connections: Connections,
        *,
        context: ssl.SSLContext | None = None,
        origins: frozenset[str] = frozenset(),
    ) -> None:
        self._transport = transport
        self._flows = flows
        self._sink = sink
        self._connections = connections
        self._context = context
        self._origins = origins
        self._runner: web.AppRunner | None = None
        self.local: tuple[str, int] = ("", 0)

    async def open(self, host: str, port: int) -> None:
        """Binds the port. Raises OSError."""
        app = web.Application()
        app.router.add_get("/{path:.*}", self._accept)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, ssl_context=self._context, backlog=1024).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self.local = (host, runner.addresses[0][1])

    async def close(self) -> None:
        """Closes the port and its connections."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _accept(self, request: web.Request) -> web.StreamResponse:
        if self._origins and request.headers.get("Origin", "") not in self._origins:
            return web.Response(status=403, text="this origin may not connect\n")
        limits = self._connections.limits
        socket = web.WebSocketResponse(
            protocols=("sip",), heartbeat=_HEARTBEAT_S, max_msg_size=limits.message_bytes, compress=False
        )
        ready = socket.can_prepare(request)
        if not ready.ok or ready.protocol != "sip":
            return web.Response(status=426, text="SIP over WebSocket wants the subprotocol 'sip' (RFC 7118)\n",
                                headers={"Upgrade": "websocket", "Sec-WebSocket-Protocol": "sip"})  # fmt: skip
        peer = request.transport.get_extra_info("peername") if request.transport else None
        remote = (peer[0], peer[1]) if peer else ("", 0)
        if not self._connections.enter(remote[0]):
            return web.Response(status=503, text="too many connections\n")
        flow: WebSocketFlow | None = None
        try:
            await socket.prepare(request)
            flow = WebSocketFlow(self._flows, self._transport, remote, self.local, socket)
            self._flows.add(flow)
            await self._read(socket, flow)
        finally:
            self._connections.leave(remote[0])
            if flow is not None:
                await flow.ended()
                self._flows.remove(flow)
                self._sink.on_closed(flow)
        return socket

    async def _read(self, socket: web.WebSocketResponse, flow: WebSocketFlow) -> None:
        async for message in socket:
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                break
            flow.last_seen = time.monotonic()
            data = message.data.encode("utf-8", "surrogateescape") if message.type is WSMsgType.TEXT else message.data
            if data.strip(b"\r\n"):
                self._sink.on_message(data, flow)
            elif data == b"\r\n\r\n":
                flow.send(b"\r\n")
