"""Spans, their context, and that they cost nothing while tracing is off."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from parley.platform.telemetry.tracing import (
    NO_SPAN,
    NO_TRACER,
    Tracing,
    current_span,
    format_traceparent,
    parse_traceparent,
)

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = PARENT[:-1] + "0"


class Recorded:
    """Tracing whose spans can be looked at."""

    def __init__(self, ratio: float = 1.0) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracing = Tracing(None, ratio=ratio, exporter=self._exporter)

    def spans(self) -> dict[str, ReadableSpan]:
        self.tracing.flush()
        return {span.name: span for span in self._exporter.get_finished_spans()}


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    made = Recorded()
    yield made
    made.tracing.stop()


def test_traceparent_round_trip() -> None:
    context = parse_traceparent(PARENT)
    assert context is not None
    assert context.is_remote
    assert format_traceparent(context) == PARENT


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "garbage",
        PARENT + "\n",
        PARENT + "-x",
        " " + PARENT,
        PARENT.upper(),
        PARENT.replace("-", "_"),
        "01" + PARENT[2:],
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
        "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        "00-" + "٣" * 32 + "-b7ad6b7169203331-01",
    ],
)
def test_what_is_no_traceparent_is_ignored(text: str | None, recorded: Recorded) -> None:
    assert parse_traceparent(text) is None
    recorded.tracing.tracer("frontend").start("root", parent=text or "").end()
    assert recorded.spans()["root"].parent is None


def test_parent_kind_attributes_events_and_links(recorded: Recorded) -> None:
    tracer = recorded.tracing.tracer("frontend")
    span = tracer.start("sip.server INVITE", kind="server", parent=PARENT, attributes={"sip.call_id": "x"}, links=(PARENT,))
    span.set("sip.status_code", 200)
    span.event("cancel", {"reason": "SIP ;cause=200"})
    span.link(PARENT)
    span.link("garbage")
    span.end()
    span.end("error")
    found = recorded.spans()["sip.server INVITE"]
    assert found.kind is SpanKind.SERVER
    assert found.parent is not None
    assert format_traceparent(found.parent) == PARENT
    assert dict(found.attributes or {}) == {"sip.call_id": "x", "sip.status_code": 200}
    assert [(event.name, dict(event.attributes or {})) for event in found.events] == [
        ("cancel", {"reason": "SIP ;cause=200"})
    ]
    assert len(found.links) == 2
    assert found.status.status_code is StatusCode.UNSET
    assert span.traceparent[3:35] == PARENT[3:35] == span.trace_id


def test_current_span_is_the_parent(recorded: Recorded) -> None:
    tracer = recorded.tracing.tracer("frontend")
    with tracer.start("outer") as outer:
        assert current_span() is outer
        with tracer.start("inner"):
            pass
        tracer.start("root", parent="").end()
        assert current_span() is outer
    assert current_span() is NO_SPAN
    spans = recorded.spans()
    parent = spans["inner"].parent
    assert parent is not None
    assert f"{parent.span_id:016x}" == outer.span_id
    assert spans["root"].parent is None


def test_block_that_fails(recorded: Recorded) -> None:
    with pytest.raises(KeyError), recorded.tracing.tracer("frontend").start("outer"):
        raise KeyError("secret")
    status = recorded.spans()["outer"].status
    assert (status.status_code, status.description) == (StatusCode.ERROR, "KeyError")
    assert current_span() is NO_SPAN


def test_each_service_has_its_name(recorded: Recorded) -> None:
    for service in ("frontend", "registrar", "frontend"):
        recorded.tracing.tracer(service).start(service, parent="").end()
    names = {name: span.resource.attributes["service.name"] for name, span in recorded.spans().items()}
    assert names == {"frontend": "parley-frontend", "registrar": "parley-registrar"}


def test_sampling_follows_the_parent() -> None:
    recorded = Recorded(ratio=0.0)
    tracer = recorded.tracing.tracer("frontend")
    tracer.start("root", parent="").end()
    tracer.start("kept", parent=PARENT).end()
    unsampled = tracer.start("dropped", parent=UNSAMPLED)
    assert unsampled.traceparent.endswith("-00")
    unsampled.end()
    assert set(recorded.spans()) == {"kept"}
    recorded.tracing.stop()


def test_off() -> None:
    tracing = Tracing(None)
    assert not tracing.enabled
    tracer = tracing.tracer("frontend")
    assert tracer is NO_TRACER
    assert not tracer.enabled
    span = tracer.start("x", parent=PARENT)
    assert span is NO_SPAN
    with span as entered:
        entered.set("a", 1)
        entered.event("b")
        entered.link(PARENT)
        assert current_span() is NO_SPAN
    assert (span.traceparent, span.trace_id, span.span_id) == ("", "", "")
    tracing.flush()
    tracing.stop()


class Unheard(SpanExporter):
    """An exporter whose collector never answers."""

    def __init__(self) -> None:
        self._given_up = threading.Event()
        self.heard: list[bool] = []
        """Of each batch: whether we were told to give up while it was sent."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.heard.append(self._given_up.wait(10))
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self._given_up.set()


def test_end_does_not_wait_for_a_collector_that_never_answers() -> None:
    unheard = Unheard()
    tracing = Tracing(None, exporter=unheard)
    tracer = tracing.tracer("x")
    for _ in range(2_000):
        tracer.start("unheard").end()
    tracing.stop(0.01)
    assert unheard.heard
    assert all(unheard.heard)


def test_a_connection_to_a_collector_whose_machine_failed_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without these options a process sends into nothing until TCP gives up, a quarter of an hour later."""
    asked: dict[str, Any] = {}
    real = trace_exporter.OTLPSpanExporter

    class Exporter(real):  # type: ignore[misc, valid-type]
        def __init__(self, **options: Any) -> None:
            asked.update(options["channel_options"])
            super().__init__(**options)

    monkeypatch.setattr(trace_exporter, "OTLPSpanExporter", Exporter)
    Tracing("http://127.0.0.1:9").stop()
    assert asked["grpc.keepalive_timeout_ms"] <= 10_000
    assert asked["grpc.keepalive_time_ms"] > 300_000, "a server of gRPC in Go ends connections with more pings"
