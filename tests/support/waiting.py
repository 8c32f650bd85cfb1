"""Waiting for something that happens elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

ResultT = TypeVar("ResultT")


async def eventually(look: Callable[[], Awaitable[ResultT]], *, timeout: float = 10.0, what: str = "") -> ResultT:
    """The first result of ``look`` that is true; it is asked again and again until then."""
    deadline = time.monotonic() + timeout
    while True:
        result = await look()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"did not happen within {timeout} s: {what or look}")
        await asyncio.sleep(0.05)


async def until(holds: Callable[[], bool], timeout: float = 10.0) -> None:
    """Returns once something holds that other tasks bring about."""

    async def look() -> bool:
        return holds()

    await eventually(look, timeout=timeout)
