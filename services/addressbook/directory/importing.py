"""Imports of CSV files. An import that is broken off is begun anew: entries of rows have UUIDs that follow from the rows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from secrets import token_hex
from typing import Any, Final
from uuid import UUID

from parley.addressbook.csvfiles import BadRow, CsvFile, Row
from parley.addressbook.entries import Entry, Kind, Membership, Origin, checked, uuid_of_name
from parley.addressbook.errors import CsvError, EntryError
from parley.addressbook.numbers.normalising import Normaliser
from parley.platform.clock import Clock
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreError
from parley.proto.addressbook.v1 import directory_pb2 as pb
from services.addressbook.directory.applying import Applier, Item, Tally, Trouble
from services.addressbook.directory.keys import PREFIX
from services.addressbook.directory.metrics import IMPORTED
from services.addressbook.directory.repository import EntryRepository
from services.addressbook.directory.resolving import ids_of_names
from services.addressbook.leases import Lease, LeaseLost

logger = logging.getLogger(__name__)

SOURCE: Final = "csv"
_ROWS: Final = 1_024
_LEASE_S: Final = 15.0
_KEPT_S: Final = 7 * 86_400
_LAST: Final = PREFIX + "import-last"

Seal = Callable[[str, str], bytes]
"""Credentials of an address and its password, sealed. Raises ValueError."""
HasPassword = Callable[[Sequence[str]], Awaitable[list[bool]]]
"""Whether users have passwords, by address. Raises StoreError."""

Spawn = Callable[[str, Coroutine[Any, Any, Any]], asyncio.Task[Any]]


def report_key(id: str) -> str:
    """Where the report of an import is."""
    return f"{PREFIX}import:{id}"


class ImportBusy(Exception):
    """Another import is under way."""


@dataclass(frozen=True, slots=True)
class _Options:
    name: str
    dry_run: bool
    remove_absent: bool


@dataclass(slots=True)
class _Joining:
    """Who is to be in a group that rows name."""

    line: int
    """Of the first row that names it."""
    members: list[UUID] = field(default_factory=list)


class Importer:
    """The imports of a process; one at a time in all replicas."""

    def __init__(
        self,
        store: Store,
        entries: EntryRepository,
        clock: Clock,
        normaliser: Normaliser,
        seal: Seal,
        has_password: HasPassword,
        spawn: Spawn,
    ) -> None:
        """``spawn``: runs a coroutine that goes on after the call."""
        self._store = store
        self._entries = entries
        self._clock = clock
        self._normaliser = normaliser
        self._seal = seal
        self._has_password = has_password
        self._spawn = spawn
        self._lease = Lease(store, PREFIX + "import-lease", seconds=_LEASE_S)

    async def begin(self, file: CsvFile, options: pb.ImportOptions) -> tuple[pb.ImportReport, asyncio.Task[pb.ImportReport]]:
        """The report at its beginning, and the work. Raises ImportBusy, StoreError."""
        if await self._lease.is_held():
            raise ImportBusy
        report = pb.ImportReport(
            id=token_hex(8), state=pb.JOB_STATE_RUNNING, name=options.name[:256], dry_run=options.dry_run,
            started_at_ms=self._now_ms(),
        )  # fmt: skip
        await self._keep(report)
        wanted = _Options(options.name, options.dry_run, options.remove_absent)
        return report, self._spawn("directory import", self._run(file, wanted, report))

    async def status(self, id: str) -> pb.ImportReport | None:
        """The report of an import, "": the last. Raises StoreError."""
        if not id:
            last = await self._store.execute("GET", _LAST)
            id = last.decode() if last is not None else ""
        raw = await self._store.execute("GET", report_key(id))
        if raw is None:
            return None
        report = pb.ImportReport.FromString(raw)
        if report.state == pb.JOB_STATE_RUNNING and not await self._lease.is_held():
            report.state, report.failure = pb.JOB_STATE_FAILED, "the server that did it ended; import the file again"
        return report

    async def _run(self, file: CsvFile, options: _Options, report: pb.ImportReport) -> pb.ImportReport:
        tally = Tally()
        try:
            async with self._lease.hold() as held:
                if held is None:
                    raise ImportBusy
                await self._take(file, options, tally, report)
            report.state = pb.JOB_STATE_DONE
        except ImportBusy:
            report.state, report.failure = pb.JOB_STATE_FAILED, "another import is under way; try again when it is done"
        except (CsvError, EntryError) as error:
            report.state, report.failure = pb.JOB_STATE_FAILED, str(error)
        except LeaseLost as error:
            report.state, report.failure = pb.JOB_STATE_FAILED, f"{error}; import the file again"
        except StoreError as error:
            report.state, report.failure = pb.JOB_STATE_FAILED, f"the store is away ({error}); import the file again"
        _fill(report, tally)
        report.finished_at_ms = self._now_ms()
        for outcome in ("added", "changed", "unchanged", "removed", "bad"):
            IMPORTED.labels("csv", outcome).inc(getattr(report, outcome) if not options.dry_run else 0)
        logger.info(
            "import of %s: %d added, %d changed, %d removed, %d bad rows%s", report.name or "a file", report.added,
            report.changed, report.removed, report.bad, f"; {report.failure}" if report.failure else "",
        )  # fmt: skip
        try:
            await self._keep(report)
        except StoreError as error:
            logger.warning("the report of import %s is not kept: %s", report.id, error)
        return report

    async def _take(self, file: CsvFile, options: _Options, tally: Tally, report: pb.ImportReport) -> None:
        applier = Applier(
            self._entries, self._normaliser, SOURCE, tally, dry_run=options.dry_run, adopts=True
        )  # fmt: skip
        groups: dict[str, _Joining] = {}
        rows = file.rows()
        while True:
            chunk = await asyncio.to_thread(_some, rows)
            if not chunk:
                break
            items = []
            for row in chunk:
                if isinstance(row, BadRow):
                    tally.read += 1
                    tally.trouble(*(Trouble(problem.text, row.line, problem.column) for problem in row.problems))
                    continue
                for name in row.member_of:
                    groups.setdefault(name, _Joining(row.line)).members.append(row.entry.id)
                items.append(row)
            await applier.add(await self._items(items, tally))
            _fill(report, tally)
            with suppress(StoreError):  # how far it came is told the next time
                await self._keep(report)
        await self._join(applier, groups, tally)
        await applier.finish()
        if options.remove_absent:
            if tally.bad:  # a row that cannot be read does not say whom it is about
                raise CsvError(
                    f"{tally.bad} rows could not be taken, so nobody was removed; mend them and import the file again"
                )
            await applier.remove([id async for id in self._absent(applier.seen)])

    async def _items(self, rows: list[Row], tally: Tally) -> list[Item]:
        wanted = [row.entry.address for row in rows if row.password and row.entry.kind is Kind.USER]
        have = dict(zip(wanted, await self._has_password(wanted), strict=True)) if wanted else {}
        items = []
        for row in rows:
            credentials = None
            if have.get(row.entry.address) is False:
                try:
                    credentials = await asyncio.to_thread(self._seal, row.entry.address, row.password)
                except ValueError as error:
                    tally.read += 1
                    tally.trouble(Trouble(str(error), row.line, "password"))
                    continue
            items.append(Item(row.entry, row.line, None, credentials))
        return items

    async def _join(self, applier: Applier, groups: dict[str, _Joining], tally: Tally) -> None:
        """Puts rows into the groups that they name; a group that nobody knows is made."""
        if not groups:
            return
        found = await ids_of_names(self._entries, list(groups))
        for name, joining in groups.items():
            waits = applier.known(name)
            id = found.get(name) or waits or uuid_of_name(Kind.GROUP, name)
            try:
                group = applier.group(id) or await self._entries.get(id)
                if group is None and id == waits:
                    raise EntryError("member_of", "this is somebody of the file, and no group")
                applier.put_group(_joined(group, id, name, joining.members))
            except EntryError as error:
                tally.trouble(Trouble(f"nobody is put into {name[:80]!r}: {error.problem}", joining.line, "member_of"))

    async def _absent(self, seen: set[UUID]) -> AsyncIterator[UUID]:
        after: UUID | None = None
        while ids := await self._entries.page(after, 1_000, SOURCE):
            for id in ids:
                if id not in seen:
                    yield id
            after = ids[-1]

    async def _keep(self, report: pb.ImportReport) -> None:
        await self._store.execute("SET", report_key(report.id), report.SerializeToString(), "EX", _KEPT_S)
        await self._store.execute("SET", _LAST, report.id, "EX", _KEPT_S)

    def _now_ms(self) -> int:
        return round(self._clock.wall() * 1000)


def _joined(group: Entry | None, id: UUID, name: str, members: Sequence[UUID]) -> Entry:
    """A group, or (None) a new one of that name, with further members. Raises EntryError."""
    if group is None:
        mail = name if "@" in name else ""
        group = Entry(id, Kind.GROUP, display_name=name, mail=mail, origin=Origin(SOURCE, name))
    if group.kind is not Kind.GROUP:
        raise EntryError("member_of", f"this is the {group.kind} {group.name}, and no group")
    membership = group.membership or Membership()
    all_of_them = tuple(dict.fromkeys((*membership.members, *members)))
    return checked(replace(group, membership=replace(membership, members=all_of_them)))


def _some(rows: Iterator[Row | BadRow]) -> list[Row | BadRow]:
    return list(islice(rows, _ROWS))


def _fill(report: pb.ImportReport, tally: Tally) -> None:
    report.rows, report.added, report.changed, report.unchanged = tally.read, tally.added, tally.changed, tally.unchanged
    report.removed, report.bad = tally.removed, tally.bad
    del report.problems[:]
    report.problems.extend(problems_of(tally))
    report.differences[:] = tally.differences


def problems_of(tally: Tally) -> list[pb.RowProblem]:
    """The problems of a tally as messages."""
    return [
        pb.RowProblem(line=trouble.line, column=trouble.column, problem=trouble.text, key=trouble.key)
        for trouble in tally.problems
    ]
