"""Structured logs: one JSON object a line, with trace id and Call-ID; coloured text on a terminal.

``extra={"call_id": ...}`` names the call, everything else in ``extra`` becomes a field. Trace and span come from the
current span. Secrets are redacted. Whatever a message holds (text from the network is not to be trusted), it is one line of
JSON, or lines of text of which only the first looks like a line of the log, and it can be encoded.
"""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final, Literal, TextIO

from parley.platform.telemetry.redaction import redact, redact_field
from parley.platform.telemetry.repeats import RepeatFilter
from parley.platform.telemetry.resource import POD_NAME, POD_UID, environment_attributes
from parley.platform.telemetry.tracing import current_span

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "color_message",
}

_VISIBLE: Final = {
    **{number: f"\\x{number:02x}" for number in (*range(32), *range(127, 160))},
    9: "\t",
    10: "\n  | ",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}

call_id_var: ContextVar[str] = ContextVar("parley_call_id", default="")
"""Call-ID of the request that is being handled, for log lines of code that does not know it."""


class JsonFormatter(logging.Formatter):
    """Fields: ts, level, service, logger, message, trace_id, span_id, call_id, and what ``extra`` brings.

    In a cluster also pod and pod_uid, where the environment tells (``OTEL_RESOURCE_ATTRIBUTES``).
    """

    def __init__(self, service: str) -> None:
        super().__init__()
        outside = environment_attributes()
        names = {"pod": outside.get(POD_NAME), "pod_uid": outside.get(POD_UID)}
        self._origin = {"service": service, **{name: value for name, value in names.items() if value}}

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        fields: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            **self._origin,
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        span = current_span()
        if span.traceparent:
            fields["trace_id"] = span.trace_id
            fields["span_id"] = span.span_id
        call_id = getattr(record, "call_id", None) or call_id_var.get()
        if call_id:
            fields["call_id"] = call_id
        for key, value in vars(record).items():
            if key not in _STANDARD and key not in fields:
                fields[key] = redact_field(key, value)
        if record.exc_info:
            fields["exception"] = redact(self.formatException(record.exc_info))
        return _encodable(json.dumps(fields, default=str, ensure_ascii=False))


class TextFormatter(logging.Formatter):
    """For people at a terminal."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback if there is one."""
        text = redact(super().format(record))
        call_id = getattr(record, "call_id", None) or call_id_var.get()
        return _encodable(f"{text} [{_visible(str(call_id))}]" if call_id else text)

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The first line, and the others set off."""
        record.message = _visible(record.message)
        return super().formatMessage(record)


def _visible(text: str) -> str:
    """The text without control characters; further lines begin with a mark."""
    return text if text.isprintable() else text.translate(_VISIBLE)


def _encodable(text: str) -> str:
    """The text without lone surrogates, which stand for bytes of SIP messages that are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def configure_logs(
    service: str,
    *,
    level: str = "INFO",
    form: Literal["auto", "json", "text"] = "auto",
    stream: TextIO | None = None,
) -> None:
    """Sends the root logger to ``stream`` (standard error); ``auto`` writes text to a terminal and JSON elsewhere."""
    target = stream if stream is not None else sys.stderr
    text = form == "text" or (form == "auto" and target.isatty())
    handler = logging.StreamHandler(target)
    handler.setFormatter(TextFormatter() if text else JsonFormatter(service))
    handler.addFilter(RepeatFilter("aiokafka"))  # it tells of a broker that is away at every try
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("aiokafka", "grpc", "aiohttp.access", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
