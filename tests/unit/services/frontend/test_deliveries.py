"""What another front end asks to be sent over a flow of this one, while its flows are about to close."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from parley.platform.telemetry.tracing import NO_TRACER
from parley.proto.sip.v1.edge_pb2 import Delivery, DeliveryEvent
from parley.sip.message import Request, Response, make_response, parse_message
from services.frontend.flows import Flow, Flows
from services.frontend.proxying.branches import LocalBranches
from services.frontend.proxying.delivery import FLOW_GONE, Deliveries
from services.frontend.proxying.vias import Branches
from services.frontend.proxying.wiring import Addresses

HEADERS = [
    ("From", "<sip:a@example.test>;tag=1"),
    ("To", "<sip:b@example.test>;tag=2"),
    ("Call-ID", "c"),
    ("Max-Forwards", "9"),
]


class Site:
    """A front end with one flow."""

    def __init__(self) -> None:
        self.ending, self.draining = False, True
        self.user: Any = None
        self.opened: list[str] = []
        self.responses: list[int] = []
        self.events: list[DeliveryEvent] = []
        flows = Flows()
        self.flow = Flow(flows.next_id(), "TCP", ("192.0.2.1", 5060), ("192.0.2.2", 5060))
        flows.add(self.flow)
        addresses = SimpleNamespace(sent_by=lambda transport, flow: "edge.test")
        local = SimpleNamespace(open=self._open, receive=self._receive)
        self.deliveries = Deliveries(
            "edge-1", flows, cast(LocalBranches, local), cast(Addresses, addresses),
            cast(Branches, SimpleNamespace(branch=lambda request: "z9hG4bK1")), NO_TRACER, lambda request: None,
            lambda request, flow, traceparent: None, lambda: self.draining, lambda: self.ending,
        )  # fmt: skip

    def _open(self, request: Request, flow: Flow, user: Any) -> Any:
        self.opened.append(request.method)
        self.user = user
        return SimpleNamespace(cancel=lambda reason: None)

    def _receive(self, response: Response) -> bool:
        self.responses.append(response.status)
        return True

    def deliver(self, method: str) -> None:
        """A request within a dialog, for the flow."""
        request = Request.create(method, "sip:b@192.0.2.1", headers=[*HEADERS, ("CSeq", f"2 {method}")])
        assert isinstance(parse_message(bytes(request)), Request)
        item = Delivery(id=7)
        item.request.raw = bytes(request)
        item.flow.edge_uid, item.flow.connection_id = "edge-1", self.flow.connection_id
        self.deliveries.on_item(item, self.events.append)


def test_an_invite_whose_ack_would_come_too_late_is_sent_to_where_the_device_will_be() -> None:
    site = Site()
    site.deliver("INVITE")
    assert site.opened == ["INVITE"]
    assert not site.events
    site.ending = True
    site.deliver("INVITE")
    assert site.opened == ["INVITE"]
    (event,) = site.events
    assert (event.id, event.failure.code, event.draining) == (7, FLOW_GONE, True)


@pytest.mark.parametrize("draining", [True, False])
def test_every_event_says_whether_the_front_end_drains(draining: bool) -> None:
    """A response that said no would have devices waited for shortly that were sent away a moment ago."""
    site = Site()
    site.draining = draining
    site.deliver("INFO")
    request = Request.create(
        "INFO", "sip:b@192.0.2.1", headers=[("Via", "SIP/2.0/TCP edge.test"), *HEADERS, ("CSeq", "2 INFO")]
    )
    site.user.on_response(SimpleNamespace(), make_response(request, 200))
    site.user.on_over(SimpleNamespace())
    site.deliver("INFO")
    site.user.on_failure(SimpleNamespace(), 408)
    assert [event.WhichOneof("kind") for event in site.events] == ["response", "ended", "failure"]
    assert {event.draining for event in site.events} == {draining}


def test_a_response_that_came_to_another_front_end_is_given_to_its_transaction() -> None:
    site = Site()
    request = Request.create(
        "INVITE", "sip:b@192.0.2.1", headers=[("Via", "SIP/2.0/TCP edge.test"), *HEADERS, ("CSeq", "2 INVITE")]
    )
    item = Delivery(id=7)
    for raw in (b"", b"\xff\r\n\r\n", bytes(request), bytes(make_response(request, 200))):
        item.stray_response.raw = raw
        site.deliveries.on_item(item, site.events.append)
    assert site.responses == [200]
    assert not site.events


@pytest.mark.parametrize("method", ["BYE", "MESSAGE", "INFO"])
def test_what_needs_no_ack_is_still_sent(method: str) -> None:
    site = Site()
    site.ending = True
    site.deliver(method)
    assert site.opened == [method]
    assert not site.events
