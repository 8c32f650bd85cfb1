"""Telemetry and errors around unary calls, so that servicers hold neither.

A servicer raises `RpcError` to fail with a status; anything else it raises is logged and becomes INTERNAL without its
text. Every call is a server span under the caller's trace context.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from prometheus_client import Counter, Histogram

from parley.platform.rpc.errors import RpcError
from parley.platform.telemetry.tracing import Tracer

logger = logging.getLogger(__name__)

_CALLS = Counter("parley_rpc_calls_total", "Unary calls served, by status", ["method", "code"])
_SECONDS = Histogram("parley_rpc_call_duration_seconds", "Time to serve a unary call", ["method"])


class ServerInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic for type checkers alone
    """Wraps unary-unary handlers; streams are traced item by item by their own code."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """Called by grpc for every call."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_streaming or handler.response_streaming:
            return handler
        method = handler_call_details.method
        if method.startswith("/grpc."):
            return handler
        metadata = dict(handler_call_details.invocation_metadata or ())
        return grpc.unary_unary_rpc_method_handler(
            self._wrap(handler.unary_unary, method, str(metadata.get("traceparent") or "")),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _wrap(self, serve: Any, method: str, parent: str) -> Any:
        name = method.rpartition("/")[2]

        async def wrapped(request: Any, context: Any) -> Any:
            begun = time.perf_counter()
            code = "OK"
            try:
                with self._tracer.start(f"rpc {name}", kind="server", parent=parent):
                    return await serve(request, context)
            except RpcError as error:
                code = error.code.name
                failure = (error.code, error.message)
            except Exception:
                logger.exception("%s failed", method)
                code = "INTERNAL"
                failure = (grpc.StatusCode.INTERNAL, "internal error")
            finally:
                _CALLS.labels(name, code).inc()
                _SECONDS.labels(name).observe(time.perf_counter() - begun)
            return await context.abort(*failure)

        return wrapped
