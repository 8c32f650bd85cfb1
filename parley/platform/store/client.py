"""The store of a process: one Redis, one behind Sentinels, or a Redis Cluster, with the same calls.

Keys that change together share a hash tag, so scripts run on a cluster as well. A hot command costs one entry in a
pipeline that all callers share (`link`); a durable write is answered when the server has it on disk (`durable`).

Where keys live is learnt when it is first needed, again when a server says that a key is elsewhere, and in the background
when a server is away, so a fail-over heals by itself. A command is sent a second time only when the server said that it
did not execute it.
"""

from __future__ import annotations

import asyncio
import importlib.resources
import logging
import ssl
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from parley.platform.config import ClientTls, ConfigError, RedisConfig
from parley.platform.store.durable import DURABLE_TIMEOUT_MS, DurableWriter
from parley.platform.store.errors import StoreError, StoreUnavailable
from parley.platform.store.link import Address, Arg, Link
from parley.platform.store.scripts import Script
from parley.platform.store.slots import SLOTS, key_slot
from parley.platform.telemetry.tracing import NO_TRACER, Tracer
from parley.platform.tls import server_context

logger = logging.getLogger(__name__)

_DURABLE: Final = "durable"
_REFRESH_S: Final = 0.25
"""Least time between two looks at where keys live, when servers are away."""
_TLS_CONNECT_S: Final = 2.0
"""Longest wait for a connection with TLS: the handshake takes some more."""


def parse_url(url: str, password: str = "", user: str = "") -> Address:
    """``redis://[user][:password@]host:port/db``, the same with ``rediss``, or ``unix:///path``.

    What the URL says of user and password counts, else what is given. Raises ValueError, which does not hold the URL.
    """
    try:
        return _parse_url(url, password, user)
    except ValueError:
        raise ValueError("not a Redis URL; write redis://host:port/0, rediss://host:port/0 or unix:///path") from None


def _parse_url(url: str, password: str, user: str) -> Address:
    parts = urlsplit(url)
    secret = unquote(parts.password or "") or password
    user = unquote(parts.username or "") or user
    if parts.scheme == "unix":
        return Address(path=parts.path, password=secret, user=user)
    if parts.scheme not in ("redis", "rediss") or not parts.hostname:
        raise ValueError("another scheme, or no host")
    database = parts.path.strip("/")
    return Address(parts.hostname, parts.port or 6379, password=secret, database=int(database or 0), user=user)


