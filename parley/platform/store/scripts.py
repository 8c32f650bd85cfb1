"""Server-side scripts: loaded once, called by their digest, many at a time in one round trip.

Every caller of the process goes through here, so a server that was restarted or changed gets the script again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from parley.platform.store.errors import StoreError
from parley.platform.store.link import Arg, Link

if TYPE_CHECKING:
    from parley.platform.store.client import Store

Call = tuple[Sequence[str], Sequence[Arg]]
"""Keys and arguments of one call; all keys of a call share a hash tag."""


class Script:
    """A Lua script. Its calls are atomic, each on its own."""

    def __init__(self, store: Store, name: str, source: str) -> None:
        self.name = name
        self._store = store
        self._source = source
        self._sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, keys: Sequence[str], args: Sequence[Arg]) -> Any:
        """The reply of one call. Raises StoreError."""
        (reply,) = await self.many([(keys, args)])
        if isinstance(reply, BaseException):
            raise reply
        return reply

    async def durable(self, keys: Sequence[str], args: Sequence[Arg]) -> Any:
        """The reply of one call, when what it wrote is on disk. Raises StoreError, StoreNotDurable."""
        key = keys[0]
        try:
            return await self._store.durable("EVALSHA", self._sha, len(keys), *keys, *args, key=key)
        except StoreError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise
            return await self._store.durable("EVAL", self._source, len(keys), *keys, *args, key=key)

    async def many(self, calls: Sequence[Call], traceparents: Sequence[str] = ()) -> list[Any]:
        """Replies in the order of the calls; a failed one is a StoreError in its place.

        ``traceparents``, one for each call, make each a span of its own trace.
        """
        tracer = self._store.tracer
        spans = [
            tracer.start(f"redis {self.name}", kind="client", parent=parent, attributes={"db.system": "redis"})
            for parent in (traceparents if tracer.enabled else ())
        ]
        try:
            replies = await self._many(calls)
        except BaseException:
            for span in spans:
                span.end("error")
            raise
        for span, reply in zip(spans, replies, strict=False):
            span.end("error" if isinstance(reply, BaseException) else "ok")
        return replies

    async def _many(self, calls: Sequence[Call]) -> list[Any]:
        store = self._store
        sha = self._sha
        futures: list[asyncio.Future[Any] | asyncio.Task[Any]] = []
        links: list[Link | None] = []
        for keys, args in calls:
            link = store.link_now(keys[0])
            links.append(link)
            if link is None:
                futures.append(asyncio.ensure_future(self._find_and_send(keys, args)))
            else:
                futures.append(link.submit(("EVALSHA", sha, len(keys), *keys, *args)))
        replies: list[Any] = []
        for index, future in enumerate(futures):
            try:
                replies.append(await future)
            except StoreError as error:
                replies.append(await self._again(*calls[index], error))
            except BaseException:
                for other in futures[index:]:
                    other.cancel()
                raise
        return replies

    async def _find_and_send(self, keys: Sequence[str], args: Sequence[Arg]) -> Any:
        link = await self._store.link(keys[0])
        return await link.submit(("EVAL", self._source, len(keys), *keys, *args))

    async def _again(self, keys: Sequence[str], args: Sequence[Arg], error: StoreError) -> Any:
        """The reply from a server that had not executed the call for want of the script or the keys; else the error."""
        with_source = ("EVAL", self._source, len(keys), *keys, *args)
        try:
            if str(error).startswith("NOSCRIPT"):
                return await self._store.execute(*with_source, key=keys[0])
            return await self._store.resend(keys[0], with_source, error)
        except StoreError as final:
            return final
