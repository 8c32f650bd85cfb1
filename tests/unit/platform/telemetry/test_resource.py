"""What traces and log lines say of the process that they come from."""

from __future__ import annotations

import io
import json
import logging
from importlib.metadata import version
from typing import Any
from uuid import UUID

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from parley.platform.telemetry.logs import JsonFormatter
from parley.platform.telemetry.resource import resource_of
from parley.platform.telemetry.tracing import Tracing

POD = "k8s.pod.name=parley-frontend-7d,k8s.pod.uid=1f0c,k8s.namespace.name=voice,k8s.node.name=node%20a"


@pytest.fixture
def nothing_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_RESOURCE_ATTRIBUTES", "OTEL_SERVICE_NAME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("nothing_outside")
def test_outside_of_a_cluster() -> None:
    first, second = resource_of("frontend").attributes, resource_of("registrar").attributes
    assert (first["service.name"], second["service.name"]) == ("parley-frontend", "parley-registrar")
    assert first["service.version"] == version("parley")
    assert UUID(str(first["service.instance.id"]))
    assert first["service.instance.id"] == second["service.instance.id"]


def test_attributes_of_a_pod_and_the_name_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", POD)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "something-else")
    found = resource_of("frontend").attributes
    assert found["service.name"] == "parley-frontend"
    assert (found["k8s.pod.name"], found["k8s.namespace.name"], found["k8s.node.name"]) == (
        "parley-frontend-7d", "voice", "node a",
    )  # fmt: skip
    assert found["service.instance.id"] == "1f0c"
    assert found["service.version"] == version("parley")


def test_environment_says_version_and_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    outside = f"{POD},service.version=7.7,service.instance.id=me,service.name=other,service.namespace=voice"
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", outside)
    found = resource_of("web").attributes
    names = ("service.version", "service.instance.id", "service.name", "service.namespace")
    assert [found[name] for name in names] == ["7.7", "me", "parley-web", "voice"]


def test_spans_of_every_tracer_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", POD)
    exporter = InMemorySpanExporter()
    tracing = Tracing(None, exporter=exporter)
    for service in ("frontend", "registrar"):
        tracing.tracer(service).start("span").end()
    tracing.flush()
    found = {span.resource.attributes["service.name"]: span.resource.attributes for span in exporter.get_finished_spans()}
    assert set(found) == {"parley-frontend", "parley-registrar"}
    assert {attributes["k8s.pod.uid"] for attributes in found.values()} == {"1f0c"}
    tracing.stop()


def line_of_log() -> dict[str, Any]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("frontend"))
    handler.handle(logging.LogRecord("parley", logging.INFO, __file__, 1, "text", None, None))
    line: dict[str, Any] = json.loads(stream.getvalue())
    return line


def test_log_lines_name_the_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", POD)
    line = line_of_log()
    assert (line["service"], line["pod"], line["pod_uid"]) == ("frontend", "parley-frontend-7d", "1f0c")


@pytest.mark.usefixtures("nothing_outside")
def test_log_lines_outside_of_a_cluster_name_none() -> None:
    assert not {"pod", "pod_uid"} & line_of_log().keys()
