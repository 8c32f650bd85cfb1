"""What is kept of a directory server between two runs: how far it was read, who was refused, and the report of the last."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Final
from uuid import UUID

from parley.platform.store.client import Store
from parley.proto.addressbook.v1 import directory_pb2 as pb
from services.addressbook.directory.keys import PREFIX

_FURTHER: Final = frozenset({"refused", "looked_at_ms"})
"""Kept in a field of their own, as servers before them know no such part of the state."""


@dataclass(frozen=True, slots=True)
class State:
    """What is kept of a source."""

    cursor: tuple[str, str] = ("", "")
    """Attribute and value up to which changes are known; ("", "") when everything has to be read."""
    server: str = ""
    """Which server counted them."""
    form: str = ""
    swept_at_ms: int = 0
    success_at_ms: int = 0
    failures: int = 0
    next_at_ms: int = 0
    refused: tuple[UUID, ...] = ()
    """Whose last change could not be taken, and is to be read again."""
    looked_at_ms: int = 0
    """When the last run that was done began."""


_NAMES: Final = frozenset(item.name for item in fields(State))


class States:
    """The states of all sources."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, source: str) -> State:
        """The state of a source. Raises StoreError."""
        raw, further = await self._store.execute("HMGET", _key(source), "state", "further")
        content = {**json.loads(raw or b"{}"), **(json.loads(further or b"{}") if raw is not None else {})}
        if "cursor" in content:
            content["cursor"] = tuple(content["cursor"])
        content["refused"] = tuple(map(UUID, content.get("refused", ())))
        return State(**{name: value for name, value in content.items() if name in _NAMES})

    async def report(self, source: str) -> pb.SyncReport | None:
        """The report of the last run. Raises StoreError."""
        raw = await self._store.execute("HGET", _key(source), "report")
        return pb.SyncReport.FromString(raw) if raw is not None else None

    async def keep(self, source: str, report: pb.SyncReport, state: State | None = None) -> None:
        """Keeps a report, and the state with it if there is one to keep. Raises StoreError."""
        values: list[str | bytes] = ["report", report.SerializeToString()]
        if state is None:
            await self._store.execute("HSET", _key(source), *values)
            return
        content = {name: getattr(state, name) for name in _NAMES}
        content["refused"] = [id.hex for id in state.refused]
        further = {name: content.pop(name) for name in _FURTHER}
        await self._store.durable(
            "HSET", _key(source), *values, "state", json.dumps(content), "further", json.dumps(further)
        )


def _key(source: str) -> str:
    return f"{PREFIX}sync:{source}"
