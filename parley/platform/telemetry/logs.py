"""Structured logs: one JSON object a line, with trace id and Call-ID; coloured text on a terminal.

``extra={"call_id": ...}`` names the call, everything else in ``extra`` becomes a field. Trace and span come from the
current span. Secrets are redacted.
"""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final, Literal, TextIO

from parley.platform.telemetry.redaction import redact
from parley.platform.telemetry.tracing import current_span

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "color_message",
}

call_id_var: ContextVar[str] = ContextVar("parley_call_id", default="")
"""Call-ID of the request that is being handled, for log lines of code that does not know it."""


class JsonFormatter(logging.Formatter):
    """Fields: ts, level, service, logger, message, trace_id, span_id, call_id, and what ``extra`` brings."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        fields: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
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
                fields[key] = redact(value) if isinstance(value, str) else value
        if record.exc_info:
            fields["exception"] = redact(self.formatException(record.exc_info))
        return json.dumps(fields, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """For people at a terminal."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback if there is one."""
        text = redact(super().format(record))
        call_id = getattr(record, "call_id", None) or call_id_var.get()
        return f"{text} [{call_id}]" if call_id else text


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
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("aiokafka", "grpc", "aiohttp.access", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
