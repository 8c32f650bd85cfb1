"""Telemetry and errors around calls, so that servicers and callers hold neither. Streams both ways are not wrapped.

A servicer raises `RpcError` to fail with a status; anything else it raises is logged and becomes INTERNAL without its
text. Every call is a server span under the caller's trace context. A call within the process goes through the same
`serve_unary` as one that came over the network.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc
from prometheus_client import Counter, Histogram

from parley.platform.rpc.errors import RpcError
from parley.platform.telemetry.tracing import Span, Tracer, current_span

logger = logging.getLogger(__name__)

_CALLS = Counter("parley_rpc_calls_total", "Calls served that are no batches, by status", ["method", "code"])
_SECONDS = Histogram("parley_rpc_call_duration_seconds", "Time to serve a call that is no batch", ["method"])
_CLIENT_CALLS = Counter(
    "parley_rpc_client_calls_total", "Calls made to other processes that are no batches, by status", ["method", "code"]
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


async def serve_stream(
    serve: Callable[[Any, Any], AsyncIterator[Any]], request: Any, context: Any, *, method: str, tracer: Tracer,
    parent: str | Span,
) -> AsyncGenerator[Any, None]:  # fmt: skip
    """Serves a call that is answered with a stream. Raises RpcError, and nothing else but cancellation.

    The span is not the current one of whoever reads the stream.
    """
    name = method.rpartition("/")[2]
    begun = time.perf_counter()
    code = "CANCELLED"
    span = tracer.start(f"rpc {name}", kind="server", parent=parent)
    try:
        async for answer in serve(request, context):
            yield answer
        code = "OK"
    except RpcError as error:
        code = error.code.name
        raise
    except Exception:
        logger.exception("%s failed", method)
        code = "INTERNAL"
        raise RpcError(grpc.StatusCode.INTERNAL, "internal error") from None
    finally:
        span.end("ok" if code == "OK" else "error")
        _CALLS.labels(name, code).inc()
        _SECONDS.labels(name).observe(time.perf_counter() - begun)


async def call_stream(multicallable: Any, request: Any, *, method: str, timeout: float) -> AsyncGenerator[Any, None]:
    """Makes one call to another process that is answered with a stream. Raises RpcError."""
    traceparent = current_span().traceparent
    metadata = ((TRACEPARENT, traceparent),) if traceparent else None
    code = "CANCELLED"
    call = multicallable(request, timeout=timeout, metadata=metadata)
    try:
        async for answer in call:
            yield answer
        code = "OK"
    except grpc.aio.AioRpcError as error:
        failure = RpcError.from_grpc(error)
        code = failure.code.name
        raise failure from None
    finally:
        call.cancel()
        _CLIENT_CALLS.labels(method.rpartition("/")[2], code).inc()


class ServerInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic for type checkers alone
    """Wraps handlers with one request or one answer; streams both ways are traced item by item by their own code."""

    def __init__(self, tracer_of: Callable[[str], Tracer]) -> None:
        """``tracer_of``: the tracer for the full name of a service."""
        self._tracer_of = tracer_of

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """Called by grpc for every call."""
        handler = await continuation(handler_call_details)
        if handler is None or (handler.request_streaming and handler.response_streaming):
            return handler
        method = handler_call_details.method
        if method.startswith("/grpc."):
            return handler
        metadata = dict(handler_call_details.invocation_metadata or ())
        parent = str(metadata.get(TRACEPARENT) or "")
        forms = {"request_deserializer": handler.request_deserializer, "response_serializer": handler.response_serializer}
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(self._wrap_stream(handler.unary_stream, method, parent), **forms)
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(self._wrap(handler.stream_unary, method, parent), **forms)
        return grpc.unary_unary_rpc_method_handler(self._wrap(handler.unary_unary, method, parent), **forms)

    def _wrap(self, serve: Any, method: str, parent: str) -> Any:
        tracer = self._tracer_of(method.split("/")[1])

        async def wrapped(request: Any, context: Any) -> Any:
            try:
                return await serve_unary(serve, request, context, method=method, tracer=tracer, parent=parent)
            except RpcError as error:
                failure = error
            return await context.abort(failure.code, failure.message)

        return wrapped

    def _wrap_stream(self, serve: Any, method: str, parent: str) -> Any:
        tracer = self._tracer_of(method.split("/")[1])

        async def wrapped(request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                async for answer in serve_stream(serve, request, context, method=method, tracer=tracer, parent=parent):
                    yield answer
                return
            except RpcError as error:
                failure = error
            await context.abort(failure.code, failure.message)

        return wrapped
