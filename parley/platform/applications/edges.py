"""The way from an application to clients: `Edge.Deliver` at the front end that holds the client's flow.

Where a front end is reached is known from its lease at the registrar. All messages to one front end share a stream of
batches, so a thousand notifications cost a few writes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

from grpc import StatusCode

from parley.platform.applications.messages import sip_message
from parley.platform.rpc.duplex import DuplexClient
from parley.platform.rpc.errors import RpcError
from parley.platform.rpc.host import RpcHost
from parley.proto.registrar.v1.registrar_pb2 import ListEdgesRequest
from parley.proto.registrar.v1.registrar_pb2_grpc import RegistrarStub
from parley.proto.sip.v1 import edge_pb2 as pb
from parley.proto.sip.v1.message_pb2 import Flow
from parley.sip.errors import SipError
from parley.sip.message import Request, Response, make_response, parse_message

if TYPE_CHECKING:
    from parley.proto.registrar.v1.registrar_pb2_grpc import RegistrarAsyncStub

logger = logging.getLogger(__name__)

_EDGE: Final = "parley.sip.v1.Edge"
_FRESH_S: Final = 2.0
_AGAIN_S: Final = 0.2
TIMEOUT_S: Final = 32.0
"""Timer F of RFC 3261: how long a request waits for its answer."""
HANDED_OVER_S: Final = 5.0
"""How long a front end may take to say that it sent what has no answer."""

DeliverClient = DuplexClient[pb.Delivery, pb.DeliveryEvent]


class FlowGone(RpcError):
    """The client's connection is closed, or its front end is gone (430 of RFC 5626)."""

    def __init__(self, text: str = "the flow is gone") -> None:
        super().__init__(StatusCode.NOT_FOUND, text)


class EdgeAddresses:
    """gRPC addresses of the front ends, as the registrar has them.

    All who want one at a time wait for one answer of the registrar, and go on in the order in which they came: what is sent
    first arrives first.
    """

    def __init__(self, rpc: RpcHost, *, timeout_s: float = 2.0) -> None:
        self._registrar: RegistrarAsyncStub = rpc.channel("parley.registrar.v1.Registrar").stub(RegistrarStub)
        self._timeout_s = timeout_s
        self._known: dict[str, str] = {}
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._waiting: list[asyncio.Future[RpcError | None]] = []

    async def of(self, edge_uid: str) -> str:
        """The address of a front end; "" when it holds no lease. Raises RpcError."""
        await self._refresh(unknown=edge_uid not in self._known)
        return self._known.get(edge_uid, "")

    async def any(self) -> str:
        """The address of some front end; "" when there is none. Raises RpcError."""
        await self._refresh(unknown=not self._known)
        return next(iter(self._known.values()), "")

    async def _refresh(self, *, unknown: bool) -> None:
        loop = asyncio.get_running_loop()
        if self._reading is None:
            if loop.time() - self._read_at < (_AGAIN_S if unknown else _FRESH_S):
                return
            self._reading = loop.create_task(self._read(), context=Context())
        turn: asyncio.Future[RpcError | None] = loop.create_future()
        self._waiting.append(turn)
        error = await turn
        if error is not None and unknown:
            raise error.again()

    async def _read(self) -> None:
        """Asks the registrar, then lets those go on who wait."""
        asked_at = asyncio.get_running_loop().time()
        failure: RpcError | None = RpcError(StatusCode.INTERNAL, "the front ends cannot be read")
        try:
            answer = await self._registrar.ListEdges(ListEdgesRequest(), timeout=self._timeout_s)
            self._read_at = asked_at
            self._known = {edge.edge_uid: edge.address for edge in answer.edges}
            failure = None
        except RpcError as error:
            failure = error
        finally:
            self._go_on(failure)

    def _go_on(self, failure: RpcError | None) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            self._reading = None
            return
        for turn in waiting:
            if not turn.done():
                turn.set_result(failure)
        # Who comes before these have gone on waits behind them.
        asyncio.get_running_loop().call_soon(self._go_on, failure)


