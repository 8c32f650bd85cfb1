"""The services of this process: they are called through the same generated types, without a socket in between.

A servicer that is called here gets None as its context, and requests and answers are not copied: whoever hands a message
over does not change it any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from grpc import StatusCode

from parley.platform.rpc.errors import RpcError
from parley.platform.rpc.interceptors import serve_stream, serve_unary
from parley.platform.telemetry.tracing import NO_TRACER, Tracer, current_span


class LocalServices:
    """Servicers by the full name of their service ("parley.registrar.v1.Registrar")."""

    def __init__(self, tracer: Tracer = NO_TRACER) -> None:
        """``tracer``: for services that are added without one."""
        self._tracer = tracer
        self._servicers: dict[str, Any] = {}
        self._tracers: dict[str, Tracer] = {}

    def add(self, name: str, servicer: Any, tracer: Tracer | None = None) -> None:
        """Makes a service known."""
        self._servicers[name] = servicer
        if tracer is not None:
            self._tracers[name] = tracer

    def tracer_of(self, name: str) -> Tracer:
        """The tracer for calls to a service."""
        return self._tracers.get(name, self._tracer)

    def handler(self, service: str, path: str) -> Any | None:
        """The serving method; None when the service is not here."""
        return self._method(service, path) if service in self._servicers else None

    def _method(self, service: str, path: str) -> Any:
        """The serving method of a service that is here."""
        return getattr(self._servicers[service], path.rpartition("/")[2])

    async def call(self, service: str, path: str, request: Any, timeout: float) -> Any:
        """A call to a service that is here and gives one answer; ``timeout`` in seconds. Raises RpcError.

        ``request``: one, or an asynchronous iterator of them.
        """
        served = serve_unary(
            self._method(service, path),
            request,
            None,
            method=path,
            tracer=self.tracer_of(service),
            parent=current_span(),
        )
        try:
            async with asyncio.timeout(timeout):
                return await served
        except TimeoutError:
            raise RpcError(StatusCode.DEADLINE_EXCEEDED, "no answer in time") from None

    async def stream(self, service: str, path: str, request: Any, timeout: float) -> AsyncGenerator[Any, None]:
        """A call to a service that is here and answers with a stream; ``timeout`` in seconds, for all. Raises RpcError."""
        served = serve_stream(
            self._method(service, path),
            request,
            None,
            method=path,
            tracer=self.tracer_of(service),
            parent=current_span(),
        )
        deadline = asyncio.get_running_loop().time() + timeout
        try:
            while True:
                async with asyncio.timeout_at(deadline):
                    answer = await anext(served, None)
                if answer is None:
                    return
                yield answer
        except TimeoutError:
            raise RpcError(StatusCode.DEADLINE_EXCEEDED, "no answer in time") from None
        finally:
            await served.aclose()
