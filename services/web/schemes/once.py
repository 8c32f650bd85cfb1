"""What may be used once, at whichever replica: the registrar notes it."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from parley.platform.rpc.errors import RpcError
from parley.proto.registrar.v1.registrar_pb2 import OnceItem, OnceResult
from services.web.errors import HttpError

_MOST_MS: Final = 86_400_000
"""The registrar remembers nothing for longer."""


class OnceClient(Protocol):
    """The registrar's TakeOnce; see `parley.platform.rpc.batch.BatchClient`."""

    def submit(self, item: OnceItem, *, timeout: float) -> asyncio.Future[OnceResult]:
        """The result of one item, later."""


class Once:
    """Asks the registrar."""

    def __init__(self, client: OnceClient, *, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s

    async def take(self, digest: bytes, seconds: float) -> bool:
        """Uses something; whether nobody had before. ``digest``: SHA-256; ``seconds``: how long it is remembered, at most a
        day. Raises HttpError 503.
        """
        return await self._ask(OnceItem(digest=digest, ttl_ms=min(_MOST_MS, max(1, round(seconds * 1000)))))

    async def was_taken(self, digest: bytes) -> bool:
        """Whether somebody has used it. Raises HttpError 503."""
        return not await self._ask(OnceItem(digest=digest, look=True))

    async def _ask(self, item: OnceItem) -> bool:
        try:
            result = await self._client.submit(item, timeout=self._timeout_s)
        except RpcError as error:
            raise HttpError.of(error) from None
        if result.status.code:
            raise HttpError.of(RpcError.from_number(result.status.code, result.status.message))
        return result.first
