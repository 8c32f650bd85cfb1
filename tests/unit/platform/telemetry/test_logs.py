"""Log lines: their fields, what is kept out of them, and that text from the network does no harm."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from parley.platform.telemetry.logs import call_id_var, configure_logs
from parley.platform.telemetry.redaction import redact, redact_field
from parley.platform.telemetry.tracing import Tracing


class Output:
    """A log that is written as it would be to a pipe: anything that is not UTF-8 is an error."""

    def __init__(self) -> None:
        self._bytes = io.BytesIO()
        self.stream = io.TextIOWrapper(self._bytes, encoding="utf-8", errors="strict", write_through=True)
        self.logger = logging.getLogger("tests.telemetry")

    @property
    def text(self) -> str:
        return self._bytes.getvalue().decode()

    def fields(self) -> dict[str, Any]:
        found = json.loads(self.text.splitlines()[-1])
        assert isinstance(found, dict)
        return found


@pytest.fixture
def output() -> Iterator[Output]:
    """The root logger writes here; it is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield Output()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_fields_of_a_json_line(output: Output) -> None:
    configure_logs("frontend", form="json", stream=output.stream)
    output.logger.warning("%d flows", 3, extra={"transport": "UDP", "call_id": "abc"})
    fields = output.fields()
    assert fields.pop("ts").endswith("+00:00")
    assert fields == {
        "level": "warning",
        "service": "frontend",
        "logger": "tests.telemetry",
        "message": "3 flows",
        "call_id": "abc",
        "transport": "UDP",
    }


def test_trace_and_call_of_the_context(output: Output) -> None:
    configure_logs("frontend", form="json", stream=output.stream)
    tracing = Tracing(None, exporter=InMemorySpanExporter())
    token = call_id_var.set("call-1")
    with tracing.tracer("frontend").start("outer") as span:
        output.logger.warning("within")
    call_id_var.reset(token)
    fields = output.fields()
    assert (fields["trace_id"], fields["span_id"], fields["call_id"]) == (span.trace_id, span.span_id, "call-1")
    output.logger.warning("after")
    assert not {"trace_id", "span_id", "call_id"} & set(output.fields())
    tracing.stop()


def test_exception_without_secrets(output: Output) -> None:
    configure_logs("frontend", form="json", stream=output.stream)
    try:
        raise ValueError("password=S3CRET")
    except ValueError:
        output.logger.exception("failed")
    assert "ValueError" in output.fields()["exception"]
    assert "S3CRET" not in output.text


@pytest.mark.parametrize("form", ["json", "text"])
def test_bytes_that_are_no_utf8_do_not_lose_the_line(output: Output, form: Any) -> None:
    configure_logs("frontend", form=form, stream=output.stream)
    output.logger.warning("from %s", b"ali\xffce".decode("utf-8", "surrogateescape"))
    assert "udcff" in output.text


def test_text_cannot_forge_a_line_or_reach_the_terminal(output: Output) -> None:
    configure_logs("frontend", form="text", stream=output.stream)
    output.logger.warning("bad\n12:00:00 INFO all is well\r\x1b[2J", extra={"call_id": "a\nb"})
    first, second, third = output.text.splitlines()
    assert first.endswith("WARNING tests.telemetry: bad")
    assert second.startswith("  | 12:00:00")
    assert "\\x0d\\x1b[2J" in second
    assert third == "  | b]"


def test_json_is_one_line(output: Output) -> None:
    configure_logs("frontend", form="json", stream=output.stream)
    output.logger.warning("bad\nline")
    assert output.text.count("\n") == 1


def test_level(output: Output) -> None:
    configure_logs("frontend", level="WARNING", form="auto", stream=output.stream)
    output.logger.info("nothing")
    assert output.text == ""
    output.logger.warning("something")
    assert output.fields()["message"] == "something"


def test_secrets_in_fields(output: Output) -> None:
    configure_logs("frontend", form="json", stream=output.stream)
    secrets = {"password": "S3CRET", "headers": {"Authorization": "S3CRET", "via": "x"}, "raw": ["nt_hash=S3CRET"]}
    output.logger.warning("seen", extra=secrets)
    assert "S3CRET" not in output.text
    assert output.fields()["headers"]["via"] == "x"


@pytest.mark.parametrize(
    "text",
    [
        'Authorization: Digest username="a", response="S3CRET"',
        'REGISTER sip:x SIP/2.0\r\nProxy-Authorization: NTLM gssapi-data="S3CRET"\r\nVia: x',
        repr(b'REGISTER sip:x SIP/2.0\r\nAuthorization: NTLM gssapi-data="S3CRET"\r\nVia: x\r\n'),
        "sent Authorization: Basic S3CRET",
        'Authentication-Info: rspauth="S3CRET"',
        'digest response="S3CRET", nc=1',
        "{'password': 'S3CRET'}",
        '{"password": "S3CRET \\" S3CRET"}',
        "demo_password=S3CRET",
        "client_secret: S3CRET",
        "ha1_md5=S3CRET",
        "nt_hash: b'S3CRET'",
        "master_key=S3CRET",
        "redis://:S3CRET@host:6379/0",
        "rediss://user:S3CRET@host/0 is away",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:S3CRET|2^20",
    ],
)
def test_redacted(text: str) -> None:
    assert "S3CRET" not in redact(text)
    assert "[redacted]" in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "response: 503 Service Unavailable",
        "listening on 127.0.0.1:5060",
        "sip:alice@example.test;transport=tls",
        "redis://host:6379/0 is away",
        "status=503, reason=x",
        'nonce="abc", realm="example.test"',
    ],
)
def test_left_as_it_is(text: str) -> None:
    assert redact(text) == text


def test_rest_of_a_message_stays() -> None:
    text = redact("REGISTER sip:x SIP/2.0\r\nAuthorization: Digest x\r\nVia: y\r\n")
    assert text == "REGISTER sip:x SIP/2.0\r\nAuthorization: [redacted]\r\nVia: y\r\n"
    assert redact(repr(b"Authorization: Digest x\r\nVia: y")) == "b'Authorization: [redacted]\\r\\nVia: y'"


def test_fields() -> None:
    assert redact_field("count", 3) == 3
    assert redact_field("ratio", 0.5) == 0.5
    assert redact_field("none", None) is None
    assert redact_field("demo_password", "x") == "[redacted]"
    assert redact_field("target", "redis://u:x@h") == "redis://u:[redacted]@h"
    assert redact_field("items", ("a", {"secret": 1})) == ["a", {"secret": "[redacted]"}]
