"""All dashboards."""

from __future__ import annotations

from typing import Final

from tools.dashboards import calls, events, messages, overview, presence, processes, redis, relay, sign_ins

DASHBOARDS: Final = (
    overview.BOARD, sign_ins.BOARD, calls.BOARD, presence.BOARD, messages.BOARD, relay.BOARD, redis.BOARD, events.BOARD,
    processes.BOARD,
)  # fmt: skip
