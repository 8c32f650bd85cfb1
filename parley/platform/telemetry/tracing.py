"""Spans that cost next to nothing while tracing is off.

A `Tracer` belongs to one service; several services of one process share the exporter and differ in ``service.name``.
Spans are handles, so callback code can hold them; context goes on as a W3C ``traceparent`` string, in gRPC items, Kafka
headers and the SIP header ``Traceparent``. With no OTLP endpoint configured every span is `NO_SPAN`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Final, Literal

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from parley.platform.telemetry.resource import resource_of

Kind = Literal["server", "client", "internal", "producer", "consumer"]
Attribute = str | int | float | bool

_KINDS: Final = {
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "internal": SpanKind.INTERNAL,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}
_TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})\Z")

_CHANNEL_OPTIONS: Final[Any] = (("grpc.keepalive_time_ms", 330_000), ("grpc.keepalive_timeout_ms", 10_000))
"""A collector whose machine fails says no goodbye: what it does not acknowledge in ten seconds (TCP_USER_TIMEOUT, which
comes with these) ends the connection. Pings more often than each five minutes are refused by many servers."""

_current: ContextVar[Span | None] = ContextVar("parley_span", default=None)


def parse_traceparent(text: str | None) -> SpanContext | None:
    """The context in a ``traceparent`` value (W3C Trace Context section 3.2); None for anything else."""
    if not text:
        return None
    found = _TRACEPARENT.match(text)
    if found is None:
        return None
    trace_id, span_id = int(found[1], 16), int(found[2], 16)
    if not trace_id or not span_id:
        return None
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(int(found[3], 16)))


def format_traceparent(context: SpanContext) -> str:
    """The ``traceparent`` of a span."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


class Span:
    """A span that goes on; as a context manager it is the current one, and ends with the block."""

    __slots__ = ("_ended", "_span", "_token", "traceparent")

    def __init__(self, span: trace.Span | None) -> None:
        self._span = span
        self._ended = span is None
        self._token: Token[Span | None] | None = None
        self.traceparent = format_traceparent(span.get_span_context()) if span is not None else ""
        """What children take as their parent; "" when tracing is off."""

    @property
    def trace_id(self) -> str:
        """32 hex digits; "" when tracing is off."""
        return self.traceparent[3:35]

    @property
    def span_id(self) -> str:
        """16 hex digits; "" when tracing is off."""
        return self.traceparent[36:52]

    def set(self, key: str, value: Attribute) -> None:
        """Sets an attribute."""
        if self._span is not None:
            self._span.set_attribute(key, value)

    def event(self, name: str, attributes: Mapping[str, Attribute] | None = None) -> None:
        """Notes that something happened."""
        if self._span is not None:
            self._span.add_event(name, attributes)

    def link(self, traceparent: str | None) -> None:
        """Links a span that is not the parent."""
        context = parse_traceparent(traceparent)
        if self._span is not None and context is not None:
            self._span.add_link(context)

    def end(self, status: Literal["ok", "error"] = "ok", message: str = "") -> None:
        """Ends the span; only the first call counts."""
        if self._ended or self._span is None:
            return
        self._ended = True
        if status == "error":
            self._span.set_status(Status(StatusCode.ERROR, message))
        self._span.end()

    def __enter__(self) -> Span:
        if self._span is not None:  # the span that stands for "off" is shared, and keeps nothing
            self._token = _current.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace_: TracebackType | None) -> None:
        if self._token is not None:
            _current.reset(self._token)
            self._token = None
        self.end("error" if error is not None else "ok", type(error).__name__ if error is not None else "")


NO_SPAN: Final = Span(None)
"""What every span is while tracing is off."""


def current_span() -> Span:
    """The span whose block this code runs in."""
    return _current.get() or NO_SPAN


class Tracer:
    """Starts the spans of one service."""

    __slots__ = ("_tracer", "enabled")

    def __init__(self, tracer: trace.Tracer | None) -> None:
        self._tracer = tracer
        self.enabled = tracer is not None

    def start(
        self,
        name: str,
        *,
        kind: Kind = "internal",
        parent: str | Span | None = None,
        attributes: Mapping[str, Attribute] | None = None,
        links: tuple[str, ...] = (),
        start_ns: int | None = None,
    ) -> Span:
        """A span that has begun. ``parent`` is a traceparent or a span; None: the current one; "": none.

        ``start_ns``: nanoseconds since the Unix epoch at which it began, now by default.
        """
        if self._tracer is None:
            return NO_SPAN
        if parent is None:
            parent = current_span()
        text = parent.traceparent if isinstance(parent, Span) else parent
        context = parse_traceparent(text)
        otel_context = trace.set_span_in_context(NonRecordingSpan(context)) if context else Context()
        contexts = (parse_traceparent(link) for link in links)
        span = self._tracer.start_span(
            name,
            otel_context,
            _KINDS[kind],
            attributes,
            [Link(other) for other in contexts if other is not None],
            start_ns,
        )
        return Span(span)


NO_TRACER: Final = Tracer(None)
"""The tracer while tracing is off."""


class Tracing:
    """The traces of one process: an exporter, shared by a tracer for each service."""

    def __init__(self, endpoint: str | None, *, ratio: float = 1.0, exporter: SpanExporter | None = None) -> None:
        """``endpoint``: OTLP over gRPC, ``http://host:4317``; None and no exporter: off. ``ratio``: share of traces kept."""
        self._processor: SpanProcessor | None = None
        self._sampler = ParentBased(TraceIdRatioBased(ratio))
        self._providers: dict[str, TracerProvider] = {}
        if exporter is None and endpoint:
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

            exporter = OTLPSpanExporter(
                endpoint=endpoint, insecure=not endpoint.startswith("https"), timeout=5, channel_options=_CHANNEL_OPTIONS
            )
        self._exporter = exporter
        if exporter is not None:
            self._processor = BatchSpanProcessor(exporter, schedule_delay_millis=500, max_queue_size=16_384)

    @property
    def enabled(self) -> bool:
        """Whether spans are made at all."""
        return self._processor is not None

    def tracer(self, service: str) -> Tracer:
        """The tracer of a service; ``service.name`` becomes ``parley-<service>``."""
        if self._processor is None:
            return NO_TRACER
        provider = self._providers.get(service)
        if provider is None:
            provider = TracerProvider(sampler=self._sampler, resource=resource_of(service), shutdown_on_exit=False)
            provider.add_span_processor(self._processor)
            self._providers[service] = provider
        return Tracer(provider.get_tracer("parley"))

    def flush(self, timeout_s: float = 5.0) -> None:
        """Sends what is waiting; blocks up to the timeout."""
        if self._processor is not None:
            self._processor.force_flush(int(timeout_s * 1000))

    def stop(self, timeout_s: float = 4.0) -> None:
        """Sends what is waiting and ends the exporter's thread; blocks about that long at most, and drops what is left."""
        processor, self._processor = self._processor, None
        if processor is None or self._exporter is None:
            return
        # The processor itself would try each batch that waits, however many, for the timeout of one.
        give_up = threading.Timer(timeout_s, self._exporter.shutdown)
        give_up.daemon = True
        give_up.start()
        try:
            processor.shutdown()
        finally:
            give_up.cancel()
