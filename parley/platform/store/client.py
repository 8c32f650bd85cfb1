"""The store of a process: one Redis, one behind Sentinels, or a Redis Cluster, with the same calls.

Keys that change together share a hash tag, so scripts run on a cluster as well. A hot command costs one entry in a
pipeline that all callers share (`link`); a durable write is answered when the server has it on disk (WAITAOF), and all
that are under way at a time share one such wait.
"""

from __future__ import annotations

import asyncio
import importlib.resources
import logging
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.crc import key_slot

from parley.platform.config import RedisConfig
from parley.platform.store.errors import StoreError, StoreNotDurable, StoreUnavailable
from parley.platform.store.link import Address, Arg, Link
from parley.platform.store.scripts import Script
from parley.platform.telemetry.tracing import NO_TRACER, Tracer

logger = logging.getLogger(__name__)

_DURABLE_TIMEOUT_MS = 3_000


def parse_url(url: str, password: str = "") -> Address:
    """``redis://[:password@]host:port/db`` or ``unix:///path``. Raises ValueError."""
    parts = urlsplit(url)
    secret = parts.password or password
    if parts.scheme == "unix":
        return Address(path=parts.path, password=secret)
    if parts.scheme != "redis" or not parts.hostname:
        raise ValueError(f"not a Redis URL: {url!r}; write redis://host:port/0 or unix:///path")
    database = parts.path.strip("/")
    return Address(parts.hostname, parts.port or 6379, password=secret, database=int(database or 0))


