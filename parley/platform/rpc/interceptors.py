"""Telemetry and errors around unary calls, so that servicers and callers hold neither.

A servicer raises `RpcError` to fail with a status; anything else it raises is logged and becomes INTERNAL without its
text. Every call is a server span under the caller's trace context. A call within the process goes through the same
`serve_unary` as one that came over the network.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
from prometheus_client import Counter, Histogram

from parley.platform.rpc.errors import RpcError
from parley.platform.telemetry.tracing import Span, Tracer, current_span

logger = logging.getLogger(__name__)

_CALLS = Counter("parley_rpc_calls_total", "Unary calls served, by status", ["method", "code"])
_SECONDS = Histogram("parley_rpc_call_duration_seconds", "Time to serve a unary call", ["method"])
_CLIENT_CALLS = Counter(
    "parley_rpc_client_calls_total", "Unary calls made to other processes, by status", ["method", "code"]
)

TRACEPARENT: Final = "traceparent"
"""Metadata key of the trace context (W3C Trace Context)."""


async def serve_unary(
    serve: Callable[[Any, Any], Awaitable[Any]],
    request: Any,
    context: Any,
    *,
    method: str,
    tracer: Tracer,
    parent: str | Span,
) -> Any:
    """Serves one call. Raises RpcError, and nothing else but cancellation."""
    name = method.rpartition("/")[2]
    begun = time.perf_counter()
    code = "OK"
    try:
        with tracer.start(f"rpc {name}", kind="server", parent=parent):
            return await serve(request, context)
    except RpcError as error:
        code = error.code.name
        raise
    except Exception:
        logger.exception("%s failed", method)
        code = "INTERNAL"
        raise RpcError(grpc.StatusCode.INTERNAL, "internal error") from None
    except BaseException:
        code = "CANCELLED"
        raise
    finally:
        _CALLS.labels(name, code).inc()
        _SECONDS.labels(name).observe(time.perf_counter() - begun)


async def call_unary(multicallable: Any, request: Any, *, method: str, timeout: float) -> Any:
    """Makes one call to another process, with the trace context of this one. Raises RpcError."""
    traceparent = current_span().traceparent
    metadata = ((TRACEPARENT, traceparent),) if traceparent else None
    code = "CANCELLED"
    try:
        answer = await multicallable(request, timeout=timeout, metadata=metadata)
        code = "OK"
    except grpc.aio.AioRpcError as error:
        failure = RpcError.from_grpc(error)
        code = failure.code.name
        raise failure from None
    finally:
        _CLIENT_CALLS.labels(method.rpartition("/")[2], code).inc()
    return answer


class ServerInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic for type checkers alone
    """Wraps unary-unary handlers; streams are traced item by item by their own code."""

    def __init__(self, tracer_of: Callable[[str], Tracer]) -> None:
        """``tracer_of``: the tracer for the full name of a service."""
        self._tracer_of = tracer_of

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
            self._wrap(handler.unary_unary, method, str(metadata.get(TRACEPARENT) or "")),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _wrap(self, serve: Any, method: str, parent: str) -> Any:
        tracer = self._tracer_of(method.split("/")[1])

        async def wrapped(request: Any, context: Any) -> Any:
            try:
                return await serve_unary(serve, request, context, method=method, tracer=tracer, parent=parent)
            except RpcError as error:
                failure = error
            return await context.abort(failure.code, failure.message)

        return wrapped
