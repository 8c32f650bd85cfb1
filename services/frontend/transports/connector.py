"""Connections that we open ourselves, to servers of other domains."""

from __future__ import annotations

import asyncio
import ssl

from parley.sip.location import Endpoint
from services.frontend.flows import Flow, Flows
from services.frontend.transports.sink import MessageSink
from services.frontend.transports.stream import Connections, StreamFlow
from services.frontend.transports.udp import UdpListener


class OutgoingConnections:
    """See `services.frontend.outside.Connector`; connections are kept and used again."""

    def __init__(
        self,
        flows: Flows,
        sink: MessageSink,
        connections: Connections,
        udp: list[UdpListener],
        context: ssl.SSLContext,
    ) -> None:
        self._flows = flows
        self._sink = sink
        self._connections = connections
        self._udp = udp
        self._context = context
        self._open: dict[Endpoint, StreamFlow] = {}

    async def connect(self, endpoint: Endpoint) -> Flow:
        """A flow to an endpoint. Raises OSError."""
        if endpoint.transport == "UDP":
            for listener in self._udp:
                if (":" in listener.local[0]) == (":" in endpoint.address):
                    return listener.flow_of((endpoint.address, endpoint.port))
            raise OSError("no UDP socket of that address family is open")
        known = self._open.get(endpoint)
        if known is not None and self._flows.get(known.connection_id) is known:
            return known
        secure = endpoint.transport == "TLS"
        _, flow = await asyncio.get_running_loop().create_connection(
            lambda: StreamFlow(endpoint.transport, self._flows, self._sink, self._connections, frozenset()),
            endpoint.address, endpoint.port,
            ssl=self._context if secure else None, server_hostname=endpoint.host if secure else None,
        )  # fmt: skip
        self._open[endpoint] = flow
        return flow
