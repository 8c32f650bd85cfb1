"""What Jaeger has of a trace, asked over its HTTP API until all that belongs to it has come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from parley.platform.reasons import reason_of
from parley.platform.telemetry.contract import SPANS
from parley.selftest.report import StepFailed
from parley.selftest.signalling import Traced

PATIENCE_S: Final = 45.0
"""Spans go from a process in batches, through a collector perhaps, and the search of Jaeger comes last."""
_LOOK_S: Final = 0.5
_ONE_REQUEST_S: Final = 5.0
_FRONT_END: Final = "parley-frontend"
_EDGE: Final = "parley.edge"


@dataclass(frozen=True, slots=True)
class Span:
    """One span, as far as it matters here."""

    name: str
    service: str
    tags: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a trace must have."""

    what: str
    """For people."""
    spans: Mapping[str, str]
    """Service by name of the span."""
    edges: int = 1
    """Front ends that took part."""

    def missing(self, spans: Collection[Span]) -> list[str]:
        """What is not there."""
        have = {(span.name, span.service) for span in spans}
        found = [f"{name} of {service}" for name, service in self.spans.items() if (name, service) not in have]
        edges = edges_of(spans)
        if len(edges) < self.edges:
            found.append(f"spans of {self.edges} front ends, not only of {', '.join(sorted(edges)) or 'none'}")
        return found


def span_name(rule: str, variable: str = "") -> str:
    """The name of a span of the telemetry contract, as ("sip.server <METHOD>", "INVITE")."""
    assert any(known.name == rule for known in SPANS), rule
    return rule.partition("<")[0] + variable


def of_sign_in() -> Wanted:
    """One REGISTER is one trace: front end, registrar."""
    return Wanted("a REGISTER", {
        span_name("sip.server <METHOD>", "REGISTER"): _FRONT_END, span_name("registrar.update"): "parley-registrar",
    })  # fmt: skip


def of_call(edges: int) -> Wanted:
    """One call is one trace, also when two front ends carry it."""
    spans = {
        span_name("sip.server <METHOD>", "INVITE"): _FRONT_END, span_name("sip.client <METHOD>", "INVITE"): _FRONT_END,
        span_name("registrar.lookup"): "parley-registrar",
    }  # fmt: skip
    if edges > 1:
        spans[span_name("edge.deliver <METHOD>", "INVITE")] = _FRONT_END
    return Wanted("a call", spans, edges)


def edges_of(spans: Collection[Span]) -> set[str]:
    """The front ends that made spans."""
    return {str(span.tags[_EDGE]) for span in spans if _EDGE in span.tags}


class Jaeger:
    """The query service of a Jaeger."""

    def __init__(self, url: str, *, patience_s: float = PATIENCE_S) -> None:
        """``url``: as a browser opens it, "http://host:16686"; ``patience_s``: longest wait for a whole trace."""
        self.url = url.rstrip("/")
        self._patience_s = patience_s

    async def see(self, traced: Traced, wanted: Wanted) -> str:
        """Waits for a trace; what was seen. Raises StepFailed when it does not become whole."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience_s
        timeout = aiohttp.ClientTimeout(total=_ONE_REQUEST_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                came = ""
                spans: list[Span] = []
                try:
                    spans = await self._trace(session, traced)
                except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError, TypeError) as error:
                    came = f"{self.url} does not answer as Jaeger does: {reason_of(error)}"
                missing = wanted.missing(spans)
                if not came and not missing:
                    services = ", ".join(sorted({span.service for span in spans}))
                    return f"{len(spans)} spans of {services}: {self.url}/trace/{traced.trace.trace_id}"
                if loop.time() >= deadline:
                    raise _incomplete(wanted, came, spans, missing, self._patience_s)
                await asyncio.sleep(_LOOK_S)

    async def _trace(self, session: aiohttp.ClientSession, traced: Traced) -> list[Span]:
        """All spans of the trace that we began; else those of the trace with its Call-ID, if front ends began another."""
        ours = await self._spans(session, f"/api/traces/{traced.trace.trace_id}", {})
        if ours:
            return ours
        tags = json.dumps({"sip.call_id": traced.call_id})
        return await self._spans(session, "/api/traces", {"service": _FRONT_END, "lookback": "1h", "tags": tags})

    async def _spans(self, session: aiohttp.ClientSession, path: str, query: Mapping[str, str]) -> list[Span]:
        async with session.get(self.url + path, params=query) as answer:
            if answer.status == 404 and path != "/api/traces":
                return []
            answer.raise_for_status()
            content = await answer.json(content_type=None)
        return [span for trace in content["data"] or () for span in _spans_of(trace)]


def _spans_of(trace: Mapping[str, Any]) -> list[Span]:
    services = {key: process["serviceName"] for key, process in trace["processes"].items()}
    return [
        Span(
            span["operationName"], services[span["processID"]], {tag["key"]: tag["value"] for tag in span.get("tags") or ()}
        )
        for span in trace["spans"]
    ]


def _incomplete(wanted: Wanted, came: str, spans: Collection[Span], missing: list[str], patience_s: float) -> StepFailed:
    expected = f"the trace of {wanted.what} with {', '.join(wanted.spans)}"
    if came:
        return StepFailed(expected, came, "is --jaeger the address of Jaeger's query service (port 16686)?")
    if not spans:
        look_at = (
            "do the services send spans (OTEL_EXPORTER_OTLP_ENDPOINT), and does what they reach there (collector, Jaeger) "
            "take them?"
        )
        return StepFailed(expected, f"no span of it within {patience_s:g} s", look_at)
    seen = ", ".join(sorted({f"{span.name} of {span.service}" for span in spans}))
    return StepFailed(
        expected, f"{len(spans)} spans ({seen}), without {'; '.join(missing)}",
        "do all services send spans to the same place? docs/telemetry.md lists what belongs together",
    )  # fmt: skip
