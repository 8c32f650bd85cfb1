"""Content lines: folding, parameters and escapes, there and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.vcard.errors import VCardError
from parley.vcard.lines import (
    FOLD,
    MAX_LINE,
    ContentLine,
    escape,
    fold,
    format_line,
    joined,
    parse_line,
    split_value,
    unescape,
    unfolded,
)

NAMES = st.from_regex(r"[A-Z][A-Z0-9-]{0,12}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs"))).map(str) | st.text('a,;:\\\n"^ é漢🙂')
VALUES = st.text(st.characters(exclude_categories=("Cc", "Cs")))
LINES = st.builds(
    ContentLine, NAMES, VALUES, st.lists(st.tuples(NAMES, TEXTS), max_size=4).map(tuple),
    st.from_regex(r"[A-Za-z0-9-]{0,5}", fullmatch=True),
)  # fmt: skip


def test_a_line_with_everything() -> None:
    line = parse_line('item1.tel;TYPE=home,"voice,cell";PREF=1;X-NOTE=a^nb^\'c^^:+1 (555) 010;ext=1')
    assert (line.group, line.name, line.value) == ("item1", "TEL", "+1 (555) 010;ext=1")
    assert line.param("TYPE") == ["home", "voice,cell"]
    assert line.param("PREF") == ["1"]
    assert line.param("X-NOTE") == ['a\nb"c^']


def test_a_parameter_without_a_value_is_a_type() -> None:
    assert parse_line("TEL;HOME;PREF:1").param("TYPE") == ["HOME", "PREF"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "this is no property; write NAME:value"),
        ("no property", "NO has no value; write NO:value"),
        ("FN", "FN has no value; write FN:value"),
        ("FN;=x:y", "a parameter without a name"),
        ('FN;X="y:z', "FN has no value; write FN:value"),
        ("FN:a\x01b", "FN holds control characters"),
        ("FN" + ";A=b" * 65 + ":c", "FN has too many parameters"),
        ("FN;A=" + "b," * 65 + ":c", "too many parameters"),
    ],
)
def test_what_is_no_line_is_refused(text: str, problem: str) -> None:
    with pytest.raises(VCardError) as refused:
        parse_line(text)
    assert str(refused.value) == problem


def test_lines_are_put_together_by_bytes() -> None:
    data = "\ufeffFN:é".encode() + b"\r\nN:ab\r\n c\n\td\r\n\r\nX:" + "é".encode()[:1] + b"\r\n " + "é".encode()[1:]
    assert list(unfolded(data)) == [(1, "FN:é".encode()), (2, b"N:abcd"), (6, "X:é".encode())]


def test_a_line_that_is_too_long_is_passed_over() -> None:
    picture = b"PHOTO:" + b"\r\n ".join([b"A" * 70] * 1000)
    assert len(picture) > MAX_LINE
    assert list(unfolded(picture + b"\r\nFN:x\r\n" + b"B" * (MAX_LINE + 1))) == [(1, None), (1001, b"FN:x"), (1002, None)]


@given(st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), min_size=1))
def test_folding_never_splits_a_character(text: str) -> None:
    folded = fold(text.encode())
    parts = folded.split(b"\r\n")
    assert parts.pop() == b""
    assert all(len(part) <= FOLD for part in parts)
    for part in parts:
        part.decode()
    first, *rest = parts
    assert first + b"".join(part[1:] for part in rest) == text.encode()


@given(LINES)
def test_lines_there_and_back(line: ContentLine) -> None:
    ((number, raw),) = unfolded(format_line(line))
    assert number == 1
    assert raw is not None
    assert parse_line(raw.decode()) == line


@given(st.text(st.characters(exclude_categories=("Cc", "Cs"))) | st.text("a,;\\\n n"))
def test_escapes_there_and_back(text: str) -> None:
    assert unescape(escape(text)) == text
    assert split_value(escape(text), ",") == [escape(text)]


@given(st.lists(st.text("ab,;\\\n"), min_size=1))
def test_lists_there_and_back(texts: list[str]) -> None:
    assert ContentLine("CATEGORIES", joined(texts)).texts == texts


def test_control_characters_are_written_as_blanks() -> None:
    assert escape("a\x01b\r\nc\rd") == "a b\\nc\\nd"
