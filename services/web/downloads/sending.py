"""Sends a file that another service keeps: what the request gets of it (`conditions`), piece by piece, as it is taken.

Only so many are under way at a time, of all and of one user. When the service behind fails in the middle, the connection is
cut, so nobody takes a part for the whole; the client goes on from there with Range and If-Range.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing, contextmanager
from typing import Any, Final

from aiohttp import web

from parley.platform.rpc.errors import RpcError
from services.web.downloads.conditions import FileInfo, Part, part_of
from services.web.errors import HttpError
from services.web.metrics import DOWNLOADS, refused
from services.web.routes import caller_of, headers_of

logger = logging.getLogger(__name__)

SECONDS: Final = 900.0
"""Longest time for a download; one that ends before goes on with Range."""
BINARY: Final = "application/octet-stream"
_OUTCOMES: Final = {200: "whole", 206: "part", 304: "unchanged", 416: "refused"}

Reader = Callable[[int, int], Any]
"""Gives ``count`` bytes from ``first``, as messages with ``data``. Raises RpcError."""


class Downloads:
    """Counts what is under way, and sends."""

    def __init__(self, *, most: int, most_per_user: int) -> None:
        """``most``: at a time."""
        self._most = most
        self._most_per_user = most_per_user
        self._users: Counter[str] = Counter()

    async def send(
        self, request: web.Request, area: str, file: FileInfo, read: Reader, *, name: str = "", content_type: str = BINARY
    ) -> web.StreamResponse:
        """The answer. ``area``: for metrics; ``name``: what a browser calls the file. Raises HttpError, RpcError."""
        part = part_of(file, request.headers, request.method)
        if part.status == 412:
            raise HttpError(412, "the file is another one now")
        response = web.StreamResponse(status=part.status, headers=_headers(file, part, name))
        if part.status in (304, 416):
            DOWNLOADS.labels(area, _OUTCOMES[part.status]).inc()
            return _empty(part.status, response)
        response.content_type = content_type
        response.content_length = part.count
        if request.method == "HEAD" or not part.count:
            DOWNLOADS.labels(area, "head").inc()
            return await self._begin(request, response)
        with self.slot(request):
            return await self._stream(request, response, area, read(part.first, part.count), part)

    async def send_all(self, request: web.Request, area: str, messages: Any) -> web.StreamResponse:
        """What is sent whole, its size being told by its end. Raises HttpError, RpcError."""
        response = web.StreamResponse(headers={"Content-Disposition": "attachment"})
        response.content_type = BINARY
        with self.slot(request):
            return await self._stream(request, response, area, messages, Part(200))

    async def _stream(
        self, request: web.Request, response: web.StreamResponse, area: str, messages: Any, part: Part
    ) -> web.StreamResponse:
        """``part``: its count is how many bytes have to come; 0: any."""
        left = part.count
        async with aclosing(_pieces(messages)) as pieces:
            # What fails before the first byte has an answer of its own.
            first = await anext(pieces, b"")
            await self._begin(request, response)
            try:
                await response.write(first)
                left -= len(first)
                async for piece in pieces:
                    await response.write(piece)
                    left -= len(piece)
                if part.count and left:
                    raise ConnectionError(f"{left} bytes are missing")
                await response.write_eof()
            except BaseException as error:
                DOWNLOADS.labels(area, "broken").inc()
                logger.info("a file was sent in part: %s", error or type(error).__name__)
                if request.transport is not None:
                    request.transport.abort()
                if isinstance(error, RpcError):
                    raise ConnectionError("the service that keeps the file failed") from None
                raise
        DOWNLOADS.labels(area, _OUTCOMES[part.status]).inc()
        return response

    async def _begin(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        for header, value in headers_of(request):
            response.headers.add(header, value)
        await response.prepare(request)
        return response

    @contextmanager
    def slot(self, request: web.Request) -> Any:
        """Counts a transfer, either way, for the block. Raises HttpError 503 when there are too many."""
        user = _user(request)
        if self._users.total() >= self._most or self._users[user] >= self._most_per_user:
            refused("downloads")
            raise HttpError(503, "too many transfers at a time", headers=[("Retry-After", "20")])
        self._users[user] += 1
        try:
            yield
        finally:
            self._users[user] -= 1
            if not self._users[user]:
                del self._users[user]


def _headers(file: FileInfo, part: Part, name: str) -> dict[str, str]:
    headers = {
        "ETag": file.etag, "Last-Modified": file.last_modified, "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
    }  # fmt: skip
    if part.content_range(file.size):
        headers["Content-Range"] = part.content_range(file.size)
    if name:
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return headers


def _empty(status: int, response: web.StreamResponse) -> web.Response:
    return web.Response(status=status, headers=response.headers)


def _user(request: web.Request) -> str:
    """Who counts as one: a user, or where a request comes from that needs none."""
    try:
        return caller_of(request).address
    except KeyError:
        return request.remote or ""


async def _pieces(messages: Any) -> Any:
    async with aclosing(messages):
        async for message in messages:
            if message.data:
                yield bytes(message.data)
