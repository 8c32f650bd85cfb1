"""Channels: the same generated stubs whether the service is in this process or behind the network.

A channel asks the host for a servicer of its service at every call; when there is none it goes to its target over
grpc.aio. Failures are `RpcError` both ways.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import grpc
from google.protobuf.message import Message as ProtoMessage
from grpc import StatusCode

from parley.platform.rpc.errors import RpcError
from parley.platform.telemetry.tracing import current_span

OPTIONS: Final[list[tuple[str, Any]]] = [
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", 8 * 1024 * 1024),
    ("grpc.max_send_message_length", 8 * 1024 * 1024),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.enable_retries", 0),
]

DEFAULT_TIMEOUT_S: Final = 5.0


class Channel:
    """Calls to one service; give it to a generated stub, a `BatchClient` or a `DuplexClient`."""

    def __init__(self, service: str, find_local: Callable[[str], Any | None], connect: Callable[[], Any]) -> None:
        """``find_local`` gives the servicer of a service in this process; ``connect`` a ``grpc.aio`` channel."""
        self._service = service
        self._find_local = find_local
        self._connect = connect
        self._remote: Any = None

    def stub(self, stub_class: Callable[..., Any]) -> Any:
        """A generated stub over this channel; annotate it with the type of its asynchronous form."""
        return stub_class(self)

    def handler(self, path: str) -> Any | None:
        """The serving method when it lives in this process."""
        servicer = self._find_local(self._service)
        return None if servicer is None else getattr(servicer, path.rpartition("/")[2])

    def open_stream(self, path: str, request_type: type[ProtoMessage], response_type: type[ProtoMessage]) -> Any:
        """A new stream-stream call; it fails at once when the service is away."""
        return self._channel().stream_stream(
            path,
            request_serializer=request_type.SerializeToString,
            response_deserializer=response_type.FromString,
        )(wait_for_ready=False)

    def unary_unary(
        self, path: str, request_serializer: Any = None, response_deserializer: Any = None, **_: Any
    ) -> Callable[..., Any]:
        """What generated stubs ask for."""

        async def call(request: Any, *, timeout: float = DEFAULT_TIMEOUT_S) -> Any:
            method = self.handler(path)
            if method is not None:
                return await _call_here(method, request, timeout)
            multicallable = self._channel().unary_unary(
                path, request_serializer=request_serializer, response_deserializer=response_deserializer
            )
            traceparent = current_span().traceparent
            metadata = (("traceparent", traceparent),) if traceparent else None
            try:
                return await multicallable(request, timeout=timeout, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                raise RpcError.from_grpc(error) from None

        return call

    def stream_stream(self, path: str, **_: Any) -> Any:
        """Streams are used through `BatchClient` and `DuplexClient`; stubs only need the attribute."""
        return None

    async def close(self) -> None:
        """Closes the connection."""
        if self._remote is not None:
            await self._remote.close()
            self._remote = None

    def _channel(self) -> Any:
        if self._remote is None:
            self._remote = self._connect()
        return self._remote


async def _call_here(method: Any, request: Any, timeout: float) -> Any:
    try:
        async with asyncio.timeout(timeout):
            return await method(request, None)
    except TimeoutError:
        raise RpcError(StatusCode.DEADLINE_EXCEEDED, "no answer in time") from None


def remote_channel(target: str, credentials: grpc.ChannelCredentials | None) -> Any:
    """A grpc.aio channel to ``host:port``, ``dns:///name:port`` or ``unix:/path``."""
    if credentials is None or target.startswith("unix:"):
        return grpc.aio.insecure_channel(target, options=OPTIONS)
    return grpc.aio.secure_channel(target, credentials, options=OPTIONS)
