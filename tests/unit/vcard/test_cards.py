"""Cards of a file: what is good, and what is wrong with the others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.vcard.cards import MAX_PROPERTIES, BadCard, VCard, parse_vcards
from parley.vcard.lines import MAX_LINE, ContentLine
from tests.unit.vcard.test_lines import LINES

RESERVED = {"BEGIN", "END", "VERSION", "PHOTO", "LOGO", "SOUND", "KEY"}
CARDS = st.builds(
    VCard, st.sampled_from(["3.0", "4.0"]),
    st.lists(LINES.filter(lambda line: line.name not in RESERVED), max_size=5).map(tuple),
)  # fmt: skip


def card(*lines: str, version: str = "4.0") -> bytes:
    return "\r\n".join(["BEGIN:VCARD", f"VERSION:{version}", *lines, "END:VCARD", ""]).encode()


@given(st.lists(CARDS, max_size=4))
def test_cards_there_and_back(cards: list[VCard]) -> None:
    found = list(parse_vcards(b"".join(bytes(one) for one in cards)))
    assert all(isinstance(one, VCard) for one in found)
    assert [(one.version, one.properties) for one in found if isinstance(one, VCard)] == [
        (one.version, one.properties) for one in cards
    ]


def test_names_and_preferences() -> None:
    (found,) = parse_vcards(
        card("FN;PREF=2:Second", "FN;PREF=1:First\\, the", "TEL;TYPE=home:1", 'TEL;TYPE="pref,cell":2', "PHOTO:xxxx")
    )
    assert isinstance(found, VCard)
    assert found.full_name == "First, the"
    assert [line.value for line in found.all("TEL")] == ["2", "1"]
    assert found.all("PHOTO") == []
    (made,) = parse_vcards(card("N:Doe;Jane;Q. Public;Dr.;M.D.", version="3.0"))
    assert isinstance(made, VCard)
    assert made.full_name == "Dr. Jane Q. Public Doe M.D."


@pytest.mark.parametrize(
    ("data", "problems"),
    [
        (b"BEGIN:VCARD\nFN:x\nEND:VCARD\n", [(1, "the card has no VERSION")]),
        (card("VERSION:3.0", "FN:x"), [(1, "the card has two VERSIONs")]),
        (card("FN:x", version="2.1"), [(1, "vCard 2.1 is not read; export it as 3.0 or 4.0")]),
        (card("FN:x", "what is this?"), [(4, "WHAT has no value; write WHAT:value")]),
        (card("FN:x").replace(b"FN:x", b"FN:\xff"), [(3, "this is not UTF-8; export the card as vCard 3.0 or 4.0")]),
        (b"BEGIN:VCARD\nVERSION:4.0\n", [(1, "the card has no END:VCARD")]),
        (b"BEGIN:VCARD\n" + card("FN:x"), [(1, "the card has no END:VCARD")]),
        (card(*["X:y"] * (MAX_PROPERTIES + 1)), [(1, "the card has too many properties")]),
        (b"\x00\x01\n\x02\n", [(1, "this is outside of any card; a card begins with BEGIN:VCARD")]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(data: bytes, problems: list[tuple[int, str]]) -> None:
    good = card("FN:good")
    found = list(parse_vcards(data + good))
    bad = [(one.line, one.problem) for one in found if isinstance(one, BadCard)]
    assert bad == problems
    last = found[-1]
    assert isinstance(last, VCard)
    assert last.full_name == "good" or data == card("FN:x")


def test_a_picture_that_is_too_long_leaves_the_card() -> None:
    (found,) = parse_vcards(card("PHOTO:" + "A" * (MAX_LINE + 1), "FN:x"))
    assert isinstance(found, VCard)
    assert found.properties == (ContentLine("FN", "x"),)
