"""Names and days of address-book files, and which of them a run writes and removes."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.addressbook.errors import BookFileError
from parley.addressbook.files.names import BookKind, BookName, date_of_day, day_of, day_of_date, delta_name, full_name
from parley.addressbook.files.retention import KEPT_DAYS, plan


@pytest.mark.parametrize(
    ("day", "number"),
    [
        (date(2001, 1, 1), 0), (date(2008, 1, 21), 0x0A10), (date(2008, 5, 24), 0x0A8C), (date(2009, 2, 3), 0x0B8B),
        (date(2180, 6, 6), 0xFFFF),
    ],
)  # fmt: skip
def test_numbers_of_days(day: date, number: int) -> None:
    assert day_of_date(day) == number
    assert date_of_day(number) == day


def test_the_day_is_that_of_utc() -> None:
    midnight = datetime(2009, 2, 3, tzinfo=UTC).timestamp()
    assert (day_of(midnight - 0.1), day_of(midnight)) == (0x0B8A, 0x0B8B)


@pytest.mark.parametrize("day", [date(2000, 12, 31), date(2180, 6, 7)])
def test_days_without_a_number(day: date) -> None:
    with pytest.raises(BookFileError, match="is no day of address-book files; set the clock right"):
        day_of_date(day)


NAMES = st.builds(
    lambda kind, days, devices: BookName(kind, max(days), None if kind is BookKind.FULL else min(days), devices),
    st.sampled_from(BookKind), st.lists(st.integers(0, 0xFFFF), min_size=2, max_size=2, unique=True), st.booleans(),
)  # fmt: skip


@given(NAMES)
def test_names_there_and_back(name: BookName) -> None:
    assert BookName.parse(str(name)) == name
    assert BookName.parse(str(name).lower()) == name


def test_names_as_they_are_written() -> None:
    assert str(full_name(0x0B8B)) == "F-0B8B.lsabs"
    assert str(delta_name(0x0A10, 0x0A11)) == "D-0A10-0A11.lsabs"
    assert str(full_name(1, devices=True)) == "F-0001.dabs"


@pytest.mark.parametrize(
    "text",
    [
        "", "F-0B8B", "F-0B8.lsabs", "F-0B8B.lsabs.bak", "F-0B8B-0B8C.lsabs", "D-0B8B.lsabs", "D-0002-0001.lsabs",
        "F-0b8g.dabs", "D-0001-0001.lsabs", "../F-0B8B.lsabs", "F-0B8B.lsabs\n", "F-٠٠٠٠.lsabs",
    ],
)  # fmt: skip
def test_what_is_no_name(text: str) -> None:
    assert BookName.parse(text) is None


def test_the_first_run_writes_a_full_file() -> None:
    first = plan(["rules.txt"], 100)
    assert (str(first.full), first.deltas, first.remove) == ("F-0064.lsabs", (), ())


def test_a_month_of_runs_has_what_the_sheet_says() -> None:
    folder: set[str] = {"Company_Phone_Number_Normalization_Rules.txt"}
    for day in range(1000, 1062):
        for devices in (False, True):
            run = plan(sorted(folder), day, devices=devices)
            folder.add(str(run.full))
            folder.update(map(str, run.deltas))
            folder.difference_update(run.remove)
    assert len(folder) == 1 + 1800
    assert sum(name.startswith("F-") for name in folder) == 60


def test_what_is_old_and_what_is_of_a_day_to_come_goes() -> None:
    names = [
        "f-0001.LSABS",
        "F-0064.lsabs",
        "F-0065.lsabs",
        "D-0001-0002.lsabs",
        "C-0001-0040.lsabs",
        "F-0001.dabs",
        "F-0063.lsabs",
    ]
    run = plan(names, 100)
    assert run.remove == ("C-0001-0040.lsabs", "D-0001-0002.lsabs", "F-0065.lsabs", "f-0001.LSABS")
    assert [str(name) for name in run.deltas] == ["D-0063-0064.lsabs"]


@given(st.sets(st.integers(0, 200)), st.integers(0, 200))
def test_deltas_lead_from_every_kept_day(days: set[int], today: int) -> None:
    run = plan([str(full_name(day)) for day in days], today)
    kept = {day for day in days if today - KEPT_DAYS < day < today}
    assert [name.base for name in run.deltas] == sorted(kept, reverse=True)
    assert {str(full_name(day)) for day in days} - set(run.remove) == {
        str(full_name(day)) for day in kept | (days & {today})
    }
