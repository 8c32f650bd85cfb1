import pytest
from hypothesis import given

from parley.presence.standard.tree import number, read_time, write_time
from tests.unit.presence.standard.made import times


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("1970-01-01T00:00:01", 1.0),
        ("1970-01-01T01:30:00.5+01:30", 0.5),
        ("1969-12-31T23:00:00-02:00", 3600.0),
        ("2016-12-31T23:59:60Z", 1_483_228_799.0),
        ("1969-12-31T23:59:59Z", None),
        ("2024-02-30T00:00:00Z", None),
        ("2024-02-03T00:00:00+99:00", None),
        ("9999-12-31T23:59:59-01:00", None),
        ("2024-02-03", None),
        ("", None),
        ("٢٠٢٤-02-03T00:00:00Z", None),
    ],
)
def test_times(text: str, seconds: float | None) -> None:
    assert read_time(text) == seconds


@given(times)
def test_a_time_that_is_written_is_read_again(seconds: float) -> None:
    assert read_time(write_time(seconds)) == seconds


def test_times_out_of_range_are_the_nearest() -> None:
    assert write_time(-1.0) == "1970-01-01T00:00:00Z"
    assert write_time(1e300) == "9999-12-31T23:59:59Z"


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("4294967295", 2**32 - 1), ("4294967296", None), ("-1", None), ("", None), ("٣", None), ("1" * 5000, None)],
)
def test_numbers(text: str, value: int | None) -> None:
    assert number(text) == value
