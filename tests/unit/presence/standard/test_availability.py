import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.presence.standard.availability import availability_of, pidf_of
from parley.presence.standard.pidf import ACTIVITIES, Pidf, Tuple, build_pidf, parse_pidf

OPEN = (Tuple("t1", "open"),)


@pytest.mark.parametrize(
    ("activities", "other", "number", "token"),
    [
        ((), "", 3500, ""),
        (("unknown",), "", 3500, ""),
        (("shopping", "tv"), "", 3500, ""),
        (("busy",), "", 6500, ""),
        (("on-the-phone",), "", 6500, "on-the-phone"),
        (("busy", "on-the-phone", "meeting"), "", 6500, "on-the-phone"),
        (("meeting",), "", 6500, "in-a-meeting"),
        (("appointment",), "", 6500, "in-a-meeting"),
        (("other",), "In-A-Conference", 6500, "in-a-meeting"),
        (("away",), "", 15500, ""),
        (("permanent-absence",), "", 15500, ""),
        (("vacation",), "", 15500, ""),
        (("away", "on-the-phone"), "", 6500, "on-the-phone"),
        (("other",), "dnd", 9500, ""),
        (("busy", "other"), "Do-Not-Disturb", 9500, ""),
        (("other",), "gardening", 3500, ""),
        (("breakfast",), "", 12500, ""),
        (("lunch",), "", 12500, ""),
        (("dinner",), "", 12500, ""),
        (("away", "meal"), "", 12500, ""),
    ],
)
def test_activities_give_numbers(activities: tuple[str, ...], other: str, number: int, token: str) -> None:
    assert availability_of(Pidf("sip:a@b", OPEN, activities, other_activity=other)) == (number, token)


def test_the_element_of_some_phones_is_do_not_disturb() -> None:
    data = (
        b'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:a@b"><tuple id="1"><status><basic>open</basic></status>'
        b"</tuple><person><activities><do-not-disturb/></activities></person></presence>"
    )
    assert availability_of(parse_pidf(data)) == (9500, "")


def test_open_closed_and_neither() -> None:
    closed = Tuple("t2", "closed")
    assert availability_of(Pidf("sip:a@b", (closed,), ("busy",))) == (18500, "")
    assert availability_of(Pidf("sip:a@b", (closed, *OPEN))) == (3500, "")
    assert availability_of(Pidf("sip:a@b", (Tuple("t3"),))) == (0, "")
    assert availability_of(Pidf("sip:a@b")) == (0, "")
    assert availability_of(Pidf("sip:a@b", (), ("busy",))) == (6500, "")


def test_idle() -> None:
    assert availability_of(Pidf("sip:a@b", OPEN, user_input="idle")) == (5000, "")
    assert availability_of(Pidf("sip:a@b", OPEN, ("on-the-phone",), user_input="idle")) == (8000, "on-the-phone")
    assert availability_of(Pidf("sip:a@b", OPEN, ("away",), user_input="idle")) == (15500, "")
    assert availability_of(Pidf("sip:a@b", OPEN, user_input="active")) == (3500, "")


@pytest.mark.parametrize(
    ("lowest", "highest", "token", "basic", "activities", "other", "idle", "notes"),
    [
        (-5, 2999, "", "closed", (), "", False, ()),
        (3000, 4499, "on-the-phone", "open", (), "", False, ()),
        (4500, 5999, "", "open", (), "", True, ()),
        (6000, 7499, "", "open", ("busy",), "", False, ()),
        (6000, 7499, "on-the-phone", "open", ("on-the-phone",), "", False, ()),
        (6000, 7499, "in-a-conference", "open", ("meeting",), "", False, ()),
        (6000, 7499, "in-a-meeting", "open", ("meeting",), "", False, ()),
        (6000, 7499, "dancing", "open", ("busy",), "", False, ()),
        (7500, 8999, "", "open", ("busy",), "", True, ()),
        (7500, 8999, "On-The-Phone", "open", ("on-the-phone",), "", True, ()),
        (9000, 11999, "on-the-phone", "open", ("busy", "other"), "do-not-disturb", False, ()),
        (12000, 14999, "", "open", ("away",), "", False, ("Be right back",)),
        (15000, 17999, "", "open", ("away",), "", False, ()),
        (18000, 99999, "on-the-phone", "closed", (), "", False, ()),
    ],
)
def test_numbers_give_documents(
    lowest: int, highest: int, token: str, basic: str, activities: tuple[str, ...], other: str, idle: bool,
    notes: tuple[str, ...],
) -> None:  # fmt: skip
    for number in (lowest, (lowest + highest) // 2, highest):
        pidf = pidf_of("sip:a@b", number, token, "", "sip:a@192.0.2.1")
        (only,) = pidf.tuples
        assert (only.id, only.basic, only.contact) == ("t1", basic, "sip:a@192.0.2.1")
        assert (pidf.person_activities, pidf.other_activity, pidf.notes) == (activities, other, notes)
        assert pidf.user_input == ("idle" if idle else None)


def test_a_note_of_the_user_is_kept() -> None:
    assert pidf_of("sip:a@b", 12500, note="Kaffee", tuple_id="x", timestamp=5.0) == Pidf(
        "sip:a@b", (Tuple("x", "open", timestamp=5.0),), ("away",), ("Kaffee",), person_timestamp=5.0
    )


@pytest.mark.parametrize("number", [3500, 5000, 6500, 8000, 9500, 15500, 18500])
def test_numbers_survive_the_way_there_and_back(number: int) -> None:
    assert availability_of(parse_pidf(build_pidf(pidf_of("sip:a@b", number)))) == (number, "")


@given(st.integers(), st.sampled_from(("", "on-the-phone", "in-a-meeting", "x")), st.text(max_size=5))
def test_any_number_is_a_document(number: int, token: str, note: str) -> None:
    pidf = pidf_of("sip:a@b", number, token, note)
    assert ACTIVITIES.issuperset(pidf.person_activities)
    parse_pidf(build_pidf(pidf))
