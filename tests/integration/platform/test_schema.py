"""The version of stored data: what each process does when it finds another one, and migrations that are cut short."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from parley.platform.config import RedisConfig
from parley.platform.schema import (
    KEY,
    MIGRATIONS,
    READS_UP_TO,
    WRITES,
    Migration,
    Progress,
    Schema,
    SchemaOlder,
    SchemaRefused,
)
from parley.platform.store.client import Store
from tests.support.parley_server import Node
from tests.support.valkey import Valkey, ValkeyCluster
from tests.support.waiting import until

pytestmark = pytest.mark.valkey

ROWS = 40


class Rewriting:
    """A migration of the artificial data ``row:N``: "old" becomes "new", some rows a step; it can be held up or broken."""

    def __init__(self, *, stop_after: int = ROWS, chunk: int = 10) -> None:
        self.stop_after = stop_after
        self.chunk = chunk
        self.began_at: list[str] = []
        self.rewritten = 0
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.error: Exception = RuntimeError("the power went out")

    def __call__(self, to: int = 2) -> Migration:
        return Migration(to, f"rows of version {to}", self.run)

    async def run(self, store: Store, progress: Progress) -> None:
        self.began_at.append(progress.cursor)
        for first in range(int(progress.cursor or 0), ROWS, self.chunk):
            if self.rewritten >= self.stop_after:
                raise self.error
            await self.go_on.wait()
            for row in range(first, first + self.chunk):
                await store.execute("SET", f"row:{row}", "new")
                self.rewritten += 1
            await progress.save(str(first + self.chunk), progress.done + self.chunk)


class Said(list[str]):
    """What was said to people."""

    def __call__(self, text: str) -> None:
        self.append(text)


@pytest.fixture
async def store(valkey: Valkey) -> AsyncIterator[Store]:
    opened = Store(RedisConfig(url=valkey.url))
    for row in range(ROWS):
        await opened.execute("SET", f"row:{row}", "old")
    yield opened
    await opened.close()


async def rows(store: Store) -> set[bytes]:
    return set(await store.pipeline([["GET", f"row:{row}"] for row in range(ROWS)]))


def test_every_version_can_be_reached_and_the_next_one_at_most_read() -> None:
    assert [migration.to for migration in MIGRATIONS] == list(range(2, WRITES + 1))
    assert READS_UP_TO in (WRITES, WRITES + 1)


async def test_nothing_stored_is_version_1_and_is_noted(store: Store, valkey: Valkey) -> None:
    await Schema(store).check()
    assert valkey.ask("HGETALL", KEY) == {b"version": b"1"}


async def test_a_newer_version_is_refused_with_what_to_do(store: Store) -> None:
    await store.execute("HSET", KEY, "version", "3")
    schema = Schema(store, writes=1, reads_up_to=2)
    for work in (schema.check(), schema.migrate(Said())):
        with pytest.raises(SchemaRefused, match=r"version 3, and this release reads up to version 2.* Upgrade Parley again"):
            await work
    assert await store.execute("HGET", KEY, "version") == b"3"


async def test_during_a_rollout_pods_of_the_release_before_start_on_the_new_version(store: Store) -> None:
    await store.execute("HSET", KEY, "version", "2")
    await Schema(store, writes=1, reads_up_to=2).check()
    assert await Schema(store, writes=1, reads_up_to=2).migrate(Said()) == 2, "nothing is taken back"


@pytest.mark.parametrize("text", ["", "0", "-1", "two", "²"])
async def test_what_is_no_version_is_refused(store: Store, text: str) -> None:
    await store.execute("HSET", KEY, "version", text)
    with pytest.raises(SchemaRefused, match="no version of stored data"):
        await Schema(store).check()


async def test_an_older_version_serves_after_the_migration(store: Store) -> None:
    schema = Schema(store, writes=2, reads_up_to=2, migrations=[Rewriting()()])
    with pytest.raises(SchemaOlder, match="version 1, this release writes version 2: `parley init storage` has to"):
        await schema.check()
    assert await schema.migrate(Said()) == 2
    await schema.check()
    assert await rows(store) == {b"new"}


async def test_several_steps_follow_each_other(store: Store) -> None:
    steps = [Rewriting()(2), Rewriting()(3)]
    said = Said()
    assert await Schema(store, writes=3, reads_up_to=3, migrations=steps).migrate(said) == 3
    assert await store.execute("HGETALL", KEY) == [b"version", b"3"]
    assert said[0] == "bringing the stored data up to version 2: rows of version 2"
    assert said[-1] == f"the stored data is of version 3 now: {ROWS} done"


async def test_a_migration_that_broke_goes_on_where_it_was(store: Store) -> None:
    broken, whole = Rewriting(stop_after=20), Rewriting()
    with pytest.raises(RuntimeError, match="the power went out"):
        await Schema(store, writes=2, reads_up_to=2, migrations=[broken()]).migrate(Said())
    assert await Schema(store).version() == 1
    assert await rows(store) == {b"old", b"new"}
    said = Said()
    assert await Schema(store, writes=2, reads_up_to=2, migrations=[whole()]).migrate(said) == 2
    assert (whole.began_at, whole.rewritten) == (["20"], 20)
    assert said[-1].endswith(f"{ROWS} done"), "with what the first one did"
    assert await rows(store) == {b"new"}


async def test_only_one_of_two_migrates_and_the_other_waits(store: Store) -> None:
    slow, idle = Rewriting(), Rewriting()
    slow.go_on.clear()
    said = Said()
    first = asyncio.ensure_future(Schema(store, writes=2, reads_up_to=2, migrations=[slow()]).migrate(Said()))
    await until(lambda: bool(slow.began_at))
    schema = Schema(store, writes=2, reads_up_to=2, migrations=[idle()], pause_s=0.05)
    second = asyncio.ensure_future(schema.migrate(said))
    await until(lambda: bool(said))
    assert said[0] == "another process brings the stored data up to version 2: 0 done"
    slow.go_on.set()
    assert (await first, await second) == (2, 2)
    assert (slow.rewritten, idle.rewritten) == (ROWS, 0)


async def test_who_stands_still_loses_the_lock_and_does_not_finish(store: Store) -> None:
    stuck, quick = Rewriting(), Rewriting()
    stuck.go_on.clear()
    told = Said()
    first = asyncio.ensure_future(Schema(store, writes=2, reads_up_to=2, migrations=[stuck()], lease_s=0.2).migrate(told))
    await until(lambda: bool(stuck.began_at))
    second = Schema(store, writes=2, reads_up_to=2, migrations=[quick()], pause_s=0.05)
    assert await asyncio.wait_for(second.migrate(Said()), 5) == 2
    stuck.go_on.set()
    assert await first == 2
    assert told[-1].startswith("another process goes on with it")
    assert stuck.rewritten == 10, "it ended at the first note of its progress"
    assert await store.execute("HGETALL", KEY) == [b"version", b"2"]


async def test_progress_is_told_at_most_once_a_pause(store: Store) -> None:
    said = Said()
    await Schema(store, writes=2, reads_up_to=2, migrations=[Rewriting(chunk=1)()], pause_s=600).migrate(said)
    assert len(said) == 2
    said.clear()
    await store.execute("HSET", KEY, "version", "1")
    await Schema(store, writes=2, reads_up_to=2, migrations=[Rewriting(chunk=10)()], pause_s=0).migrate(said)
    assert said[1:-1] == [f"version 2: {count} done" for count in (10, 20, 30, 40)]


async def test_it_works_on_a_cluster(valkey_cluster: ValkeyCluster) -> None:
    store = Store(RedisConfig(url=valkey_cluster.url, cluster=True))
    rewriting = Rewriting()
    assert await Schema(store, writes=2, reads_up_to=2, migrations=[rewriting()]).migrate(Said()) == 2
    assert await rows(store) == {b"new"}
    await store.close()


async def test_a_process_does_not_start_on_newer_data(valkey: Valkey, tmp_path: Path) -> None:
    valkey.ask("HSET", KEY, "version", "99")
    node = Node(tmp_path / "node", ["registrar"], {"platform": {"metrics_port": 0, "redis": {"url": valkey.url}}})
    node.launch()
    await until(lambda: node.exit_code is not None, timeout=60)
    assert node.exit_code == 5
    assert "the stored data is of version 99, and this release reads up to version" in node.log()
    assert "Traceback" not in node.log()


async def test_a_bundled_store_is_prepared_by_its_process(tmp_path: Path) -> None:
    node = Node(tmp_path / "node", ["registrar"], {"platform": {"metrics_port": 0}})
    node.launch()
    try:
        await node.ready()
        store = Store(RedisConfig(url=f"unix://{node.folder}/valkey/valkey.sock"))
        assert await store.execute("HGETALL", KEY) == [b"version", str(WRITES).encode()]
        await store.close()
    finally:
        await node.stop()
