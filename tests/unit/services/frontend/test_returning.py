"""How long a request waits for a device whose flow is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest
from grpc import StatusCode

from parley.platform.rpc.errors import RpcError, sip_status
from parley.proto.registrar.v1.registrar_pb2 import Binding
from parley.sip.message import Request
from parley.sip.proxy.targets import Target
from services.frontend.proxying.branches import FlowRef
from services.frontend.proxying.returning import Leaving, Patience, ReturningDevices
from tests.support.virtual_time import run

CONTACT = "sip:bob@192.0.2.7:40000;transport=tcp"
GONE, NEW = FlowRef("edge-1", 7, ""), FlowRef("edge-2", 9, "ipv4:edge-2:9090")
AWAY = RpcError(StatusCode.UNAVAILABLE, "")
REINVITE = Request.create(
    "INVITE",
    CONTACT,
    headers=[
        ("Via", "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1"),
        ("From", "<sip:alice@example.test>;tag=a1"),
        ("To", "<sip:bob@example.test>;tag=b1"),
        ("Call-ID", "call-1"),
        ("CSeq", "7 INVITE"),
    ],
)


class Site:
    """One request that has found its flow gone, and what becomes of it."""

    def __init__(self, *, draining: bool = False, ending: bool = False) -> None:
        self.bindings: list[Binding] | RpcError = []
        self.edge: str | RpcError = ""
        self.is_over = False
        self.found: list[Target] | None = None
        self.refused = 0
        self.alone = True
        self.request = REINVITE
        self.span = cast(Any, type("Span", (), {"traceparent": ""}))
        self.tasks: list[asyncio.Task[None]] = []
        self.devices = ReturningDevices(
            "edge-2", cast(Any, self), cast(Any, self), self.spawn, Patience(flow_s=2.0, edge_s=10.0, dialog_s=20.0),
            Leaving(lambda: draining, lambda: ending),
        )  # fmt: skip

    # The directory, the other front ends, and the request

    async def lookup(self, aor: str, traceparent: str) -> list[Binding]:
        if isinstance(self.bindings, RpcError):
            raise self.bindings
        return self.bindings

    async def edge_address(self, edge_uid: str, connection_id: int) -> str:
        if isinstance(self.edge, RpcError):
            raise self.edge
        return self.edge

    def is_away(self, address: str) -> bool:
        return False

    def is_invite(self) -> bool:
        return self.request.method == "INVITE"

    def refuse(self, status: int, *_: object) -> None:
        self.refused = status

    def refuse_for(self, error: RpcError) -> None:
        self.refused = sip_status(error.code)[0]

    def hangs_on(self, branch_id: int) -> bool:
        return self.alone

    def flow_failed(self, branch_id: int, found: list[Target]) -> None:
        self.found = found

    def spawn(self, _: str, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    # What happens

    def come_back(self) -> None:
        binding = Binding(contact=CONTACT, edge_address=NEW.edge_address)
        binding.flow.edge_uid, binding.flow.connection_id = NEW.edge_uid, NEW.connection_id
        self.bindings = [binding]

    async def wait(
        self, flow: FlowRef = GONE, *, dialog: bool = True, then: tuple[float, Callable[[], None]] | None = None
    ) -> float:
        """Seconds that the request is held. ``then``: what happens after so many of them."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        more = self.devices.of_dialog() if dialog else self.devices.of_user(self.targets_now, [])
        assert more(cast(Any, self), Target(CONTACT, flow=flow), 1)
        if then is not None:
            loop.call_later(*then)
        await asyncio.gather(*self.tasks)
        return loop.time() - begun

    async def targets_now(self) -> list[Target]:
        return await self.devices.flows_of_device(self.request, Target(CONTACT, flow=GONE), "")


@pytest.mark.parametrize(
    ("edge", "dialog", "seconds"),
    [
        ("ipv4:edge-1:9090", True, 2),  # only the connection is gone
        ("ipv4:edge-1:9090", False, 2),
        ("", False, 10),
        ("", True, 20),
        (AWAY, True, 2),  # nobody knows
    ],
)
def test_patience_depends_on_what_is_gone(edge: str | RpcError, dialog: bool, seconds: float) -> None:
    site = Site()
    site.edge = edge
    flow = GONE if not edge else FlowRef("edge-1", 7, "ipv4:edge-1:9090")
    assert run(site.wait(flow, dialog=dialog)) == pytest.approx(seconds, abs=1.0)
    assert site.found == []


@pytest.mark.parametrize("dialog", [True, False])
def test_the_new_flow_is_tried(dialog: bool) -> None:
    site = Site()
    assert run(site.wait(dialog=dialog, then=(5, site.come_back))) == pytest.approx(5, abs=1.0)
    assert [target.flow for target in site.found or ()] == [NEW]


@pytest.mark.parametrize("dialog", [True, False])
def test_registrars_that_are_away_end_the_wait(dialog: bool) -> None:
    site = Site()
    site.bindings = AWAY
    assert run(site.wait(dialog=dialog, then=(5, site.come_back))) == pytest.approx(0, abs=0.1)
    assert (site.found, site.refused) == ([], 503)


def test_another_device_may_still_answer_when_registrars_are_away() -> None:
    site = Site()
    site.bindings = AWAY
    site.alone = False
    run(site.wait(dialog=False))
    assert (site.found, site.refused) == ([], 0)


def test_nobody_waits_for_an_answer_any_more() -> None:
    site = Site()
    assert run(site.wait(then=(1, lambda: setattr(site, "is_over", True)))) == pytest.approx(1, abs=1.0)
    assert site.found == []


@pytest.mark.parametrize(("edge", "seconds"), [("ipv4:edge-2:9090", 2), ("", 20)])
def test_a_flow_of_our_own_run_or_of_the_one_before(edge: str, seconds: float) -> None:
    site = Site()
    site.edge = edge
    assert run(site.wait(FlowRef("edge-2", 7))) == pytest.approx(seconds, abs=1.0)


def test_who_was_sent_away_by_us_is_waited_for_longer() -> None:
    site = Site(draining=True)
    site.edge = "ipv4:edge-2:9090"
    assert run(site.wait(FlowRef("edge-2", 7))) == pytest.approx(20, abs=1.0)


def test_a_call_at_a_front_end_that_ends_is_refused_at_once() -> None:
    site = Site(ending=True)
    assert run(site.wait()) == pytest.approx(0, abs=0.1)
    assert site.refused == 503


def test_a_device_that_comes_and_goes_is_not_followed_for_ever() -> None:
    async def tries() -> int:
        site = Site()
        more = site.devices.of_dialog()
        count = 0
        while more(cast(Any, site), Target(CONTACT, flow=FlowRef("edge-1", count)), 1):
            count += 1
        for task in site.tasks:
            task.cancel()
        await asyncio.gather(*site.tasks, return_exceptions=True)
        return count

    assert run(tries()) == 4
