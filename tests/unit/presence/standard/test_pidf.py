"""PIDF with RPID, and its map to availability numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.presence.standard.availability import availability_of, pidf_of
from parley.presence.standard.errors import DocumentError
from parley.presence.standard.pidf import build_pidf, parse_pidf

HEAD = b'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:a@b">'
RPID = b'<d:person xmlns:d="urn:ietf:params:xml:ns:pidf:data-model" xmlns:r="urn:ietf:params:xml:ns:pidf:rpid" id="p">'


def document(basic: bytes, activities: bytes = b"", note: bytes = b"") -> bytes:
    person = RPID + b"<r:activities>" + activities + b"</r:activities></d:person>" if activities else b""
    return HEAD + b'<tuple id="t"><status><basic>' + basic + b"</basic></status></tuple>" + note + person + b"</presence>"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (document(b"open"), (3500, "")),
        (document(b"closed"), (18500, "")),
        (document(b"open", b"<r:busy/>"), (6500, "")),
        (document(b"open", b"<r:on-the-phone/>"), (6500, "on-the-phone")),
        (document(b"open", b"<r:meeting/>"), (6500, "in-a-meeting")),
        (document(b"open", b"<r:away/>"), (15500, "")),
        (document(b"open", b"<r:meal/>"), (12500, "")),
        (document(b"open", b"<r:other>dnd</r:other>"), (9500, "")),
        (HEAD + b"</presence>", (0, "")),
    ],
)
def test_what_phones_publish(body: bytes, expected: tuple[int, str]) -> None:
    assert availability_of(parse_pidf(body)) == expected


@pytest.mark.parametrize("body", [b"", b"<presence/>", HEAD, b"<x/>", document(b"open")[:-5]])
def test_what_is_no_pidf(body: bytes) -> None:
    with pytest.raises(DocumentError):
        parse_pidf(body)


@pytest.mark.parametrize(
    ("availability", "token"),
    [
        (3500, ""),
        (6500, ""),
        (6500, "on-the-phone"),
        (6500, "in-a-meeting"),
        (9500, ""),
        (12500, ""),
        (15500, ""),
        (18500, ""),
    ],
)
def test_there_and_back(availability: int, token: str) -> None:
    found = parse_pidf(build_pidf(pidf_of("sip:a@b", availability, token, "a <note> & more", "sip:a@b", timestamp=1e9)))
    again, activity = availability_of(found)
    assert found.notes == ("a <note> & more",)
    assert activity == token
    assert again == availability or (availability, again) == (12500, 15500)  # "be right back" is "away" for phones


@given(st.integers(0, 20_000), st.text(max_size=30), st.text(max_size=30))
def test_any_state_makes_a_document(availability: int, token: str, note: str) -> None:
    found = parse_pidf(build_pidf(pidf_of("sip:a@b", availability, token, note)))
    assert found.entity == "sip:a@b"
    assert (availability_of(found)[0] >= 18000) == (availability >= 18000 or availability < 3000)


@given(st.binary(max_size=200))
def test_any_bytes_are_pidf_or_refused(data: bytes) -> None:
    for body in (data, HEAD + data + b"</presence>"):
        try:
            availability_of(parse_pidf(body))
        except DocumentError:
            continue
