"""ACKs for devices whose flow is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest
from grpc import StatusCode

from parley.platform.rpc.errors import RpcError
from parley.proto.registrar.v1.registrar_pb2 import Binding
from parley.sip.message import Request, parse_message
from parley.sip.proxy.forwarding import OutgoingVia
from services.frontend.flows import Flow, Flows
from services.frontend.proxying import acks as module
from services.frontend.proxying.acks import AckSender
from services.frontend.proxying.branches import FlowRef
from services.frontend.proxying.returning import Leaving, Patience, ReturningDevices
from tests.support.virtual_time import run

CONTACT = "sip:bob@192.0.2.7:40000;transport=tcp"
ALIVE = "ipv4:edge-2:9090"


def ack(call_id: str = "call-1") -> Request:
    """What acknowledges the answer of a device."""
    return Request.create(
        "ACK",
        CONTACT,
        headers=[
            ("Via", "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1"),
            ("Max-Forwards", "70"),
            ("From", "<sip:alice@example.test>;tag=a1"),
            ("To", "<sip:bob@example.test>;tag=b1"),
            ("Call-ID", call_id),
            ("CSeq", "7 ACK"),
        ],
    )


class HereFlow(Flow):
    """A connection to this front end."""

    __slots__ = ("sent",)

    def __init__(self, number: int) -> None:
        super().__init__(number, "TCP", ("192.0.2.7", 40000), ("192.0.2.2", 5060))
        self.sent: list[bytes] = []

    def send(self, data: bytes) -> bool:
        """Takes everything."""
        self.sent.append(data)
        return True


class Site:
    """The front end "edge-1", with another one, and the device of a call."""

    def __init__(self) -> None:
        self.edge: str | RpcError = ""
        self.bindings: list[Binding] = []
        self.there: set[FlowRef] = set()
        self.sent_there: list[tuple[float, FlowRef]] = []
        self.looks = 0
        self.tasks: list[asyncio.Task[None]] = []
        self.flows = Flows()
        everything = cast(Any, self)
        devices = ReturningDevices(
            "edge-1", everything, everything, self.spawn, Patience(flow_s=2.0, edge_s=10.0, dialog_s=20.0),
            Leaving(lambda: False, lambda: False),
        )  # fmt: skip
        self.acks = AckSender("edge-1", self.flows, everything, everything, devices, _via, self.spawn)

    # The registrar and the other front end

    async def lookup(self, aor: str, traceparent: str) -> list[Binding]:
        self.looks += 1
        return self.bindings

    async def edge_address(self, edge_uid: str, connection_id: int) -> str:
        if isinstance(self.edge, RpcError):
            raise self.edge
        return self.edge

    async def send_raw(self, request: Request, target: FlowRef, traceparent: str) -> bool:
        if target not in self.there:
            return False
        self.sent_there.append((asyncio.get_running_loop().time(), target))
        return True

    def is_away(self, address: str) -> bool:
        return False

    def spawn(self, _: str, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    # What happens

    def come_back(self, flow: FlowRef) -> None:
        """The device registers again."""
        binding = Binding(contact=CONTACT, edge_address="here")
        binding.flow.edge_uid, binding.flow.connection_id = flow.edge_uid, flow.connection_id
        self.bindings = [binding]
        self.there.add(flow)

    async def send(self, *acks: Request, then: tuple[float, Callable[[], None]] | None = None) -> float:
        """Seconds that they are held, for a device that was at "edge-2"."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for one in acks:
            self.acks.send(one, "edge-2", 7)
        if then is not None:
            loop.call_later(*then)
        tasks, self.tasks = self.tasks, []
        await asyncio.gather(*tasks)
        return loop.time() - begun


def _via(transport: str, request: Request, flow: Flow | None) -> OutgoingVia:
    return OutgoingVia(transport, "sip.example.test", "z9hG4bK2")


def test_an_ack_goes_to_its_flow_at_the_other_front_end() -> None:
    site = Site()
    site.edge = ALIVE
    site.there.add(FlowRef("edge-2", 7))
    assert run(site.send(ack())) == pytest.approx(0, abs=0.1)
    assert [flow for _, flow in site.sent_there] == [FlowRef("edge-2", 7)]
    assert not site.looks


@pytest.mark.parametrize("after", [0, 8])
def test_an_ack_waits_for_a_device_whose_front_end_has_gone(after: float) -> None:
    site = Site()
    new = FlowRef("edge-3", 9)
    assert run(site.send(ack(), then=(after, lambda: site.come_back(new)))) == pytest.approx(after, abs=1.1)
    assert [flow for _, flow in site.sent_there] == [new]


def test_a_device_that_comes_back_to_this_front_end_gets_its_ack_here() -> None:
    site = Site()
    flow = HereFlow(site.flows.next_id())

    def come_back() -> None:
        site.flows.add(flow)
        site.come_back(FlowRef("edge-1", flow.connection_id))

    run(site.send(ack(), then=(3, come_back)))
    (sent,) = map(parse_message, flow.sent)
    assert isinstance(sent, Request)
    assert (sent.method, sent.call_id, len(sent.vias)) == ("ACK", "call-1", 2)
    assert not site.sent_there


@pytest.mark.parametrize(("edge", "seconds"), [("", 20), (ALIVE, 2), (RpcError(StatusCode.UNAVAILABLE, ""), 0)])
def test_it_is_given_up_after_the_patience_with_what_is_gone(edge: str | RpcError, seconds: float) -> None:
    site = Site()
    site.edge = edge
    assert run(site.send(ack())) == pytest.approx(seconds, abs=1.0)
    assert not site.sent_there


def test_repetitions_of_an_ack_that_is_held_are_not() -> None:
    site = Site()
    run(site.send(ack(), ack(), ack("call-2"), then=(3, lambda: site.come_back(FlowRef("edge-3", 9)))))
    assert len(site.sent_there) == 2
    run(site.send(ack()))
    assert len(site.sent_there) == 3, "it is held no more, so the next one goes"


def test_of_too_many_each_is_sent_to_where_its_device_is_now() -> None:
    site = Site()
    many = [ack(f"call-{n}") for n in range(module._MOST + 50)]
    assert run(site.send(*many, then=(3, lambda: site.come_back(FlowRef("edge-3", 9))))) == pytest.approx(3, abs=1.1)
    assert len(site.sent_there) == module._MOST
    assert run(site.send(*many)) == pytest.approx(0, abs=0.1)
    assert len(site.sent_there) == 2 * module._MOST + 50
