"""What clients were told, counted: final answers by method and status, and what became of REGISTER requests.

Retransmissions that are answered from memory do not count, nor does what a drain sends away (a limit of its own in
`services.frontend.limits`).
"""

from __future__ import annotations

from typing import Final

from parley.platform.telemetry.counters import Cell, FastCounter, FastHistogram
from parley.sip.status import REASONS

COUNTED_METHODS: Final = (
    "REGISTER", "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "MESSAGE", "SUBSCRIBE", "NOTIFY", "PUBLISH", "REFER", "INFO",
    "SERVICE",
)  # fmt: skip
"""Methods that have a number of their own; all others share one, as a client may invent as many as it likes."""

_ANSWERS: Final = FastCounter(
    "parley_frontend_answers_total", "Final answers to requests of clients, by method and status", ["method", "status"]
)
_REGISTERS: Final = FastCounter("parley_frontend_registers_total", "REGISTER requests answered, by outcome", ["outcome"])
REGISTER_SECONDS: Final = FastHistogram(
    "parley_frontend_register_seconds", "Time from a REGISTER to the answer that it is registered",
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)  # fmt: skip

REGISTERED: Final = _REGISTERS.labels("ok")
_CHALLENGED: Final = _REGISTERS.labels("challenged")
REFUSED: Final = _REGISTERS.labels("refused")
_LIMITED: Final = _REGISTERS.labels("limited")
_FAILED: Final = _REGISTERS.labels("failed")

_known: Final[dict[tuple[str, int], Cell]] = {}


def answered(method: str, status: int) -> None:
    """Counts a final answer. A status that no document knows counts as its class, "5xx"."""
    cell = _known.get((method, status))
    if cell is None:
        cell = _ANSWERS.labels(
            method if method in COUNTED_METHODS else "other",
            str(status) if status in REASONS else f"{status // 100}xx",
        )
        if method in COUNTED_METHODS and status in REASONS:
            _known[method, status] = cell
    cell.inc()


def register_outcome(status: int, *, limited: bool) -> Cell:
    """The number for a REGISTER that was refused. ``limited``: by a limit, so it says nothing about the server."""
    if limited:
        return _LIMITED
    if status in (401, 407):
        return _CHALLENGED
    return _FAILED if status >= 500 else REFUSED
