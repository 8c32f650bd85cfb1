"""Where a client is found when its connection is gone, and requests in dialogs that follow it there."""

from __future__ import annotations

import pytest
from grpc import StatusCode

from parley.platform.applications.dialogs import DialogSender, request_in
from parley.platform.applications.edges import EdgeSender, FlowGone
from parley.platform.applications.registrations import Registrations
from parley.platform.rpc.errors import RpcError
from parley.proto.registrar.v1.registrar_pb2 import Binding
from parley.proto.sip.v1.dialog_pb2 import Dialog
from parley.proto.sip.v1.message_pb2 import Flow
from parley.sip.message import Request, Response, make_response

ALICE = "sip:alice@example.test"
PHONE = "sip:alice@192.0.2.1"
FIRST, SECOND, THIRD = (Flow(edge_uid="edge", connection_id=number) for number in (1, 2, 3))


class Bindings(Registrations):
    """Registrations of a test."""

    def __init__(self, *kept: Binding) -> None:
        self.kept = list(kept)

    async def bindings(self, aor: str, traceparent: str = "") -> list[Binding]:
        return self.kept


class Edge(EdgeSender):
    """Keeps the flows that requests were sent to; some are gone."""

    def __init__(self, *gone: Flow) -> None:
        self.gone = gone
        self.sent: list[Flow] = []
        self.silent: list[Flow | None] = []

    async def send(
        self, request: Request, flow: Flow | None, *, traceparent: str = "", timeout_s: float = 5.0
    ) -> None:  # fmt: skip
        assert flow is not None
        self.sent.append(Flow.FromString(flow.SerializeToString()))
        if flow in self.gone:
            raise FlowGone

    async def request(
        self, request: Request, flow: Flow | None, *, traceparent: str = "", timeout_s: float = 32.0
    ) -> Response:
        await self.send(request, flow)
        return make_response(request, 408 if flow in self.silent else 200)


def phone(flow: Flow, contact: str = PHONE) -> Binding:
    return Binding(contact=contact, flow=flow)


def dialog() -> Dialog:
    return Dialog(aor=ALICE, call_id="c", remote_target=PHONE, flow=FIRST, remote_party=f"<{ALICE}>;tag=r")


async def test_a_client_that_came_back_is_found_by_its_other_flow() -> None:
    assert await Bindings(phone(FIRST), phone(SECOND)).find(ALICE, "", PHONE, FIRST) == SECOND
    communicator = Binding(epid="e", contact="sip:any@192.0.2.9", flow=SECOND)
    assert await Bindings(communicator).find(ALICE, "e", PHONE, FIRST) == SECOND


async def test_a_client_without_a_binding_is_gone() -> None:
    assert await Bindings().find(ALICE, "", PHONE, FIRST) is None
    assert await Bindings(phone(SECOND, "sip:alice@192.0.2.2")).find(ALICE, "", PHONE, FIRST) is None


async def test_a_client_with_the_binding_of_the_gone_flow_alone_may_come_back() -> None:
    others = phone(SECOND, "sip:alice@192.0.2.2")
    with pytest.raises(RpcError) as raised:
        await Bindings(phone(FIRST), others).find(ALICE, "", PHONE, FIRST)
    assert raised.value.code is StatusCode.UNAVAILABLE
    assert not isinstance(raised.value, FlowGone)


async def test_a_request_follows_its_client() -> None:
    edge, used = Edge(FIRST), dialog()
    answer = await DialogSender(edge, Bindings(phone(SECOND))).request(used, request_in(used, "INFO", 1))
    assert (answer.status, used.flow, edge.sent) == (200, SECOND, [FIRST, SECOND])


async def test_a_client_is_gone_only_when_it_has_no_binding_any_more() -> None:
    edge, used = Edge(FIRST, SECOND), dialog()
    with pytest.raises(FlowGone):
        await DialogSender(edge, Bindings()).request(used, request_in(used, "INFO", 1))
    with pytest.raises(RpcError) as raised:  # it was at the second front end, which is gone as well
        await DialogSender(edge, Bindings(phone(SECOND))).send(used, request_in(used, "BENOTIFY", 2))
    assert not isinstance(raised.value, FlowGone)
    with pytest.raises(RpcError) as raised:  # it moves faster than it is followed
        await DialogSender(edge, Bindings(phone(FIRST), phone(SECOND))).send(used, request_in(used, "BENOTIFY", 3))
    assert not isinstance(raised.value, FlowGone)


async def test_a_client_that_does_not_answer_is_asked_at_its_other_connection() -> None:
    edge, used = Edge(), dialog()
    edge.silent = [FIRST]
    sender = DialogSender(edge, Bindings(phone(FIRST), phone(SECOND)))
    assert (await sender.request(used, request_in(used, "NOTIFY", 1))).status == 200
    assert (used.flow, edge.sent) == (SECOND, [FIRST, SECOND])


@pytest.mark.parametrize("bindings", [[], [phone(FIRST)]])
async def test_a_client_that_does_not_answer_and_is_nowhere_else_is_asked_once(bindings: list[Binding]) -> None:
    edge, used = Edge(), dialog()
    edge.silent = [FIRST]
    assert (await DialogSender(edge, Bindings(*bindings)).request(used, request_in(used, "NOTIFY", 1))).status == 408
    assert edge.sent == [FIRST]
