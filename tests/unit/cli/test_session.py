"""Commands that are interrupted."""

from __future__ import annotations

import asyncio
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from parley.cli.session import run


async def _wait(cleaned: list[str]) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        cleaned.append("up")


def test_ctrl_c_ends_what_waits_and_lets_it_clean_up() -> None:
    cleaned: list[str] = []
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(_wait(cleaned))
    assert cleaned == ["up"]
    assert signal.getsignal(signal.SIGINT) is before


def test_the_signal_wakes_the_loop_and_is_not_left_to_its_next_event() -> None:
    async def look() -> int:
        return signal.set_wakeup_fd(-1)

    assert run(look()) >= 0


def test_what_is_cancelled_otherwise_is_no_interrupt() -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        run(cancelled())


def test_another_thread_hears_no_signals_and_works_all_the_same() -> None:
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(run, asyncio.sleep(0, "done")).result() == "done"


def test_the_result_comes_back() -> None:
    assert run(asyncio.sleep(0, "done")) == "done"
