"""The store against real servers: alone, behind Sentinel, as a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from parley.platform.config import RedisConfig
from parley.platform.store.client import Store, parse_url
from parley.platform.store.errors import StoreError, StoreNotDurable, StoreUnavailable
from parley.platform.store.scripts import Script
from parley.platform.store.valkey import BundledValkey
from tests.support.valkey import Valkey, ValkeyCluster, ValkeySentinel
from tests.support.waiting import eventually

pytestmark = pytest.mark.valkey

ADD = "return redis.call('INCRBY', KEYS[1], ARGV[1])"


@pytest.fixture
async def store(valkey: Valkey) -> AsyncIterator[Store]:
    opened = Store(RedisConfig(url=valkey.url))
    yield opened
    await opened.close()


async def test_commands_scripts_and_their_errors(store: Store) -> None:
    assert await store.execute("SET", "k", "v") == b"OK"
    assert await store.execute("GET", "k") == b"v"
    with pytest.raises(StoreError, match="WRONGTYPE"):
        await store.execute("HGET", "k", "f")
    good, bad = await store.pipeline([["GET", "k"], ["HGET", "k", "f"]])
    assert good == b"v"
    assert isinstance(bad, StoreError)
    script = Script(store, "add", ADD)
    assert await script.many([(["n"], [i]) for i in range(5)]) == [0, 1, 3, 6, 10]
    replies = await script.many([(["n"], [1]), (["k"], [1])])
    assert replies[0] == 11
    assert isinstance(replies[1], StoreError)


async def test_a_script_is_loaded_again_after_a_flush(store: Store, valkey: Valkey) -> None:
    script = Script(store, "add", ADD)
    assert await script(["n"], [1]) == 1
    valkey.ask("SCRIPT", "FLUSH")
    assert await script(["n"], [1]) == 2
    valkey.ask("SCRIPT", "FLUSH")
    assert await script.durable(["n"], [1]) == 3


async def test_durable_writes_share_one_wait_and_survive_a_kill(tmp_path: Path) -> None:
    with Valkey(tmp_path) as server:
        store = Store(RedisConfig(url=server.url))
        assert await asyncio.gather(*(store.durable("SET", f"k{i}", i) for i in range(50))) == [b"OK"] * 50
        server.kill()
        server.start()
        assert await store.execute("GET", "k49") == b"49"
        await store.close()


async def test_a_write_that_cannot_be_made_durable_is_not_acknowledged(tmp_path: Path) -> None:
    with Valkey(tmp_path, "--appendonly", "no") as server:
        store = Store(RedisConfig(url=server.url))
        with pytest.raises(StoreNotDurable):
            await store.durable("SET", "k", "v")
        await store.close()


async def test_away_fails_fast_and_comes_back(tmp_path: Path) -> None:
    with Valkey(tmp_path) as server:
        store = Store(RedisConfig(url=server.url))
        assert await store.execute("SET", "k", "v") == b"OK"
        server.kill()
        with pytest.raises(StoreUnavailable):
            await asyncio.wait_for(store.execute("GET", "k"), 2)
        with pytest.raises(StoreUnavailable):
            await asyncio.wait_for(store.execute("GET", "k"), 2)
        server.start()

        async def back() -> bool:
            try:
                return bool(await store.execute("GET", "k") == b"v")
            except StoreUnavailable:
                return False

        await eventually(back)
        await store.close()


async def test_a_server_that_hangs_counts_as_away(tmp_path: Path) -> None:
    with Valkey(tmp_path) as server:
        store = Store(RedisConfig(url=server.url), timeout_s=0.3)
        await store.execute("PING", key="x")
        sleeping = asyncio.create_task(asyncio.to_thread(server.ask, "DEBUG", "SLEEP", 2))
        await asyncio.sleep(0.2)
        with pytest.raises(StoreUnavailable):
            await asyncio.wait_for(store.execute("GET", "k"), 3)
        await sleeping
        await store.close()


async def test_cluster_runs_scripts_where_their_keys_are(tmp_path: Path) -> None:
    with ValkeyCluster(tmp_path) as cluster:
        store = Store(RedisConfig(url=cluster.url, cluster=True))
        script = Script(store, "both", "redis.call('SET', KEYS[1], ARGV[1]); return redis.call('INCR', KEYS[2])")
        calls = [([f"{{t{i}}}a", f"{{t{i}}}b"], [i]) for i in range(48)]
        assert await script.many(calls) == [1] * 48
        assert [await store.execute("GET", f"{{t{i}}}a") for i in range(48)] == [str(i).encode() for i in range(48)]
        assert await store.durable("SET", "{t1}a", "x") == b"OK"
        assert all(node.ask("DBSIZE") > 0 for node in cluster.nodes)
        await store.close()


async def test_sentinel_fail_over_is_followed(tmp_path: Path) -> None:
    with ValkeySentinel(tmp_path) as group:
        store = Store(RedisConfig(sentinels=[f"127.0.0.1:{group.port}"]))
        assert await store.execute("SET", "k", "v") == b"OK"
        assert group.master.ask("WAIT", 1, 2000) >= 0
        group.master.kill()

        async def moved() -> bool:
            try:
                return bool(await store.execute("SET", "k2", "v2") == b"OK")
            except StoreError:
                return False

        await eventually(moved, timeout=30, what="writes go to the promoted replica")
        assert group.replica.client.get("k2") == b"v2"
        await store.close()


async def test_bundled_server_keeps_its_data_in_a_folder_of_its_own(tmp_path: Path) -> None:
    for expected in (None, b"v"):
        server = BundledValkey(tmp_path / "v")
        store = Store(RedisConfig(url=await server.start()))
        assert await store.execute("GET", "k") == expected
        assert await store.durable("SET", "k", "v") == b"OK"
        assert (tmp_path / "v").stat().st_mode & 0o077 == 0
        await store.close()
        await server.stop()


@pytest.mark.parametrize("url", ["http://x", "redis://", "127.0.0.1:6379", ""])
def test_what_is_no_redis_url_is_said(url: str) -> None:
    with pytest.raises(ValueError, match="not a Redis URL"):
        parse_url(url)
