import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.messaging.iscomposing import IsComposing, build_iscomposing, parse_iscomposing
from tests.unit.presence.standard.made import maybe_numbers, maybe_times, refused, texts

NS = b'<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing">'
FULL = NS + (
    b"<state>active</state><lastactive>2024-05-06T05:08:09Z</lastactive><contenttype>text/plain</contenttype>"
    b"<refresh>90</refresh></isComposing>"
)


def test_it_is_read_and_written() -> None:
    status = IsComposing("active", 1_714_972_089.0, "text/plain", 90)
    assert parse_iscomposing(FULL) == status
    assert build_iscomposing(status) == FULL


def test_any_other_state_is_idle() -> None:
    data = NS + b"<state>thinking</state><lastactive>now</lastactive><refresh>soon</refresh></isComposing>"
    assert parse_iscomposing(data) == IsComposing("idle")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (FULL[:-1], "not well-formed"),
        (NS + b"</isComposing>", "no state"),
        (NS + b"<state> </state></isComposing>", "no state"),
        (b"<isComposing/>", "the root is not isComposing of urn:ietf:params:xml:ns:im-iscomposing"),
    ],
)
def test_what_is_refused(data: bytes, text: str) -> None:
    assert refused(parse_iscomposing, data) == f"composing status: {text}"


@given(st.builds(IsComposing, st.sampled_from(("active", "idle")), maybe_times, texts, maybe_numbers))
def test_what_is_written_is_read_again(status: IsComposing) -> None:
    assert parse_iscomposing(build_iscomposing(status)) == status
