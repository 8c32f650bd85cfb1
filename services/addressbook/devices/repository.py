"""Rules, test devices and files of device updates in Redis. Every change of a rule is durable when it returns.

A file of an update is known by its SHA-256; devices know it by rule, version and name. Both are forgotten, by `sweep`, once
no rule has the version any more. All keys but the pieces of files share one hash tag.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from parley.addressbook.device_json import rule_from_json, rule_to_json
from parley.addressbook.devices import TestDevice, Update, UpdateRule, normal_mac
from parley.addressbook.errors import DeviceError
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreUnavailable
from parley.platform.store.link import Arg
from parley.proto.addressbook.v1.device_updates_pb2 import KeptUpdateFile
from services.addressbook.blobs import BlobStore

logger = logging.getLogger(__name__)

PREFIX: Final = "parley:ab:{devices}:"
RULES: Final = PREFIX + "rules"
NAMES: Final = PREFIX + "names"
FILES: Final = PREFIX + "files"
CHANGES: Final = PREFIX + "changes"
TESTS: Final = PREFIX + "tests"
MAX_RULES: Final = 1_000
MAX_TESTS: Final = 10_000
_TRIES: Final = 8


class NoRule(Exception):
    """There is no such rule."""


class Full(Exception):
    """There are as many as there may be; the text says of what."""


class FileMissing(Exception):
    """A file of the update was not uploaded; the text is its checksum."""


def name_of(rule: str, version: str, file: str) -> str:
    """What a file of an update is found by."""
    return f"{rule}/{version}/{file.casefold()}"


def updates_of(rule: UpdateRule) -> list[Update]:
    """All that a rule has."""
    return [update for update in (rule.pending, rule.approved, rule.previous) if update is not None]


class DeviceRepository:
    """The view of the store."""

    def __init__(self, store: Store, blobs: BlobStore) -> None:
        self._store = store
        self._blobs = blobs
        self._write = store.script("services.addressbook.devices", "rule.lua")
        self._forget = store.script("services.addressbook.devices", "forget.lua")

    async def rules(self) -> list[UpdateRule]:
        """All rules, by id; one that cannot be read is told of and left out. Raises StoreError."""
        found = await self._store.execute("HGETALL", RULES)
        rules = []
        for raw in _pairs(found).values():
            try:
                rules.append(rule_from_json(raw))
            except DeviceError as error:
                logger.error("a rule of device updates is passed over: %s", error)
        return sorted(rules, key=lambda rule: rule.id)

    async def change(
        self, id: str, apply: Callable[[UpdateRule | None], UpdateRule | None], files: Mapping[str, str] | None = None
    ) -> UpdateRule | None:
        """Changes a rule, and gives it back.

        ``apply``: called with the rule as it is, None for none; None as its result removes the rule. ``files``: names
        (`name_of`) of files that belong to it, with their checksums in hexadecimal. Raises what ``apply`` raises, Full,
        FileMissing, DeviceError, StoreError.
        """
        for _ in range(_TRIES):
            now = await self._store.execute("HGET", RULES, id) or b""
            rule = apply(rule_from_json(now) if now else None)
            data = rule_to_json(rule) if rule is not None else b""
            args: list[Arg] = [id, now, data, MAX_RULES]
            for name, checksum in (files or {}).items():
                args += [name, checksum]
            reply: str = (await self._write.durable([RULES, NAMES, FILES, CHANGES], args)).decode()
            if reply == "OK":
                return rule
            if reply == "FULL":
                raise Full(f"there are {MAX_RULES} rules; remove some")
            if reply.startswith("FILE "):
                raise FileMissing(reply.removeprefix("FILE "))
        raise StoreUnavailable(f"the rule {id} changes too fast")

    async def file_named(self, rule: str, version: str, file: str) -> tuple[str, KeptUpdateFile] | None:
        """Checksum and place of a file; None when no rule has it. Raises StoreError."""
        raw = await self._store.execute("HGET", RULES, rule)
        if raw is None or version not in {update.version for update in updates_of(rule_from_json(raw))}:
            return None
        checksum = await self._store.execute("HGET", NAMES, name_of(rule, version, file))
        if checksum is None:
            return None
        kept = await self.file(checksum.decode())
        return (checksum.decode(), kept) if kept is not None else None

    async def file(self, checksum: str) -> KeptUpdateFile | None:
        """A file by its checksum. Raises StoreError."""
        raw = await self._store.execute("HGET", FILES, checksum)
        return KeptUpdateFile.FromString(raw) if raw is not None else None

    async def total_bytes(self) -> int:
        """Of all files. Raises StoreError."""
        return sum(KeptUpdateFile.FromString(raw).size for raw in await self._store.execute("HVALS", FILES))

    async def keep_file(self, checksum: str, kept: KeptUpdateFile) -> None:
        """Makes a file known that was written. Raises StoreError."""
        await self._store.durable("HSET", FILES, checksum, kept.SerializeToString())

    async def test_devices(self) -> list[tuple[TestDevice, str]]:
        """Test devices with their notes. Raises StoreError."""
        found = _pairs(await self._store.execute("HGETALL", TESTS))
        return [_test_device(key.decode(), raw) for key, raw in sorted(found.items())]

    async def add_test_device(self, device: TestDevice, note: str) -> None:
        """Adds one, or changes its note. Raises Full, StoreError."""
        key = device_key(device)
        if await self._store.execute("HLEN", TESTS) >= MAX_TESTS:
            raise Full(f"there are {MAX_TESTS} test devices; remove some")
        await self._store.durable("HSET", TESTS, key, json.dumps({"note": note}))

    async def remove_test_device(self, device: TestDevice) -> bool:
        """Whether there was one. Raises StoreError."""
        return bool(await self._store.durable("HDEL", TESTS, device_key(device)))

    async def sweep(self, now_ms: int, grace_ms: int) -> int:
        """Forgets files that no rule has, and that were uploaded longer ago than the grace; how many. Raises StoreError."""
        changes = await self._store.execute("GET", CHANGES) or b"0"
        rules = await self.rules()
        names = {name.decode(): sum_.decode() for name, sum_ in _pairs(await self._store.execute("HGETALL", NAMES)).items()}
        files = _pairs(await self._store.execute("HGETALL", FILES))
        if len(rules) != await self._store.execute("HLEN", RULES):
            return 0  # some cannot be read: what they have is not known
        begins = tuple(f"{rule.id}/{update.version}/" for rule in rules for update in updates_of(rule))
        gone = [name for name in names if not name.startswith(begins)]
        used = {checksum for name, checksum in names.items() if name.startswith(begins)}
        old: dict[str, str] = {}
        for raw, data in files.items():
            kept = KeptUpdateFile.FromString(data)
            if raw.decode() not in used and kept.uploaded_at_ms < now_ms - grace_ms:
                old[raw.decode()] = kept.blob
        if gone or old:
            args: list[Arg] = [changes, len(gone), *gone, *old]
            if not await self._forget([NAMES, FILES, CHANGES], args):
                return 0
        for blob in old.values():
            await self._blobs.register(blob)  # a device may be reading it
        return len(old)

    async def blobs_in_use(self) -> set[str]:
        """What the files refer to. Raises StoreError."""
        return {KeptUpdateFile.FromString(raw).blob for raw in await self._store.execute("HVALS", FILES)}


def device_key(device: TestDevice) -> str:
    """What a test device is kept by. Raises DeviceError."""
    mac, serial = normal_mac(device.mac), device.serial.strip()
    if bool(mac) == bool(serial) or (device.mac.strip() and not mac):
        raise DeviceError("name a test device by its MAC address, as 00:04:F2:12:34:56, or by its serial number")
    if len(serial) > 128 or not serial.isprintable():
        raise DeviceError("a serial number has up to 128 characters that can be shown")
    return f"mac:{mac}" if mac else f"serial:{serial.casefold()}"


def _test_device(key: str, raw: bytes) -> tuple[TestDevice, str]:
    kind, _, value = key.partition(":")
    note = str(json.loads(raw).get("note", ""))
    return (TestDevice(mac=value) if kind == "mac" else TestDevice(serial=value)), note


def _pairs(reply: Iterable[bytes]) -> dict[bytes, bytes]:
    """The reply to HGETALL."""
    items = list(reply)
    return dict(zip(items[::2], items[1::2], strict=True))
