"""The serving side of `Edge.Deliver`: sends what other front ends and applications hand over to the flows held here.

This front end is a proxy hop of its own: it adds its Via and, when asked, its Record-Route, runs the client transaction,
and gives back every response with its Via taken off. An exchange whose stream ends is cancelled, as nobody waits for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Final

from parley.platform.applications.messages import sip_message
from parley.platform.telemetry.tracing import Span, Tracer
from parley.proto.sip.v1.edge_pb2 import Delivery, DeliveryEvent
from parley.sip.errors import SipError
from parley.sip.message import Request, Response, parse_message
from parley.sip.proxy.forwarding import OutgoingVia, prepare_request
from parley.sip.transaction import TransactionError
from services.frontend.flows import Flow, Flows
from services.frontend.proxying.branches import Branch, LocalBranches
from services.frontend.proxying.vias import Branches
from services.frontend.proxying.wiring import Addresses

logger = logging.getLogger(__name__)

Send = Callable[[DeliveryEvent], None]
Route = Callable[[Request, Flow, str], None]

FLOW_GONE: Final = 430
BAD_MESSAGE: Final = 400


class Deliveries:
    """The exchanges of one stream from another front end."""

    def __init__(
        self, edge_uid: str, flows: Flows, local: LocalBranches, addresses: Addresses, names: Branches, tracer: Tracer,
        on_raw: Callable[[Request], None], route: Route, is_draining: Callable[[], bool],
        is_ending: Callable[[], bool],
    ) -> None:  # fmt: skip
        """``on_raw`` and requests in dialogs are shown to whoever keeps track of calls.

        ``route`` takes requests that name no flow, as from a client; ``is_ending``: whether flows close in a moment.
        """
        self._is_ending = is_ending
        self._is_draining = is_draining
        self._route = route
        self._edge_uid = edge_uid
        self._flows = flows
        self._local = local
        self._addresses = addresses
        self._names = names
        self._tracer = tracer
        self._on_request = on_raw
        self._open: dict[int, Exchange] = {}

    def on_item(self, item: Delivery, send: Send) -> None:
        """One item of the stream."""
        self._on_item(item, partial(self._tell, send))

    def _tell(self, send: Send, event: DeliveryEvent) -> None:
        """Every event says whether this front end drains: who asks keeps the last that it heard."""
        event.draining = self._is_draining()
        send(event)

    def _on_item(self, item: Delivery, send: Send) -> None:
        kind = item.WhichOneof("kind")
        if kind == "cancel_reason":
            exchange = self._open.get(item.id)
            if exchange is not None and exchange.branch is not None:
                exchange.branch.cancel(item.cancel_reason or None)
            return
        if kind == "stray_response":
            self._on_stray(item)
            return
        if not item.flow.edge_uid:
            self._route_request(item, send)
            return
        flow = self._flows.get(item.flow.connection_id) if item.flow.edge_uid == self._edge_uid else None
        if flow is None:
            _fail(item.id, FLOW_GONE, send)
            return
        raw = item.request.raw if kind == "request" else item.raw_message.raw
        try:
            message = parse_message(raw)
        except SipError as error:
            logger.warning("a delivery is no SIP: %s", error)
            _fail(item.id, BAD_MESSAGE, send)
            return
        if isinstance(message, Response):
            flow.send(raw)
            return
        if message.method == "INVITE" and self._is_ending():  # its ACK would come too late
            _fail(item.id, FLOW_GONE, send)
            return
        self._on_request(message)
        if kind == "raw_message":
            if self._send_raw(message, flow):
                send(DeliveryEvent(id=item.id, ended=True))
            else:
                _fail(item.id, FLOW_GONE, send)
        else:
            self._send_request(item, message, flow, send)

    def _on_stray(self, item: Delivery) -> None:
        try:
            response = parse_message(item.stray_response.raw)
            if not isinstance(response, Response) or not self._local.receive(response):
                logger.debug("a stray response belongs to no transaction here either")
        except SipError as error:
            logger.warning("a stray response is no SIP: %s", error)

    def _route_request(self, item: Delivery, send: Send) -> None:
        """A request of an application for a user: it takes the way of a client's request, past authentication."""
        try:
            request = parse_message(item.request.raw)
            if not isinstance(request, Request):
                raise SipError("not a request")
            flow = RoutedFlow(item.id, self._flows.next_id(), send, self._addresses.transport)
            # Not our own address: the request passes this front end once, and is no loop.
            via = OutgoingVia(flow.transport, "application.invalid", self._names.branch(request))
            prepared = prepare_request(request, via=via)
        except SipError as error:
            logger.warning("a delivery is no SIP: %s", error)
            _fail(item.id, BAD_MESSAGE, send)
            return
        self._route(prepared.request, flow, item.traceparent)

    def _send_raw(self, request: Request, flow: Flow) -> bool:
        """Whether the flow took it; what cannot be passed on is dropped, and would be another time."""
        try:
            prepared = prepare_request(request, via=self._via(flow, request))
        except SipError as error:
            logger.info("a message could not be passed on: %s", error)
            return True
        return flow.send(bytes(prepared.request))

    def _send_request(self, item: Delivery, request: Request, flow: Flow, send: Send) -> None:
        record = None
        if item.record_route:
            own = self._addresses.route(flow)
            record = (own, own)
        try:
            prepared = prepare_request(request, via=self._via(flow, request), record_routes=record)
        except SipError as error:
            logger.info("a delivery could not be passed on: %s", error)
            _fail(item.id, getattr(error, "status", BAD_MESSAGE), send)
            return
        span = self._tracer.start(
            f"edge.deliver {request.method}", kind="server", parent=item.traceparent,
            attributes={"sip.method": request.method, "sip.call_id": request.call_id, "parley.edge": self._edge_uid},
        )  # fmt: skip
        exchange = Exchange(item.id, send, span, self._open)
        self._open[item.id] = exchange
        try:
            exchange.branch = self._local.open(prepared.request, flow, exchange)
        except TransactionError as error:
            logger.warning("a delivery has no transaction: %s", error)
            exchange.on_failure_status(BAD_MESSAGE)

    def _via(self, flow: Flow, request: Request) -> OutgoingVia:
        return OutgoingVia(flow.transport, self._addresses.sent_by(flow.transport, flow), self._names.branch(request))

    def on_closed(self) -> None:
        """The stream ended: what still rings is cancelled."""
        exchanges, self._open = list(self._open.values()), {}
        for exchange in exchanges:
            if exchange.branch is not None:
                exchange.branch.cancel('SIP ;cause=503 ;text="Front End Lost"')
            exchange.span.end("error")


