"""Names of address-book files, and the numbers of days in them (web-services sheet, section 1.1).

Days are counted from 2001-01-01 (UTC), which is 0, and written as four hexadecimal digits. Names are compared without case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Final

from parley.addressbook.errors import BookFileError

EPOCH: Final = date(2001, 1, 1)
LAST_DAY: Final = 0xFFFF

_NAME: Final = re.compile(r"(?:F-([0-9A-F]{4})|([DC])-([0-9A-F]{4})-([0-9A-F]{4}))\.(lsabs|dabs)", re.IGNORECASE | re.ASCII)


class BookKind(StrEnum):
    """What a file holds."""

    FULL = "F"
    DELTA = "D"
    COMPACT = "C"


def day_of(moment: float) -> int:
    """The number of the day of a time (Unix), in UTC. Raises BookFileError for days that have none."""
    return day_of_date(datetime.fromtimestamp(moment, UTC).date())


def day_of_date(day: date) -> int:
    """The number of a day. Raises BookFileError for days that have none."""
    number = (day - EPOCH).days
    if not 0 <= number <= LAST_DAY:
        raise BookFileError(f"{day} is no day of address-book files; set the clock right")
    return number


def date_of_day(number: int) -> date:
    """The day of a number."""
    return EPOCH + timedelta(days=number)


@dataclass(frozen=True, slots=True)
class BookName:
    """The name of a file."""

    kind: BookKind
    day: int
    base: int | None = None
    """Of a delta, the day of the full file that it changes; it is before ``day``."""
    devices: bool = False
    """Whether it is for phones (``.dabs``)."""

    def __str__(self) -> str:
        days = f"{self.day:04X}" if self.base is None else f"{self.base:04X}-{self.day:04X}"
        return f"{self.kind}-{days}.{'dabs' if self.devices else 'lsabs'}"

    @classmethod
    def parse(cls, text: str) -> BookName | None:
        """None for what is no such name."""
        found = _NAME.fullmatch(text)
        if found is None:
            return None
        full, kind, base, day, suffix = found.groups()
        devices = suffix.lower() == "dabs"
        if full:
            return cls(BookKind.FULL, int(full, 16), None, devices)
        if int(base, 16) >= int(day, 16):
            return None
        return cls(BookKind(kind.upper()), int(day, 16), int(base, 16), devices)


def full_name(day: int, *, devices: bool = False) -> BookName:
    """The name of the full file of a day."""
    return BookName(BookKind.FULL, day, None, devices)


def delta_name(base: int, day: int, *, devices: bool = False) -> BookName:
    """The name of the delta between two days."""
    return BookName(BookKind.DELTA, day, base, devices)
