"""Keeps the directory as the directory servers say: what changed at every interval, who is gone at every full interval.

One replica reads a server at a time. How far it came is kept when all of it is written, so a run that is broken off is done
again, and as entries have the server's UUIDs, done again is the same. A run that fails changes nothing that it has not read,
and removes nobody; it is tried again, later each time. A run that would remove very many is taken for a mistake, of whoever
changed the base, the filter or the rights, and fails.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from parley.addressbook.entries import Entry
from parley.addressbook.errors import EntryError
from parley.addressbook.ldap.filters import And, Comparison, Filter, Or, parse_filter
from parley.addressbook.numbers.normalising import Normaliser
from parley.platform.clock import Clock
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreError
from parley.proto.addressbook.v1 import directory_pb2 as pb
from services.addressbook.directory.applying import Applier, Item, Tally, Trouble
from services.addressbook.directory.importing import Spawn, problems_of
from services.addressbook.directory.keys import PREFIX
from services.addressbook.directory.ldap.client import LdapClient, LdapError, LdapSession, RawEntry
from services.addressbook.directory.ldap.mapping import Mapping as LdapMapping
from services.addressbook.directory.ldap.mapping import begin_of_changes
from services.addressbook.directory.ldap.states import State, States
from services.addressbook.directory.metrics import IMPORTED, SYNCED_AT, SYNCS
from services.addressbook.directory.repository import EntryRepository
from services.addressbook.leases import Lease, LeaseLost

logger = logging.getLogger(__name__)

_LEASE_S: Final = 15.0
_MAX_BACKOFF_S: Final = 900.0
_LOOK_S: Final = 2.0
"""Longest time between two looks at whether a run is due."""
_ASKED_AT_ONCE: Final = 50
_FEW: Final = 3
"""So many may always be removed, as long as there is somebody else."""
_MAX_REFUSED: Final = 5_000
"""So many of those that could not be taken are read again each time."""


class UnknownSource(Exception):
    """There is no such source."""


class SyncBusy(Exception):
    """The source is being read already."""


class SyncFailed(Exception):
    """A run that cannot be finished, and why."""


@dataclass(slots=True)
class _Source:
    client: LdapClient
    mapping: LdapMapping
    lease: Lease

    @property
    def name(self) -> str:
        return self.client.name

    def form(self, numbers: str) -> str:
        """Changes when entries have to be read anew because of the configuration. ``numbers``: how they are normalised."""
        config = self.client.config
        what = [
            config.url, config.kind, config.base, config.filter, config.attributes, config.domain, config.login_domain,
            self.mapping.attributes, numbers,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


class Syncer:
    """The directory servers of the configuration."""

    def __init__(
        self,
        store: Store,
        entries: EntryRepository,
        clock: Clock,
        normaliser: Normaliser,
        clients: Mapping[str, LdapClient],
        spawn: Spawn,
    ) -> None:
        """``clients``: by name; ``spawn``: runs a coroutine that goes on after the call."""
        self._spawn = spawn
        self._states = States(store)
        self._entries = entries
        self._clock = clock
        self._normaliser = normaliser
        self._sources = {
            name: _Source(
                client, LdapMapping(client.source, client.config),
                Lease(store, f"{PREFIX}sync-lease:{name}", seconds=_LEASE_S),
            )
            for name, client in clients.items()
        }  # fmt: skip

    @property
    def names(self) -> list[str]:
        """Of the sources."""
        return list(self._sources)

    async def run(self, name: str) -> None:
        """Reads one source for ever, whenever it is due and no other replica does."""
        source = self._sources[name]
        while True:
            wait = _LOOK_S
            try:
                state = await self._states.get(source.name)
                left = (state.next_at_ms - self._now_ms()) / 1000
                # More is left than ever was to be waited for: the clock was set back.
                longest = max(_MAX_BACKOFF_S, source.client.config.interval)
                if not 0 < left <= longest:
                    await self._alone(source, pb.SyncReport(source=name), dry_run=False, full=False)
                else:
                    wait = min(wait, left)
            except StoreError as error:
                logger.info("%s is read later: the store is away (%s)", source.client.source, error)
            await asyncio.sleep(min(wait, source.client.config.interval))

    async def begin(self, name: str, *, dry_run: bool, full: bool) -> pb.SyncReport:
        """Reads a source now; the report at its beginning. Raises UnknownSource, SyncBusy, StoreError."""
        source = self._source(name)
        if await source.lease.is_held():
            raise SyncBusy
        report = pb.SyncReport(source=name, state=pb.JOB_STATE_RUNNING, dry_run=dry_run, started_at_ms=self._now_ms())
        await self._states.keep(source.name, report)
        answer = pb.SyncReport()
        answer.CopyFrom(report)
        self._spawn(f"directory sync {name}", self._alone(source, report, dry_run=dry_run, full=full))
        return answer

    async def status(self, name: str) -> list[pb.SyncReport]:
        """The last report of one source, or ("") of all. Raises UnknownSource, StoreError."""
        reports = []
        for source in [self._source(name)] if name else self._sources.values():
            report = await self._states.report(source.name) or pb.SyncReport(source=source.name)
            state = await self._states.get(source.name)
            report.last_success_at_ms, report.failures = state.success_at_ms, state.failures
            report.entries = await self._entries.count(source.client.source)
            if report.state == pb.JOB_STATE_RUNNING and not await source.lease.is_held():
                report.state, report.failure = pb.JOB_STATE_FAILED, "the server that did it ended; it is begun anew"
            reports.append(report)
        return reports

    def _source(self, name: str) -> _Source:
        source = self._sources.get(name.removeprefix("ldap:"))
        if source is None:
            known = ", ".join(self._sources) or "none"
            raise UnknownSource(f"there is no source {name[:40]!r}; configured are: {known}")
        return source

    # One run

    async def _alone(self, source: _Source, report: pb.SyncReport, *, dry_run: bool, full: bool) -> None:
        """A run, unless another replica is at it; one that loses the lease is broken off, and its report is left alone."""
        try:
            async with source.lease.hold() as held:
                if held is not None:
                    await self._once(source, report, dry_run=dry_run, full=full)
        except LeaseLost as error:
            SYNCS.labels(source.name, "failed").inc()
            logger.warning("reading %s was broken off: %s", source.client.source, error)

    async def _once(self, source: _Source, report: pb.SyncReport, *, dry_run: bool, full: bool) -> None:
        report.state, report.dry_run, report.started_at_ms = pb.JOB_STATE_RUNNING, dry_run, self._now_ms()
        tally = Tally()
        state = await self._states.get(source.name)
        try:
            after = await self._read(source, state, tally, report, dry_run=dry_run, full=full)
            report.state, report.failure = pb.JOB_STATE_DONE, ""
        except (LdapError, SyncFailed, EntryError) as error:
            after, report.state, report.failure = state, pb.JOB_STATE_FAILED, str(error)
        config = source.client.config
        now_ms = self._now_ms()
        if report.state == pb.JOB_STATE_DONE:
            after = replace(after, failures=0, success_at_ms=now_ms, next_at_ms=now_ms + round(config.interval * 1000))
            SYNCED_AT.labels(source.name).set(now_ms / 1000)
        else:
            wait = min(config.interval * 2 ** min(state.failures, 10), max(_MAX_BACKOFF_S, config.interval))
            after = replace(after, failures=state.failures + 1, next_at_ms=now_ms + round(wait * 1000))
            logger.warning("%s is not read: %s; again in %.0f s", source.client.source, report.failure, wait)
        _fill(report, tally)
        report.finished_at_ms = now_ms
        SYNCS.labels(source.name, "ok" if report.state == pb.JOB_STATE_DONE else "failed").inc()
        if not dry_run:
            for outcome in ("added", "changed", "removed", "bad"):
                IMPORTED.labels(source.client.source, outcome).inc(getattr(report, outcome))
            if tally.added or tally.changed or tally.removed or tally.bad:
                logger.info(
                    "%s: %d added, %d changed, %d removed, %d could not be taken", source.client.source, tally.added,
                    tally.changed, tally.removed, tally.bad,
                )  # fmt: skip
        await self._states.keep(source.name, report, None if dry_run else after)

    async def _read(
        self, source: _Source, state: State, tally: Tally, report: pb.SyncReport, *, dry_run: bool, full: bool
    ) -> State:
        """Takes over what there is; what is known then. Raises LdapError, SyncFailed, StoreError."""
        applier = Applier(
            self._entries, self._normaliser, source.client.source, tally, dry_run=dry_run, adopts=False
        )  # fmt: skip
        form = source.form(self._normaliser.form)
        session = await asyncio.to_thread(source.client.session)
        try:
            server, mark = await asyncio.to_thread(_mark, session, source)
            whole = full or state.form != form or state.server != server or not state.cursor[0]
            # A server that was set back counts changes anew that it has counted before.
            whole = whole or (mark is not None and _order(mark) < _order(state.cursor))
            report.full = whole
            filter = parse_filter(source.mapping.filter)
            if not whole:
                name, value = begin_of_changes(state.cursor, state.looked_at_ms / 1000)
                filter = And((filter, Comparison(name, value.encode(), ">=")))
            cursor = state.cursor if not whole else ("", "")
            async for page in _pages(session, filter, source.mapping.attributes):
                applier.seen |= {id for raw in page if (id := source.mapping.id_of(raw)) is not None}
                cursor = max(cursor, *(source.mapping.change_of(raw) for raw in page), key=_order)
                await self._take(applier, tally, await asyncio.to_thread(_items, source.mapping, page))
                _fill(report, tally)
                await self._states.keep(source.name, report)
            await self._fetch(source, session, applier, tally, [id for id in state.refused if id not in applier.seen])
            now_ms = self._now_ms()
            since_ms = now_ms - state.swept_at_ms  # less than nothing when the clock was set back
            due = whole or not 0 <= since_ms < source.client.config.full_interval * 1000
            try:
                gone = await self._sweep(source, session, applier, tally) if due else []
            except SyncFailed:
                await applier.finish()  # what was read is no mistake
                raise
            # What those had who are gone, others may have got.
            await applier.remove(gone)
            await applier.finish()
        finally:
            await asyncio.to_thread(session.close)
        return replace(
            state, cursor=mark or cursor, server=server, form=form, swept_at_ms=now_ms if due else state.swept_at_ms,
            refused=tuple(sorted(applier.refused)[:_MAX_REFUSED]), looked_at_ms=report.started_at_ms,
        )  # fmt: skip

    async def _take(self, applier: Applier, tally: Tally, items: Sequence[Item | Trouble]) -> None:
        for item in items:
            if isinstance(item, Trouble):
                tally.read += 1
                tally.trouble(item)
        await applier.add([item for item in items if isinstance(item, Item)])

    async def _sweep(self, source: _Source, session: LdapSession, applier: Applier, tally: Tally) -> list[UUID]:
        """Looks at who is there: takes over who was moved or is new; those that are gone. Raises SyncFailed."""
        there: dict[UUID, str] = {}
        nameless = 0
        async for page in _pages(session, parse_filter(source.mapping.filter), [source.mapping.server.id]):
            for raw in page:
                id = source.mapping.id_of(raw)
                if id is None:
                    nameless += 1
                else:
                    there[id] = raw.dn
        known: set[UUID] = set()
        gone: list[UUID] = []
        async for entry in self._entries.export(source.client.source):
            known.add(entry.id)
            dn = there.get(entry.id)
            if dn is None:
                gone.append(entry.id)
            elif entry.id not in applier.seen and (dn != entry.origin.key or _lacks_members(entry)):
                await applier.add([Item(replace(entry, origin=replace(entry.origin, key=dn)))])
        missing = [id for id in there if id not in known and id not in applier.seen]
        await self._fetch(source, session, applier, tally, missing)
        if gone:
            _refuse_mistakes(source, there=len(there), nameless=nameless, known=len(known), gone=len(gone))
        return gone

    async def _fetch(
        self, source: _Source, session: LdapSession, applier: Applier, tally: Tally, ids: Sequence[UUID]
    ) -> None:
        """Takes over some entries, as far as they are there. Raises LdapError, StoreError."""
        mapping = source.mapping
        for begin in range(0, len(ids), _ASKED_AT_ONCE):
            wanted = Or(tuple(mapping.equals(id) for id in ids[begin : begin + _ASKED_AT_ONCE]))
            async for page in _pages(session, And((parse_filter(mapping.filter), wanted)), mapping.attributes):
                await self._take(applier, tally, await asyncio.to_thread(_items, mapping, page))

    def _now_ms(self) -> int:
        return round(self._clock.wall() * 1000)


def _lacks_members(entry: Entry) -> bool:
    """Whether members of a group were not in the directory, and may have come since."""
    return entry.membership is not None and bool(entry.membership.unresolved)


def _refuse_mistakes(source: _Source, *, there: int, nameless: int, known: int, gone: int) -> None:
    """Raises SyncFailed when those that are gone are more likely to be there, and not to be seen.

    ``there``: how many the server tells of; ``nameless``: how many of those cannot be told apart; ``known``: to us.
    """
    config = source.client.config
    if nameless:
        raise SyncFailed(
            f"{gone} of {known} entries are not there any more, and {nameless} have no {source.mapping.server.id} that can "
            "be read, which may be the same; let bind_dn read it"
        )
    if not there:
        raise SyncFailed(
            f"the server tells of nobody, and {known} entries were known; look at base, filter and rights of bind_dn. If "
            "nobody is there any more, take the server out of the configuration and remove its entries"
        )
    if gone > max(_FEW, config.most_removed * known):
        raise SyncFailed(
            f"{gone} of {known} entries are not there any more; look at base, filter and rights of bind_dn, or allow more "
            "with most_removed"
        )


def _order(change: tuple[str, str]) -> tuple[int, str]:
    """Changes of one server in their order: numbers are longer when they are larger, times are of one length."""
    return len(change[1]), change[1]


def _mark(session: LdapSession, source: _Source) -> tuple[str, tuple[str, str] | None]:
    """Which server it is, and up to where it has counted; None where changes have times instead."""
    if source.client.config.kind != "ad":
        return source.client.config.url, None
    root = session.root(["dsServiceName", "highestCommittedUSN"])
    usn = root.text("highestCommittedUSN")
    return root.text("dsServiceName") or source.client.config.url, ("uSNChanged", usn) if usn.isdigit() else None


def _items(mapping: LdapMapping, page: Sequence[RawEntry]) -> list[Item | Trouble]:
    return [mapping.item(raw) for raw in page]


async def _pages(session: LdapSession, filter: Filter, names: Sequence[str]) -> AsyncIterator[list[RawEntry]]:
    pages = session.pages(str(filter), names)
    while (page := await asyncio.to_thread(next, pages, None)) is not None:
        yield page


def _fill(report: pb.SyncReport, tally: Tally) -> None:
    report.read, report.added, report.changed, report.removed = tally.read, tally.added, tally.changed, tally.removed
    report.bad = tally.bad
    del report.problems[:]
    report.problems.extend(problems_of(tally))
    report.differences[:] = tally.differences