class RoutedFlow(Flow):
    """What stands for the connection of an application: responses that are sent on it go back to the application."""

    __slots__ = ("_id", "_send")

    def __init__(self, item_id: int, connection_id: int, send: Send, transport: str) -> None:
        super().__init__(connection_id, transport, ("", 0), ("", 0), trusted=True)
        self.reliable = True
        self._id = item_id
        self._send = send

    def send(self, data: bytes) -> bool:
        """Gives a response back without our Via."""
        response = parse_message(data)
        if isinstance(response, Response):
            response.remove_first_value("Via")
            event = DeliveryEvent(id=self._id)
            event.response.CopyFrom(sip_message(response))
            self._send(event)
        return True


class Exchange:
    """One request of another front end; user of its branch."""

    def __init__(self, item_id: int, send: Send, span: Span, registry: dict[int, Exchange]) -> None:
        self.branch: Branch | None = None
        self.span = span
        self._id = item_id
        self._send = send
        self._registry = registry

    def on_response(self, branch: Branch, response: Response) -> None:
        """Passes a response back without our Via."""
        back = response.copy()
        back.remove_first_value("Via")
        event = DeliveryEvent(id=self._id)
        event.response.CopyFrom(sip_message(back))
        self._send(event)
        if response.status >= 200:
            self.span.set("sip.status_code", response.status)
            self.span.end()

    def on_failure(self, branch: Branch, status: int) -> None:
        """Passes a failure back."""
        self.on_failure_status(status)

    def on_cancel(self, reason: str | None) -> None:
        """A CANCEL was sent."""
        self.span.event("cancel", {"reason": reason or ""})

    def on_over(self, branch: Branch) -> None:
        """Tells that nothing more will come."""
        if self._registry.pop(self._id, None) is not None:
            self._send(DeliveryEvent(id=self._id, ended=True))

    def on_failure_status(self, status: int) -> None:
        """The exchange ends without a response."""
        self._registry.pop(self._id, None)
        self.span.set("sip.status_code", status)
        self.span.end("error")
        _fail(self._id, status, self._send)


def _fail(item_id: int, status: int, send: Send) -> None:
    event = DeliveryEvent(id=item_id)
    event.failure.code = status
    send(event)