class Store:
    """Commands and scripts; make it in a running event loop, it connects when first used."""

    def __init__(self, config: RedisConfig, *, tracer: Tracer = NO_TRACER, timeout_s: float = 2.0) -> None:
        self.tracer = tracer
        self._config = config
        self._timeout_s = timeout_s
        self._links: dict[tuple[Address, str], Link] = {}
        self._slots: list[Address] | None = None
        self._master: Address | None = None
        self._finding: asyncio.Task[Any] | None = None
        self._durable_queue: list[tuple[str, Sequence[Arg], asyncio.Future[Any]]] = []
        self._durable_task: asyncio.Task[None] | None = None

    @property
    def is_cluster(self) -> bool:
        """Whether keys are spread over several servers."""
        return self._config.cluster

    def script(self, package: str, name: str) -> Script:
        """A server-side script that is packaged beside the code, as ("services.registrar", "bindings.lua")."""
        source = importlib.resources.files(package).joinpath(name).read_text()
        return Script(self, name.removesuffix(".lua"), source)

    async def execute(self, *args: Arg, key: str | None = None) -> Any:
        """The reply to a command; ``key`` says where it belongs when that is not its first argument."""
        where = key if key is not None else str(args[1]) if len(args) > 1 else ""
        link = await self.link(where)
        try:
            return await link.submit(args)
        except StoreError as error:
            if not self._moved(error):
                raise
            link = await self.link(where)
            return await link.submit(args)

    async def pipeline(self, commands: Sequence[Sequence[Arg]]) -> list[Any]:
        """The replies to several commands, sent together; a failed one is a StoreError in its place."""
        futures = [self.execute(*command) for command in commands]
        return list(await asyncio.gather(*futures, return_exceptions=True))

    async def durable(self, *args: Arg, key: str | None = None) -> Any:
        """The reply to a write, when it is on disk. Raises StoreNotDurable when that was not confirmed."""
        where = key if key is not None else str(args[1])
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._durable_queue.append((where, args, future))
        if self._durable_task is None or self._durable_task.done():
            self._durable_task = asyncio.get_running_loop().create_task(self._write_durably())
        return await future

    async def close(self) -> None:
        """Closes all connections."""
        for task in (self._durable_task, self._finding):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        for link in self._links.values():
            await link.close()
        self._links.clear()

    # Where keys live

    def link_now(self, key: str) -> Link | None:
        """The connection for a key when it is known without asking anyone."""
        address = self._address_now(key)
        return self._link(address, "") if address is not None else None

    async def link(self, key: str, purpose: str = "") -> Link:
        """The connection for a key. Raises StoreUnavailable."""
        address = self._address_now(key)
        if address is None:
            await self._find()
            address = self._address_now(key)
            if address is None:
                raise StoreUnavailable("no Redis server holds that key")
        return self._link(address, purpose)

    def _address_now(self, key: str) -> Address | None:
        if self._config.cluster:
            return self._slots[key_slot(key.encode())] if self._slots is not None else None
        if self._config.sentinels:
            return self._master
        if self._master is None:
            self._master = parse_url(self._config.url, self._config.password.get_secret_value())
        return self._master

    def _link(self, address: Address, purpose: str) -> Link:
        link = self._links.get((address, purpose))
        if link is None:
            timeout = self._timeout_s if not purpose else _DURABLE_TIMEOUT_MS / 1000 + self._timeout_s
            link = self._links[(address, purpose)] = Link(address, timeout_s=timeout)
        return link

    def _moved(self, error: StoreError) -> bool:
        """Whether a command failed as it was sent to the wrong server; where keys live is found anew then."""
        text = str(error)
        if text.startswith(("MOVED", "CLUSTERDOWN")) and self._config.cluster:
            self._slots = None
            return True
        if self._config.sentinels and (text.startswith("READONLY") or isinstance(error, StoreUnavailable)):
            self._master = None
            return text.startswith("READONLY")
        return False

    def wrong_server(self, error: StoreError) -> bool:
        """For scripts: as a command that failed; True when it is worth sending once more."""
        return self._moved(error)

    async def _find(self) -> None:
        if self._finding is None or self._finding.done():
            find = self._find_slots() if self._config.cluster else self._find_master()
            self._finding = asyncio.get_running_loop().create_task(find)
        await asyncio.shield(self._finding)

    async def _find_master(self) -> None:
        hosts = [(host, int(port)) for host, _, port in (item.rpartition(":") for item in self._config.sentinels)]
        password = self._config.password.get_secret_value()
        make_sentinel: Any = Sentinel
        sentinel = make_sentinel(hosts, socket_timeout=0.5, socket_connect_timeout=0.5)
        try:
            host, port = await sentinel.discover_master(self._config.master)
        except (MasterNotFoundError, OSError) as error:
            raise StoreUnavailable(f"no Sentinel knows the master: {error}") from None
        finally:
            for client in sentinel.sentinels:
                await client.aclose()
        self._master = Address(host, port, password=password)

    async def _find_slots(self) -> None:
        password = self._config.password.get_secret_value()
        seed = parse_url(self._config.url, password)
        known = {address for address, _ in self._links} | {seed}
        for address in known:
            try:
                ranges = await self._link(address, "").execute("CLUSTER", "SLOTS")
            except StoreError as error:
                logger.info("%s did not tell the slots: %s", address, error)
                continue
            slots = [seed] * 16384
            for first, last, node, *_ in ranges:
                host = (node[0] or seed.host.encode()).decode()
                slots[first : last + 1] = [Address(host, node[1], password=password)] * (last - first + 1)
            self._slots = slots
            return
        raise StoreUnavailable("no node of the cluster answers")

    # Durable writes

    async def _write_durably(self) -> None:
        while self._durable_queue:
            batch, self._durable_queue = self._durable_queue, []
            by_link: dict[Link, list[tuple[Sequence[Arg], asyncio.Future[Any]]]] = {}
            for key, args, future in batch:
                try:
                    link = await self.link(key, "durable")
                except StoreError as error:
                    future.set_exception(error)
                    continue
                by_link.setdefault(link, []).append((args, future))
            await asyncio.gather(*(self._write_batch(link, items) for link, items in by_link.items()))

    async def _write_batch(self, link: Link, items: list[tuple[Sequence[Arg], asyncio.Future[Any]]]) -> None:
        replies = [link.submit(args) for args, _ in items]
        confirmed = link.submit(["WAITAOF", 1, self._config.replicas, _DURABLE_TIMEOUT_MS])
        results = await asyncio.gather(*replies, return_exceptions=True)
        problem: StoreError | None = None
        try:
            local, replicas = await confirmed
            if local < 1 or replicas < self._config.replicas:
                problem = StoreNotDurable("the write is not confirmed to be on disk")
        except StoreUnavailable as error:
            problem = StoreNotDurable(str(error))
        except StoreError as error:
            problem = StoreNotDurable(f"Redis cannot confirm writes (is AOF on?): {error}")
        for (_, future), result in zip(items, results, strict=True):
            if future.done():
                continue
            if isinstance(result, BaseException):
                if isinstance(result, StoreError):
                    self._moved(result)
                future.set_exception(result)
            elif problem is not None:
                future.set_exception(problem)
            else:
                future.set_result(result)
