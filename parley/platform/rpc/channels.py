"""Channels: the same generated stubs whether the service is in this process or behind the network.

A channel looks at every call for a servicer of its service in this process; when there is none it goes to its target over
grpc.aio. Failures are `RpcError` both ways. A peer that is away fails a call at once, and one that takes a connection but
says nothing within a second, so that nobody waits for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Protocol

import grpc
from google.protobuf.message import Message as ProtoMessage
from grpc import StatusCode

from parley.platform.rpc.errors import RpcError
from parley.platform.rpc.interceptors import call_stream, call_unary
from parley.platform.rpc.local import LocalServices

OPTIONS: Final[list[tuple[str, Any]]] = [
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),  # a machine that fails says no goodbye, also on a connection at rest
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.max_receive_message_length", 8 * 1024 * 1024),
    ("grpc.max_send_message_length", 8 * 1024 * 1024),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),  # in spite of its name: how long one attempt to connect may take
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    ("grpc.client_idle_timeout_ms", 120_000),  # else a pod that is gone is connected to every other second, for ever
    ("grpc.enable_retries", 1),  # of calls alone that a server closing a connection did not take; no others are configured
]
"""Of clients and servers: both ends must agree on how often keepalive pings may come."""

DEFAULT_TIMEOUT_S: Final = 5.0
"""Of a unary call that names none."""


class Connector(Protocol):
    """How a channel reaches another process."""

    def connect(self) -> Any:
        """A new ``grpc.aio`` channel. Raises ValueError when no address is known, OSError when a file cannot be read."""

    def is_stale(self) -> bool:
        """Whether what `connect` gave last is to be replaced, as certificates changed."""


class Channel:
    """Calls to one service; give it to a generated stub, a `BatchClient` or a `DuplexClient`."""

    def __init__(self, service: str, local: LocalServices | None, connector: Connector) -> None:
        """``local``: where the service may be in this process; None: never look."""
        self._service = service
        self._local = local
        self._connector = connector
        self._remote: Any = None
        self._retired: list[Any] = []
        self._calls: dict[str, Any] = {}

    def stub(self, stub_class: Callable[..., Any]) -> Any:
        """A generated stub over this channel; annotate it with the type of its asynchronous form."""
        return stub_class(self)

    def handler(self, path: str) -> Any | None:
        """The serving method when it lives in this process."""
        return self._local.handler(self._service, path) if self._local is not None else None

    def open_stream(self, path: str, request_type: type[ProtoMessage], response_type: type[ProtoMessage]) -> Any:
        """A new stream-stream call; it fails at once when the service is away. Raises RpcError."""
        return (
            self._channel()
            .stream_stream(
                path,
                request_serializer=request_type.SerializeToString,
                response_deserializer=response_type.FromString,
            )(wait_for_ready=False)
        )  # fmt: skip

    def unary_unary(
        self, path: str, request_serializer: Any = None, response_deserializer: Any = None, **_: Any
    ) -> Callable[..., Any]:
        """What generated stubs ask for: a coroutine function of a request, with ``timeout`` in seconds."""

        return self._one_answer("unary_unary", path, request_serializer, response_deserializer)

    def stream_unary(
        self, path: str, request_serializer: Any = None, response_deserializer: Any = None, **_: Any
    ) -> Callable[..., Any]:
        """The same for calls whose requests are a stream: a coroutine function of an asynchronous iterator."""
        return self._one_answer("stream_unary", path, request_serializer, response_deserializer)

    def unary_stream(
        self, path: str, request_serializer: Any = None, response_deserializer: Any = None, **_: Any
    ) -> Callable[..., AsyncIterator[Any]]:
        """The same for calls whose answer is a stream: a function of a request that gives an asynchronous iterator.

        ``timeout``, in seconds, is that of all answers together. Whoever does not read to the end closes it (``aclose``).
        """
        known_of = self._known("unary_stream", path, request_serializer, response_deserializer)

        async def call(request: Any, *, timeout: float = DEFAULT_TIMEOUT_S) -> AsyncIterator[Any]:
            if self._local is not None and self._local.handler(self._service, path) is not None:
                answers = self._local.stream(self._service, path, request, timeout)
            else:
                answers = call_stream(known_of(), request, method=path, timeout=timeout)
            try:
                async for answer in answers:
                    yield answer
            finally:
                await answers.aclose()

        return call

    def _one_answer(self, kind: str, path: str, serializer: Any, deserializer: Any) -> Callable[..., Any]:
        known_of = self._known(kind, path, serializer, deserializer)

        async def call(request: Any, *, timeout: float = DEFAULT_TIMEOUT_S) -> Any:
            local = self._local
            if local is not None and local.handler(self._service, path) is not None:
                return await local.call(self._service, path, request, timeout)
            return await call_unary(known_of(), request, method=path, timeout=timeout)

        return call

    def _known(self, kind: str, path: str, serializer: Any, deserializer: Any) -> Callable[[], Any]:
        """What gives the call of the channel that there is now; ``kind``: as grpc names it."""

        def known_of() -> Any:
            channel = self._channel()
            known = self._calls.get(path)
            if known is None:
                make = getattr(channel, kind)
                known = self._calls[path] = make(path, request_serializer=serializer, response_deserializer=deserializer)
            return known

        return known_of

    def stream_stream(self, path: str, **_: Any) -> Any:
        """Streams are used through `BatchClient` and `DuplexClient`; stubs only need the attribute."""
        return None

    async def close(self) -> None:
        """Closes the connection."""
        channels = [channel for channel in (self._remote, *self._retired) if channel is not None]
        self._remote = None
        self._retired.clear()
        self._calls.clear()
        for channel in channels:
            await channel.close()

    def _channel(self) -> Any:
        if self._remote is not None and not self._connector.is_stale():
            return self._remote
        try:
            fresh = self._connector.connect()
        except (ValueError, OSError) as error:
            if self._remote is not None:
                return self._remote
            raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None
        if self._remote is not None:
            self._retired.append(self._remote)
            self._calls.clear()
        self._remote = fresh
        return fresh


def remote_channel(target: str, credentials: grpc.ChannelCredentials | None, *, server_name: str = "") -> grpc.aio.Channel:
    """A grpc.aio channel to ``host:port``, ``dns:///name:port`` or ``unix:/path``.

    ``server_name``: the name that the other's certificate must have; by default that of the target.
    """
    if credentials is None or target.startswith("unix:"):
        return grpc.aio.insecure_channel(target, options=OPTIONS)
    options = [*OPTIONS, ("grpc.ssl_target_name_override", server_name)] if server_name else OPTIONS
    return grpc.aio.secure_channel(target, credentials, options=options)
