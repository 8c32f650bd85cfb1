"""What devices tell: the audit log of their requests, a list for each day, and the logs that they send."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from secrets import token_hex
from typing import Final

from parley.addressbook.devices import Device, Module, audit_line
from parley.platform.clock import Clock
from parley.platform.store.client import Store
from parley.proto.addressbook.v1.device_updates_pb2 import DeviceLog, KeptDeviceLog
from services.addressbook.blobs import BlobStore
from services.addressbook.devices.config import DevicesConfig
from services.addressbook.devices.metrics import AUDIT_DROPPED
from services.addressbook.devices.repository import PREFIX

LOGS: Final = PREFIX + "logs"
LOG_TIMES: Final = PREFIX + "log-times"
_DAY_S: Final = 86_400
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SWEPT_AT_ONCE: Final = 1_000
MAX_LOGS: Final = 10_000
"""So many logs of devices are kept, however small they are: what is known of them is read as a whole."""


class ReportError(ValueError):
    """What is asked for, or sent, cannot be; the text says why."""


def day_name(moment: float) -> str:
    """The day of a time (Unix), in UTC."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d}"


def parse_day(text: str) -> float:
    """When a day begins (Unix). Raises ReportError."""
    try:
        if _DAY.fullmatch(text) is None:
            raise ValueError
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise ReportError(f"{text[:20]!r} is no day; write it as 2026-01-31") from None


def check_log_name(name: str, extensions: Sequence[str]) -> None:
    """Raises ReportError for a name that a log cannot have."""
    if _NAME.fullmatch(name) is None or ".." in name:
        raise ReportError("the name of a log has up to 128 letters, digits, dots, dashes and underscores")
    if name.rpartition(".")[2].lower() not in {extension.lower().lstrip(".") for extension in extensions}:
        raise ReportError(f"the name of a log ends with one of: {', '.join(extensions)}")


class AuditLog:
    """Requests of devices."""

    def __init__(self, store: Store, clock: Clock, config: DevicesConfig) -> None:
        self._store = store
        self._clock = clock
        self._config = config

    async def add(self, client: str, device: Device, answered: Sequence[Module]) -> None:
        """Notes a request and its answer. Raises StoreError."""
        now = self._clock.wall()
        key = _audit_key(day_name(now))
        length = await self._store.execute("RPUSH", key, audit_line(now, client, device, answered))
        if length == 1:
            await self._store.execute("EXPIRE", key, (self._config.audit_days + 1) * _DAY_S)
        if length > self._config.audit_lines:
            AUDIT_DROPPED.inc()
            await self._store.execute("LTRIM", key, 0, self._config.audit_lines - 1)

    async def read(self, day: str, first: int, count: int) -> tuple[list[str], int]:
        """Lines of a day, and how many there are in all. Raises ReportError, StoreError."""
        parse_day(day)
        key = _audit_key(day)
        found = await self._store.execute("LRANGE", key, first, first + count - 1)
        return [raw.decode("utf-8", "replace") for raw in found], await self._store.execute("LLEN", key)


def _audit_key(day: str) -> str:
    return f"{PREFIX}audit:{day}"


class DeviceLogs:
    """Logs that devices sent."""

    def __init__(self, store: Store, clock: Clock, blobs: BlobStore, config: DevicesConfig) -> None:
        self._store = store
        self._clock = clock
        self._blobs = blobs
        self._config = config
        self._keeping = asyncio.Lock()

    async def room(self) -> int:
        """Bytes that a further log may have. Raises StoreError."""
        if await self._store.execute("HLEN", LOGS) >= MAX_LOGS:
            return 0
        used = sum(KeptDeviceLog.FromString(raw).log.size for raw in await self._store.execute("HVALS", LOGS))
        return max(0, min(self._config.max_log_bytes, self._config.max_logs_bytes - used))

    async def keep(self, log: DeviceLog, blob: str) -> DeviceLog | None:
        """Makes a log known that was written; None when others have taken its room meanwhile. Raises StoreError.

        Of several replicas each may be over the limit by one log.
        """
        log.id = token_hex(16)
        log.uploaded_at_ms = round(self._clock.wall() * 1000)
        async with self._keeping:
            if log.size > await self.room():
                return None
            await self._store.durable("HSET", LOGS, log.id, KeptDeviceLog(log=log, blob=blob).SerializeToString())
        await self._store.durable("ZADD", LOG_TIMES, log.uploaded_at_ms, log.id)
        return log

    async def get(self, id: str) -> KeptDeviceLog | None:
        """One log. Raises StoreError."""
        raw = await self._store.execute("HGET", LOGS, id)
        return KeptDeviceLog.FromString(raw) if raw is not None else None

    async def page(self, first: int, count: int) -> list[DeviceLog]:
        """The latest first. Raises StoreError."""
        ids = await self._store.execute("ZRANGE", LOG_TIMES, first, first + count - 1, "REV")
        if not ids:
            return []
        found = await self._store.execute("HMGET", LOGS, *ids)
        return [KeptDeviceLog.FromString(raw).log for raw in found if raw is not None]

    async def remove(self, id: str) -> bool:
        """Whether there was one. Raises StoreError."""
        kept = await self.get(id)
        await self._store.durable("HDEL", LOGS, id)
        await self._store.execute("ZREM", LOG_TIMES, id)
        if kept is not None:
            await self._blobs.drop(kept.blob)
        return kept is not None

    async def sweep(self) -> int:
        """Removes those that are older than configured; how many. Raises StoreError."""
        before = round((self._clock.wall() - self._config.log_days * _DAY_S) * 1000)
        ids = await self._store.execute("ZRANGE", LOG_TIMES, "-inf", before, "BYSCORE", "LIMIT", 0, _SWEPT_AT_ONCE)
        for id in ids:
            await self.remove(id.decode())
        # A crash between two writes leaves one that has no time.
        for raw in await self._store.execute("HVALS", LOGS):
            log = KeptDeviceLog.FromString(raw).log
            if log.uploaded_at_ms <= before:
                await self.remove(log.id)
        return len(ids)

    async def blobs_in_use(self) -> set[str]:
        """What the logs refer to. Raises StoreError."""
        return {KeptDeviceLog.FromString(raw).blob for raw in await self._store.execute("HVALS", LOGS)}