class Store:
    """Commands and scripts; make it in a running event loop, it connects when first used."""

    def __init__(self, config: RedisConfig, *, tracer: Tracer = NO_TRACER, timeout_s: float = 2.0) -> None:
        """``timeout_s``: longest wait for a reply. Raises ConfigError when the URL is none, or a certificate is wrong."""
        self.tracer = tracer
        self._config = config
        self._timeout_s = timeout_s
        self._password = config.password.get_secret_value()
        self._links: dict[tuple[Address, str], Link] = {}
        self._writers: dict[Link, DurableWriter] = {}
        for text in config.sentinels:
            if not text.rpartition(":")[2].isdigit() or ":" not in text:
                raise ConfigError([f"platform.redis.sentinels: {text!r} is not host:port"])
        try:
            self._seed = parse_url(config.url, self._password, config.username) if not config.sentinels else Address()
        except ValueError as error:
            raise ConfigError([f"platform.redis.url: {error}"]) from None
        self._tls = _tls_of(config)
        self._slots: list[Address] | None = None
        self._master: Address | None = None if config.sentinels else self._seed
        self._finding: asyncio.Task[None] | None = None
        self._refresh_at = 0.0
        self._closed = False

    @property
    def is_cluster(self) -> bool:
        """Whether keys are spread over several servers."""
        return self._config.cluster

    def script(self, package: str, name: str) -> Script:
        """A server-side script that is packaged beside the code, as ("services.registrar", "bindings.lua")."""
        source = importlib.resources.files(package).joinpath(name).read_text()
        return Script(self, name.removesuffix(".lua"), source)

    async def execute(self, *args: Arg, key: str | None = None) -> Any:
        """The reply to a command; ``key`` says where it belongs when that is not its first argument. Raises StoreError."""
        where = key if key is not None else _key_of(args)
        link = self.link_now(where) or await self.link(where)
        try:
            return await link.submit(args)
        except StoreError as error:
            return await self.resend(where, args, error)

    async def pipeline(self, commands: Sequence[Sequence[Arg]], keys: Sequence[str] | None = None) -> list[Any]:
        """The replies to several commands, sent together; a failed one is a StoreError in its place.

        ``keys``, one for each command, say where they belong when that is not their first argument.
        """
        where = keys if keys is not None else [_key_of(command) for command in commands]
        links = [self.link_now(key) for key in where]
        futures = [
            link.submit(command) if link is not None else asyncio.ensure_future(self.execute(*command, key=key))
            for link, command, key in zip(links, commands, where, strict=True)
        ]
        replies = await asyncio.gather(*futures, return_exceptions=True)
        for index, reply in enumerate(replies):
            if isinstance(reply, StoreError):
                if links[index] is not None:
                    try:
                        replies[index] = await self.resend(where[index], commands[index], reply)
                    except StoreError as error:
                        replies[index] = error
            elif isinstance(reply, BaseException):
                raise reply
        return list(replies)

    async def durable(self, *args: Arg, key: str | None = None) -> Any:
        """The reply to a write, when it is on disk. Raises StoreError; StoreNotDurable when that was not confirmed."""
        where = key if key is not None else _key_of(args)
        try:
            return await self._write_durably(where, args)
        except StoreError as error:
            if self._config.cluster and str(error).startswith("ASK "):
                link = self._link(self._redirection(str(error))[1], _DURABLE)
                return await self._writer(link).write(args, asking=True)
            if not self.wrong_server(error):
                raise
            return await self._write_durably(where, args)

    async def check(self) -> None:
        """Returns when the store serves. Raises StoreError, which says why it does not."""
        await self.execute("PING", key="parley")

    async def close(self) -> None:
        """Closes all connections; what is under way fails with StoreUnavailable."""
        self._closed = True
        if self._finding is not None:
            self._finding.cancel()
            await asyncio.gather(self._finding, return_exceptions=True)
        for writer in list(self._writers.values()):
            await writer.close()
        for link in list(self._links.values()):
            await link.close()
        self._writers.clear()
        self._links.clear()

    # Where keys live

    def link_now(self, key: str) -> Link | None:
        """The connection for a key when it is known without asking anyone."""
        address = self._address_now(key) if not self._closed else None
        return self._link(address, "") if address is not None else None

    async def link(self, key: str, purpose: str = "") -> Link:
        """The connection for a key. Raises StoreUnavailable."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        address = self._address_now(key)
        if address is None:
            await asyncio.shield(self._find())
            address = self._address_now(key)
            if address is None:
                raise StoreUnavailable("no Redis server is known to hold that key")
        return self._link(address, purpose)

    def wrong_server(self, error: StoreError) -> bool:
        """Learns from a failure where keys live; True when the command was not executed and is worth sending once more."""
        text = str(error)
        if self._config.cluster:
            if text.startswith("MOVED ") and self._slots is not None:
                slot, address = self._redirection(text)
                self._slots[slot] = address
                self._refresh()
                return True
            if isinstance(error, StoreUnavailable):
                self._refresh()
            return False
        if self._config.sentinels and text.startswith("READONLY"):
            self._master = None
            return True
        if self._config.sentinels and isinstance(error, StoreUnavailable):
            self._refresh()
        return False

    async def resend(self, key: str, args: Sequence[Arg], error: StoreError) -> Any:
        """The reply to a command that failed, from the server which the failure names. Raises StoreError."""
        if self._config.cluster and str(error).startswith("ASK "):
            link = self._link(self._redirection(str(error))[1], "")
            asking, reply = link.submit(("ASKING",)), link.submit(args)
            await asyncio.gather(asking, reply, return_exceptions=True)
            return reply.result()
        if not self.wrong_server(error):
            raise error
        link = await self.link(key)
        return await link.submit(args)

    def _address_now(self, key: str) -> Address | None:
        if self._config.cluster:
            return self._slots[key_slot(key.encode())] if self._slots is not None else None
        return self._master

    def _link(self, address: Address, purpose: str) -> Link:
        link = self._links.get((address, purpose))
        if link is None:
            timeout = self._timeout_s if not purpose else DURABLE_TIMEOUT_MS / 1000 + self._timeout_s
            connect = 1.0 if self._tls is None else _TLS_CONNECT_S
            link = Link(address, timeout_s=timeout, connect_timeout_s=connect, tls=self._tls)
            self._links[(address, purpose)] = link
        return link

    async def _write_durably(self, key: str, args: Sequence[Arg]) -> Any:
        return await self._writer(await self.link(key, _DURABLE)).write(args)

    def _writer(self, link: Link) -> DurableWriter:
        writer = self._writers.get(link)
        if writer is None:
            writer = self._writers[link] = DurableWriter(link, self._config.replicas)
        return writer

    def _redirection(self, text: str) -> tuple[int, Address]:
        """Slot and server of "MOVED 3999 127.0.0.1:6381" or ASK; no host there means the one that said so."""
        _, slot, where = text.split(" ")[:3]
        host, _, port = where.rpartition(":")
        if not host and self._slots is not None:
            host = self._slots[int(slot)].host
        return int(slot), self._node(host, int(port))

    def _node(self, host: str, port: int) -> Address:
        seed = self._seed
        return Address(host, port, password=seed.password or self._password, user=seed.user or self._config.username)

    def _find(self) -> asyncio.Task[None]:
        """The one look at where keys live that is under way."""
        if self._finding is None or self._finding.done():
            loop = asyncio.get_running_loop()
            self._finding = loop.create_task(self._find_slots() if self._config.cluster else self._find_master())
            self._finding.add_done_callback(_note_failure)
        return self._finding

    def _refresh(self) -> None:
        """Looks again in the background, not too often."""
        now = asyncio.get_running_loop().time()
        if now >= self._refresh_at and not self._closed:
            self._refresh_at = now + _REFRESH_S
            self._find()

    async def _find_master(self) -> None:
        """Takes the first server that a Sentinel names and that itself says it is the master."""
        asked = [asyncio.ensure_future(self._named_master(text)) for text in self._config.sentinels]
        problem: StoreError | None = None
        try:
            for answer in asyncio.as_completed(asked):
                try:
                    self._master = await answer
                except StoreError as error:
                    problem = error
                    continue
                await self._forget_links({self._master, *map(self._sentinel, self._config.sentinels)})
                return
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        raise StoreUnavailable(f"no Sentinel knows the master: {problem}")

    async def _named_master(self, sentinel: str) -> Address:
        link = self._link(self._sentinel(sentinel), "")
        named = await link.execute("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._config.master)
        if not named:
            raise StoreUnavailable(f"{sentinel} knows no {self._config.master}")
        address = self._node(named[0].decode(), int(named[1]))
        role = await self._link(address, "").execute("ROLE")
        if role[0] != b"master":
            raise StoreUnavailable(f"{address}, which {sentinel} names, is no master now")
        return address

    def _sentinel(self, text: str) -> Address:
        host, _, port = text.rpartition(":")
        config = self._config
        return Address(
            host.strip("[]"), int(port), password=config.sentinel_password.get_secret_value(), user=config.sentinel_username
        )

    async def _find_slots(self) -> None:
        known = list({address for address, _ in self._links} | {self._seed})
        asked = {self._link(address, "").submit(("CLUSTER", "SLOTS")): address for address in known}
        waiting: set[asyncio.Future[Any]] = set(asked)
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            told = [future for future in done if future.exception() is None and future.result()]
            if told:
                self._take_slots(told[0].result(), asked[told[0]])
                for future in waiting:
                    future.cancel()
                await self._forget_links({self._seed, *(self._slots or ())})
                return
        raise StoreUnavailable("no node of the cluster answers")

    def _take_slots(self, ranges: Sequence[Any], teller: Address) -> None:
        slots = [self._seed] * SLOTS
        for first, last, node, *_ in ranges:
            address = self._node(node[0].decode() if node[0] else teller.host, node[1])
            slots[first : last + 1] = [address] * (last - first + 1)
        self._slots = slots

    async def _forget_links(self, used: set[Address]) -> None:
        """Closes connections to servers that hold nothing any more."""
        for (address, purpose), link in list(self._links.items()):
            writer = self._writers.get(link)
            if address not in used and link.idle and (writer is None or writer.idle):
                self._writers.pop(link, None)
                del self._links[(address, purpose)]
                await link.close()


def _tls_of(config: RedisConfig) -> ssl.SSLContext | None:
    """What connections are made with. Raises ConfigError."""
    if config.tls is None and not config.url.startswith("rediss://"):
        return None
    return server_context("platform.redis.tls", config.tls or ClientTls())


def _key_of(args: Sequence[Arg]) -> str:
    """The first argument of a command, which most commands have as their key."""
    if len(args) < 2:
        return ""
    key = args[1]
    return key if isinstance(key, str) else key.decode("utf-8", "surrogateescape") if isinstance(key, bytes) else str(key)


def _note_failure(task: asyncio.Task[None]) -> None:
    """Takes the exception of a look that nobody waited for."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.info("where the keys live is not known: %s", error)
