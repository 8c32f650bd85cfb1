"""How steps end, where the relay is, and when a trace is whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from grpc import StatusCode

from parley.platform.rpc.errors import RpcError
from parley.platform.telemetry.tracing import parse_traceparent
from parley.proto.avedge.v1.credentials_pb2 import IceServer
from parley.selftest.phone import PhoneError
from parley.selftest.relay import udp_server
from parley.selftest.report import StepFailed, StepResult, Steps, expecting
from parley.selftest.signalling import Trace
from parley.selftest.traces import Span, Wanted, edges_of, of_call, of_sign_in, span_name
from parley.stun.probe import ProbeError


async def fine() -> str:
    return "seen"


def raising(error: Exception) -> Callable[[], Awaitable[str]]:
    async def work() -> str:
        with expecting("something", "the log"):
            raise error

    return work


async def test_steps_that_need_another_are_passed_over_when_it_failed() -> None:
    said: list[StepResult] = []
    steps = Steps(said.append, {"unwanted": "not wanted"})
    await steps.run("one", fine)
    await steps.run("unwanted", fine)
    await steps.run("broken", raising(PhoneError("480 from there")))
    await steps.run("two", fine, after=("one",))
    await steps.run("three", fine, after=("one", "broken", "unwanted"))
    steps.pass_over("four", "nothing there")
    assert [(result.name, result.state, result.detail) for result in said] == [
        ("one", "ok", "seen"), ("unwanted", "skipped", "not wanted"), ("broken", "failed", ""), ("two", "ok", "seen"),
        ("three", "skipped", "needs: broken, unwanted"), ("four", "skipped", "nothing there"),
    ]  # fmt: skip
    broken = said[2]
    assert (broken.expected, broken.came, broken.look_at) == ("something", "480 from there", "the log")
    assert not steps.passed
    assert steps.is_ok("two")
    assert not steps.is_ok("three")


@pytest.mark.parametrize(
    ("error", "came"),
    [
        (RpcError(StatusCode.UNAVAILABLE, "nobody is there"), "UNAVAILABLE: nobody is there"),
        (PhoneError("no answer"), "no answer"),
        (ProbeError("the server refuses"), "the server refuses"),
        (ConnectionRefusedError(111, "x"), "Connection refused"),
        (TimeoutError(), "no answer in time"),
        (StepFailed("e", "what came", "l"), "what came"),
    ],
)
async def test_what_goes_wrong_is_told_in_words(error: Exception, came: str) -> None:
    steps = Steps(lambda result: None)
    await steps.run("step", raising(error))
    assert steps.results[0].came == came


async def test_a_mistake_of_ours_is_no_failed_step() -> None:
    with pytest.raises(ZeroDivisionError):
        await Steps(lambda result: None).run("step", raising(ZeroDivisionError()))


@pytest.mark.parametrize(
    ("urls", "place"),
    [
        (["turn:relay.test:3479?transport=udp"], ("relay.test", 3479)),
        (["turns:relay.test?transport=tcp", "turn:relay.test?transport=tcp", "turn:192.0.2.1"], ("192.0.2.1", 3478)),
        (["turn:[2001:db8::1]:99"], ("2001:db8::1", 99)),
    ],
)
def test_the_relay_is_where_clients_are_sent(urls: list[str], place: tuple[str, int]) -> None:
    assert udp_server([IceServer(urls=urls)]) == place


def test_a_relay_without_udp_is_told_of() -> None:
    with pytest.raises(StepFailed, match=r"came: turn:relay\.test\?transport=tcp"):
        udp_server([IceServer(urls=["turn:relay.test?transport=tcp"])])


def spans(wanted: Wanted, edges: tuple[str, ...] = ("edge-0",)) -> list[Span]:
    """A whole trace."""
    found = [Span(name, service, {}) for name, service in wanted.spans.items()]
    return found + [Span("sip.server INVITE", "parley-frontend", {"parley.edge": edge}) for edge in edges]


def test_a_trace_is_whole_when_all_that_is_wanted_is_there() -> None:
    for wanted in (of_sign_in(), of_call(1)):
        assert wanted.missing(spans(wanted)) == []
        name, service = next(iter(wanted.spans.items()))
        lacking = [span for span in spans(wanted) if span.name != name or name == "sip.server INVITE"]
        if name != "sip.server INVITE":
            assert wanted.missing(lacking) == [f"{name} of {service}"]
    assert of_sign_in().missing([]) == [
        "sip.server REGISTER of parley-frontend", "registrar.update of parley-registrar",
        "spans of 1 front ends, not only of none",
    ]  # fmt: skip


def test_a_call_across_two_front_ends_has_spans_of_both() -> None:
    wanted = of_call(2)
    assert "edge.deliver INVITE" in wanted.spans
    assert wanted.missing(spans(wanted)) == ["spans of 2 front ends, not only of edge-0"]
    assert wanted.missing(spans(wanted, ("edge-0", "edge-1"))) == []
    assert edges_of(spans(wanted, ("a", "b", "a"))) == {"a", "b"}


def test_names_of_spans_are_those_of_the_contract() -> None:
    assert span_name("sip.client <METHOD>", "INVITE") == "sip.client INVITE"
    with pytest.raises(AssertionError):
        span_name("sip.proxy <METHOD>", "INVITE")


def test_our_traces_are_kept_whatever_share_is() -> None:
    one, other = Trace.new(), Trace.new()
    name, value = one.header
    context = parse_traceparent(value)
    assert name == "Traceparent"
    assert context is not None
    assert context.trace_flags.sampled
    assert f"{context.trace_id:032x}" == one.trace_id
    assert one.trace_id != other.trace_id
