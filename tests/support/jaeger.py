"""A real Jaeger v2 for tests: takes OTLP, answers what traces it has."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.support.ports import free_port
from tests.support.programs import cache, start, stop

CONFIG = """\
service:
  extensions: [jaeger_storage, jaeger_query, healthcheckv2]
  pipelines:
    traces: {{receivers: [otlp], processors: [batch], exporters: [jaeger_storage_exporter]}}
  telemetry:
    resource: {{service.name: jaeger}}
    metrics: {{level: none}}
    logs: {{level: warn}}
extensions:
  healthcheckv2:
    use_v2: true
    http: {{endpoint: "127.0.0.1:{health}"}}
  jaeger_query:
    storage: {{traces: mem}}
    http: {{endpoint: "127.0.0.1:{query}"}}
    grpc: {{endpoint: "127.0.0.1:{query_grpc}"}}
  jaeger_storage:
    backends:
      mem: {{memory: {{max_traces: 20000}}}}
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{otlp}"}}
processors:
  batch: {{timeout: 200ms}}
exporters:
  jaeger_storage_exporter: {{trace_storage: mem}}
"""


def _program() -> Path:
    return cache() / "jaeger-2.13.0" / "jaeger"


def jaeger_missing() -> str | None:
    """Why Jaeger cannot be started; None when it can."""
    return None if _program().exists() else "Jaeger is not built; run tools/install-jaeger.sh"


@dataclass(frozen=True)
class JaegerSpan:
    """One span as Jaeger tells it."""

    trace_id: str
    span_id: str
    parent_id: str
    service: str
    name: str
    tags: dict[str, Any]
    links: tuple[tuple[str, str], ...]
    """Trace and span ids of references that are no parent."""
    events: tuple[str, ...]
    resource: dict[str, Any]
    """Attributes of the process."""


class Jaeger:
    """One server on ports of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.otlp = free_port()
        self._query = free_port()
        self._health = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """What goes into OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://127.0.0.1:{self.otlp}"

    @property
    def url(self) -> str:
        """Where people and programs ask for traces."""
        return f"http://127.0.0.1:{self._query}"

    def __enter__(self) -> Self:
        config = self._folder / "jaeger.yaml"
        config.write_text(CONFIG.format(health=self._health, query=self._query, query_grpc=free_port(), otlp=self.otlp))
        with (self._folder / "log").open("wb") as log:
            self._process = start([str(_program()), "--config", str(config)], log)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                self._get("/api/services")
                return self
            except (OSError, urllib.error.URLError):
                time.sleep(0.1)
        raise AssertionError((self._folder / "log").read_text()[-2000:])

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            stop(self._process)

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=5) as answer:
            return json.load(answer)

    def services(self) -> set[str]:
        """Names of the services that sent spans."""
        return set(self._get("/api/services").get("data") or ())

    def spans_of(self, trace_id: str) -> list[JaegerSpan]:
        """All spans of a trace; empty while Jaeger has none."""
        try:
            data = self._get(f"/api/traces/{trace_id}").get("data") or []
        except urllib.error.HTTPError:
            return []
        return [span for trace in data for span in spans_in(trace)]

    def find(self, service: str, tags: dict[str, str]) -> list[list[JaegerSpan]]:
        """Traces in which a span of the service has the tags, and of which no parent is still on its way."""
        query = urllib.parse.urlencode({"service": service, "lookback": "1h", "limit": 200, "tags": json.dumps(tags)})
        data = self._get(f"/api/traces?{query}").get("data") or []
        return [spans for spans in map(spans_in, data) if _is_rooted(spans)]


def _is_rooted(spans: list[JaegerSpan]) -> bool:
    """Whether every parent is there: each process sends its spans when it likes."""
    return {span.parent_id for span in spans if span.parent_id} <= {span.span_id for span in spans}


def spans_in(trace: dict[str, Any]) -> list[JaegerSpan]:
    """The spans of a trace as Jaeger's API gives it."""
    services = {key: process["serviceName"] for key, process in trace["processes"].items()}
    resources = {key: _tags(process.get("tags")) for key, process in trace["processes"].items()}
    spans = []
    for span in trace["spans"]:
        references = span.get("references") or []
        parent = next((r["spanID"] for r in references if r["refType"] == "CHILD_OF"), "")
        links = tuple((r["traceID"], r["spanID"]) for r in references if r["refType"] != "CHILD_OF")
        events = tuple(
            str(field["value"]) for log in span.get("logs") or [] for field in log["fields"] if field["key"] == "event"
        )
        tags = _tags(span.get("tags"))
        spans.append(
            JaegerSpan(
                span["traceID"], span["spanID"], parent, services[span["processID"]], span["operationName"], tags, links,
                events, resources[span["processID"]],
            )
        )  # fmt: skip
    return spans


def _tags(tags: list[dict[str, Any]] | None) -> dict[str, Any]:
    return {tag["key"]: tag["value"] for tag in tags or []}
