"""What is counted of the answers to clients: by method and status, and for REGISTER by outcome, with its time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from grpc import StatusCode
from prometheus_client import REGISTRY

from parley.platform.clock import FakeClock
from parley.platform.rpc.errors import RpcError
from parley.platform.telemetry.tracing import NO_TRACER
from parley.proto.registrar.v1 import registrar_pb2 as pb
from parley.sip.flowtoken import FlowTokens
from parley.sip.message import Request
from services.frontend.answers import answered
from services.frontend.authentication import Accepted
from services.frontend.communicator import CommunicatorDialect
from services.frontend.flows import Flow
from services.frontend.proxying.wiring import Addresses, Identity, Refusal
from services.frontend.registration import Registration

ALICE = "sip:alice@example.test"
IS_ALICE = Accepted(Identity(ALICE))
Result = pb.BindingUpdateResult


class Phone(Flow):
    """A connection that keeps what is sent."""

    def __init__(self) -> None:
        super().__init__(1, "UDP", ("192.0.2.1", 5060), ("192.0.2.2", 5060))
        self.sent: list[bytes] = []

    def send(self, data: bytes) -> bool:
        self.sent.append(data)
        return True


class Away:
    """A registrar and an authenticator that say what a test tells them to."""

    def __init__(self, verdict: Accepted | Refusal = IS_ALICE) -> None:
        self.verdict = verdict
        self.update: asyncio.Future[pb.BindingUpdateResult] = asyncio.get_running_loop().create_future()

    def judge(self, request: Request, flow: Flow, *, done: Callable[[Accepted | Refusal], None], **_: Any) -> None:
        done(self.verdict)

    def submit(self, item: pb.BindingUpdate, *, timeout: float) -> asyncio.Future[pb.BindingUpdateResult]:
        return self.update


def registration_with(backend: Away, clock: FakeClock) -> Registration:
    addresses = Addresses({"UDP": ("sip.example.test", 5060)}, FlowTokens(b"k" * 32), "edge", frozenset())
    return Registration(
        domains=frozenset({"example.test"}), authenticator=cast(Any, backend), registrar=cast(Any, backend),
        addresses=addresses, edge_uid="edge", clock=clock, tracer=NO_TRACER, timeout_s=1, flow_grace_s=1, edge_grace_s=1,
        dialect=CommunicatorDialect("sip.example.test", 300),
    )  # fmt: skip


def register() -> Request:
    headers = [
        ("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"), ("From", f"<{ALICE}>;tag=1"), ("To", f"<{ALICE}>"),
        ("Call-ID", "c"), ("CSeq", "1 REGISTER"), ("Contact", "<sip:alice@192.0.2.1>"), ("Max-Forwards", "70"),
    ]  # fmt: skip
    return Request.create("REGISTER", "sip:example.test", headers=headers)


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


class Growth:
    """How much metrics grew since it was made."""

    def __init__(self) -> None:
        self._names = ("ok", "challenged", "refused", "limited", "failed")
        self._before = self._now()

    def _now(self) -> dict[str, float]:
        return {name: value("parley_frontend_registers_total", outcome=name) for name in self._names}

    @property
    def outcomes(self) -> dict[str, float]:
        now = self._now()
        return {name: now[name] - self._before[name] for name in self._names if now[name] != self._before[name]}


async def test_a_sign_in_counts_once_with_the_time_it_took() -> None:
    clock, growth, phone = FakeClock(), Growth(), Phone()
    backend = Away()
    registration = registration_with(backend, clock)
    answers = value("parley_frontend_answers_total", method="REGISTER", status="200")
    fast, slow = (value("parley_frontend_register_seconds_bucket", le=le) for le in ("0.25", "0.5"))
    registration.handle(register(), phone)
    clock.advance(0.3)
    assert growth.outcomes == {}
    backend.update.set_result(Result(outcome=Result.OUTCOME_OK))
    await asyncio.sleep(0)
    registration.handle(register(), phone)  # a retransmission is answered from memory
    assert [data.split(b" ")[1] for data in phone.sent] == [b"200", b"200"]
    assert growth.outcomes == {"ok": 1}
    assert value("parley_frontend_answers_total", method="REGISTER", status="200") == answers + 1
    assert value("parley_frontend_register_seconds_bucket", le="0.25") == fast
    assert value("parley_frontend_register_seconds_bucket", le="0.5") == slow + 1


@pytest.mark.parametrize(
    ("refusal", "outcome"),
    [
        (Refusal(401), "challenged"),
        (Refusal(403), "refused"),
        (Refusal(503, limited=True), "limited"),
        (Refusal(503), "failed"),
        (Refusal(504), "failed"),
    ],
)
async def test_refusals_tell_whose_fault_it_is(refusal: Refusal, outcome: str) -> None:
    growth, seconds = Growth(), value("parley_frontend_register_seconds_count")
    registration_with(Away(refusal), FakeClock()).handle(register(), Phone())
    assert growth.outcomes == {outcome: 1}
    assert value("parley_frontend_register_seconds_count") == seconds


async def test_a_registrar_that_is_away_is_a_failure() -> None:
    growth, backend = Growth(), Away()
    registration_with(backend, FakeClock()).handle(register(), Phone())
    backend.update.set_exception(RpcError(StatusCode.UNAVAILABLE, "away"))
    await asyncio.sleep(0)
    assert growth.outcomes == {"failed": 1}


async def test_requests_out_of_order_are_the_fault_of_the_client() -> None:
    growth, backend, phone = Growth(), Away(), Phone()
    registration_with(backend, FakeClock()).handle(register(), phone)
    backend.update.set_result(Result(outcome=Result.OUTCOME_OUT_OF_ORDER))
    await asyncio.sleep(0)
    assert phone.sent[0].startswith(b"SIP/2.0 500 ")
    assert growth.outcomes == {"refused": 1}


@pytest.mark.parametrize(
    ("method", "status", "labels"),
    [
        ("INVITE", 486, {"method": "INVITE", "status": "486"}),
        ("INVITE", 666, {"method": "INVITE", "status": "6xx"}),
        ("FROBNICATE-1", 200, {"method": "other", "status": "200"}),
        ("FROBNICATE-2", 299, {"method": "other", "status": "2xx"}),
    ],
)
def test_what_clients_invent_makes_no_new_numbers(method: str, status: int, labels: dict[str, str]) -> None:
    before = value("parley_frontend_answers_total", **labels)
    answered(method, status)
    answered(method, status)
    assert value("parley_frontend_answers_total", **labels) == before + 2