class EdgeSender:
    """Sends SIP towards clients."""

    def __init__(self, rpc: RpcHost, addresses: EdgeAddresses) -> None:
        self._rpc = rpc
        self._addresses = addresses
        self._clients: dict[str, DeliverClient] = {}

    async def request(
        self, request: Request, flow: Flow | None, *, traceparent: str = "", timeout_s: float = TIMEOUT_S
    ) -> Response:
        """Sends a request and waits for its final response; without a flow it goes to the endpoints of its user.

        Raises FlowGone, and RpcError when no front end can be reached.
        """
        client = await self._client(flow)
        done: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        delivery = _delivery(flow, traceparent)
        delivery.request.CopyFrom(sip_message(request))
        exchange = client.open(delivery, lambda event: _take(event, request, done))
        try:
            async with asyncio.timeout(timeout_s):
                return await done
        except TimeoutError:
            return make_response(request, 408)
        finally:
            client.close(exchange)

    async def exchange(
        self, request: Request, flow: Flow, on_event: Callable[[Response | RpcError | None], None], *, traceparent: str = ""
    ) -> SentRequest:
        """Sends a request and tells every response, provisional ones and repeated answers to an INVITE too.

        ``on_event`` gets a response, or RpcError (FlowGone) when none will come, and None when nothing more will. Raises
        FlowGone, RpcError.
        """
        client = await self._client(flow)
        delivery = _delivery(flow, traceparent)
        delivery.request.CopyFrom(sip_message(request))
        return SentRequest(client, client.open(delivery, lambda event: _tell(event, on_event)))

    async def send(self, request: Request, flow: Flow, *, traceparent: str = "", timeout_s: float = HANDED_OVER_S) -> None:
        """Sends a request that has no answer (BENOTIFY, ACK), and waits until its front end has handed it to the flow.

        Raises FlowGone when the flow or its front end is gone, RpcError.
        """
        client = await self._client(flow)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        delivery = _delivery(flow, traceparent)
        delivery.raw_message.CopyFrom(sip_message(request))
        exchange = client.open(delivery, lambda event: _take_end(event, done))
        try:
            async with asyncio.timeout(timeout_s):
                await done
        except TimeoutError:
            raise RpcError(StatusCode.DEADLINE_EXCEEDED, "the front end does not say whether it was sent") from None
        finally:
            client.close(exchange)

    async def stop(self) -> None:
        """Closes all streams."""
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.stop()

    async def _client(self, flow: Flow | None) -> DeliverClient:
        address = await (self._addresses.of(flow.edge_uid) if flow is not None else self._addresses.any())
        if not address:
            if flow is not None:
                raise FlowGone("the front end is gone")
            raise RpcError(StatusCode.UNAVAILABLE, "there is no front end")
        client = self._clients.get(address)
        if client is None:
            channel = self._rpc.channel(_EDGE, address)
            client = self._clients[address] = DuplexClient(
                channel, f"/{_EDGE}/Deliver", pb.DeliverRequest, pb.DeliverResponse
            )
        return client


class SentRequest:
    """A request that is under way."""

    def __init__(self, client: DeliverClient, exchange: int) -> None:
        self._client = client
        self._exchange = exchange

    def cancel(self, reason: str) -> None:
        """Asks for a CANCEL with the value of a Reason header (INVITE only)."""
        self._client.send(pb.Delivery(id=self._exchange, cancel_reason=reason))

    def close(self) -> None:
        """Wants to hear no more of it."""
        self._client.close(self._exchange)


def _delivery(flow: Flow | None, traceparent: str) -> pb.Delivery:
    delivery = pb.Delivery(traceparent=traceparent)
    if flow is not None:
        delivery.flow.CopyFrom(flow)
    return delivery


def _take(event: Any, request: Request, done: asyncio.Future[Response]) -> None:
    def take(outcome: Response | RpcError | None) -> None:
        if done.done():
            return
        if isinstance(outcome, RpcError):
            done.set_exception(outcome)
        elif outcome is None:
            done.set_result(make_response(request, 408))
        elif outcome.status >= 200:
            done.set_result(outcome)

    _tell(event, take)


def _tell(event: Any, on_event: Callable[[Response | RpcError | None], None]) -> None:
    """Reads what a front end says of an exchange."""
    if isinstance(event, RpcError):
        on_event(event)
        return
    kind = event.WhichOneof("kind")
    if kind == "failure":
        on_event(_failure(event))
    elif kind == "ended":
        on_event(None)
    else:
        try:
            response = parse_message(event.response.raw)
        except SipError as error:
            logger.warning("a front end sent no SIP: %s", error)
            return
        if isinstance(response, Response):
            on_event(response)


def _take_end(event: Any, done: asyncio.Future[None]) -> None:
    if done.done():
        return
    if isinstance(event, RpcError):
        done.set_exception(event)
    elif event.WhichOneof("kind") == "failure":
        done.set_exception(_failure(event))
    else:
        done.set_result(None)


def _failure(event: Any) -> RpcError:
    if event.failure.code in (430, StatusCode.NOT_FOUND.value[0]):
        return FlowGone()
    return RpcError(StatusCode.UNAVAILABLE, "the request could not be sent")
