"""Which files a run writes, and which it removes (web-services sheet, section 1.2).

A run writes the full file of the day and a delta from each full file of the 29 days before. Files of 30 days are kept. What
there is, is told by names alone; names that are none of address-book files are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from parley.addressbook.files.names import BookKind, BookName, delta_name, full_name

KEPT_DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does, in this order: it writes the full file, the deltas, and then removes what is old."""

    full: BookName
    deltas: tuple[BookName, ...]
    """From the latest base to the oldest. Those that would be too large are not written."""
    remove: tuple[str, ...]
    """Names as they are in the folder."""


def plan(existing: Iterable[str], today: int, *, devices: bool = False, keep: int = KEPT_DAYS) -> Plan:
    """What to do. ``existing``: the names of the folder; ``today``: the number of the day; ``keep``: days."""
    bases: set[int] = set()
    remove: list[str] = []
    for text in existing:
        name = BookName.parse(text)
        if name is None or name.devices != devices:
            continue
        # A file of a day to come was written when the clock was wrong; a client that has it would never take another.
        if not today - keep < name.day <= today:
            remove.append(text)
        elif name.kind is BookKind.FULL and name.day < today:
            bases.add(name.day)
    deltas = tuple(delta_name(base, today, devices=devices) for base in sorted(bases, reverse=True))
    return Plan(full_name(today, devices=devices), deltas, tuple(sorted(remove)))
