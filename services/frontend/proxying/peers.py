"""Branches through other front ends: `Edge.Deliver` to whoever holds the client's flow.

One stream for each front end carries all exchanges with it. A front end that cannot be reached counts as a flow that is
gone (430), so the next binding is tried; that its stream broke ends every exchange on it the same way.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

from parley.platform.applications.messages import sip_message
from parley.platform.rpc.duplex import DuplexClient
from parley.platform.rpc.errors import RpcError
from parley.proto.sip.v1.edge_pb2 import DeliverRequest, DeliverResponse, Delivery, DeliveryEvent
from parley.sip.errors import SipParseError
from parley.sip.message import Request, Response, parse_message
from services.frontend.proxying.branches import BranchUser, FlowRef

logger = logging.getLogger(__name__)

_RAW_S: Final = 5.0
"""Longest wait to be told whether a message without an answer was sent."""

DeliverClient = DuplexClient[Delivery, DeliveryEvent]


class ChannelSource(Protocol):
    """Where streams to other front ends come from."""

    def deliver_client(self, address: str) -> DeliverClient:
        """A new stream client for the front end at a gRPC address."""


class PeerEdges:
    """Streams to the other front ends, by address."""

    def __init__(self, source: ChannelSource) -> None:
        self._source = source
        self._clients: dict[str, DeliverClient] = {}
        self._away: set[str] = set()

    def is_away(self, address: str) -> bool:
        """Whether the front end at a gRPC address was draining or out of reach when it was last tried."""
        return address in self._away

    def open(self, request: Request, target: FlowRef, user: BranchUser, traceparent: str) -> RemoteBranch:
        """Sends a request through another front end; what comes back is told to ``user``."""
        branch = RemoteBranch(request, target, user, self.client(target.edge_address), self._away)
        branch.start(traceparent)
        return branch

    async def send_raw(self, request: Request, target: FlowRef, traceparent: str) -> bool:
        """Sends a message that has no answer (an ACK) through another front end; whether the flow was still there."""
        delivery = Delivery(traceparent=traceparent)
        _fill(delivery, target)
        delivery.raw_message.CopyFrom(sip_message(request))
        client = self.client(target.edge_address)
        told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def on_event(event: DeliveryEvent | RpcError) -> None:
            self._note_away(target.edge_address, isinstance(event, RpcError) or event.draining)
            if not told.done():
                told.set_result(not isinstance(event, RpcError) and event.WhichOneof("kind") == "ended")

        try:
            number = client.open(delivery, on_event)
        except RpcError as error:
            logger.info("front end %s is away: %s", target.edge_address, error)
            self._away.add(target.edge_address)
            return False
        try:
            async with asyncio.timeout(_RAW_S):
                return await told
        except TimeoutError:
            return False
        finally:
            client.close(number)

    def _note_away(self, address: str, away: bool) -> None:
        (self._away.add if away else self._away.discard)(address)

    def give(self, response: Response, address: str) -> bool:
        """Gives a response to the front end that sent the request; whether that one is in reach."""
        delivery = Delivery()
        delivery.stray_response.CopyFrom(sip_message(response))
        client = self.client(address)
        try:
            client.close(client.open(delivery, lambda _: None))
        except RpcError as error:
            logger.info("front end %s is away: %s", address, error)
            return False
        return True

    def client(self, address: str) -> DeliverClient:
        """The stream to one front end."""
        known = self._clients.get(address)
        if known is None:
            known = self._clients[address] = self._source.deliver_client(address)
        return known

    async def stop(self) -> None:
        """Closes all streams."""
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.stop()


class RemoteBranch:
    """A request that another front end sends for us; see `services.frontend.proxying.branches.Branch`."""

    def __init__(self, request: Request, target: FlowRef, user: BranchUser, client: DeliverClient, away: set[str]) -> None:
        """``away``: addresses of front ends that drain or are out of reach; kept by what happens here."""
        self.request = request
        self._target = target
        self._user = user
        self._client = client
        self._away = away
        self._id = 0
        self._over = False
        self._traceparent = ""

    def start(self, traceparent: str) -> None:
        """Opens the exchange."""
        self._traceparent = traceparent
        delivery = Delivery(traceparent=traceparent, record_route=self.request.to_tag is None)
        _fill(delivery, self._target)
        delivery.request.CopyFrom(sip_message(self.request))
        try:
            self._id = self._client.open(delivery, self._on_event)
        except RpcError as error:
            self._lost(error)

    def cancel(self, reason: str | None) -> None:
        """Asks the other front end to cancel."""
        if not self._over:
            self._user.on_cancel(reason)
            self._client.send(Delivery(id=self._id, cancel_reason=reason or ""))

    def send_raw(self, request: Request) -> None:
        """Sends a further request to the same flow."""
        delivery = Delivery(traceparent=self._traceparent)
        _fill(delivery, self._target)
        delivery.raw_message.CopyFrom(sip_message(request))
        try:
            self._client.close(self._client.open(delivery, lambda _: None))
        except RpcError as error:
            logger.info("front end %s is away: %s", self._target.edge_address, error)

    def _on_event(self, event: DeliveryEvent | RpcError) -> None:
        if isinstance(event, RpcError):
            self._lost(event)
            return
        note = self._away.add if event.draining else self._away.discard
        note(self._target.edge_address)
        kind = event.WhichOneof("kind")
        if kind == "response":
            try:
                response = parse_message(event.response.raw)
            except SipParseError as error:
                logger.warning("another front end sent no SIP: %s", error)
                return
            if isinstance(response, Response):
                self._user.on_response(self, response)
        elif kind == "failure":
            self._fail(event.failure.code or 503)
        elif kind == "ended":
            self._over = True
            self._client.close(self._id)

    def _lost(self, error: RpcError) -> None:
        """The front end cannot be reached, so neither can the flow (RFC 5626 section 5.3)."""
        logger.info("front end %s is away: %s", self._target.edge_address, error)
        self._away.add(self._target.edge_address)
        self._fail(430)

    def _fail(self, status: int) -> None:
        if not self._over:
            self._over = True
            self._client.close(self._id)
            self._user.on_failure(self, status)


def _fill(delivery: Delivery, target: FlowRef) -> None:
    delivery.flow.edge_uid = target.edge_uid
    delivery.flow.connection_id = target.connection_id


DELIVER = (DeliverRequest, DeliverResponse)
"""The batch types of the stream."""
