"""Requests of devices in XML of about any form, and what they are answered."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.addressbook.device_xml import (
    NAMES,
    Names,
    Offer,
    answer_bytes,
    parse_answer,
    parse_request,
    request_bytes,
)
from parley.addressbook.devices import Device, Module
from parley.addressbook.errors import DeviceError

PHONE = Device(
    "UCPhone", "Polycom", "CX700", "A", "en-US", "00:04:F2:12:34:56", "S1", "sip:ada@example.com",
    (Module("cpe.nbt", "1.0.199.123", "2008-01-01"), Module("ring.wav", "2")),
)  # fmt: skip
TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn", "Z"]), max_size=20)


def test_requests_of_other_forms() -> None:
    as_attributes = b"""<u:update xmlns:u="urn:x" DEVICETYPE="UCPhone" vendor="Polycom"><u:Device model="CX700"
      revision=" A "/><Modules><module FileName="a" VERSION="1" Timestamp="t"/><Module><filename>b</filename>
      <version>2</version></Module></Modules><Unknown>x</Unknown></u:update>"""
    assert parse_request(as_attributes) == Device(
        "UCPhone", "Polycom", "CX700", "A", modules=(Module("a", "1", "t"), Module("b", "2"))
    )
    # The version of a module is not that of the device, and the first of two values counts.
    twice = b"<r><Module><FileName>a</FileName><Model>no</Model></Module><Model>CX</Model><Model>other</Model></r>"
    assert parse_request(twice) == Device("", "", "CX", modules=(Module("a", ""),))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "not well-formed"),
        (b"POST / HTTP/1.1", "not well-formed"),
        (b"<!DOCTYPE r><r/>", "document type"),
        (b"<r>" * 9 + b"</r>" * 9, "too deeply"),
        (b"<r>" + b"x" * 70_000 + b"</r>", "too large"),
        (b"<r><Vendor>" + b"x" * 129 + b"</Vendor></r>", "Vendor has more than 128 characters"),
        (b"<r>" + b"<Module/>" * 65 + b"</r>", "at most 64 modules"),
    ],
)
def test_requests_that_cannot_be_read(data: bytes, problem: str) -> None:
    with pytest.raises(DeviceError, match=problem):
        parse_request(data)


def test_what_is_not_said_is_empty() -> None:
    assert parse_request(b"<r/>") == Device("", "", "")


@given(
    fields=st.lists(TEXT, min_size=8, max_size=8),
    modules=st.lists(st.tuples(TEXT, TEXT, TEXT).map(lambda texts: Module(*texts)), max_size=4),
)
def test_a_request_that_is_written_is_read(fields: list[str], modules: list[Module]) -> None:
    names = ("type", "vendor", "model", "revision", "locale", "mac", "serial", "user")
    device = Device(**dict(zip(names, fields, strict=True)), modules=tuple(modules))
    assert parse_request(request_bytes(device)) == device


def test_an_answer_says_where_files_are() -> None:
    module = Module("cpe.nbt", "2.0", "t", "cpe.cat", 5, "ab" * 32)
    data = answer_bytes([module], lambda file, outside: f"https://x/{'ext' if outside else 'int'}/{file}")
    assert parse_answer(data) == (Offer(module, "https://x/int/cpe.nbt", "https://x/ext/cpe.nbt"),)
    assert b"<SignatureExternalUrl>https://x/ext/cpe.cat</SignatureExternalUrl>" in data
    assert parse_answer(answer_bytes([])) == ()
    assert answer_bytes([]) == b"<Response><Modules/></Response>"


def test_other_names_can_be_put_in_place() -> None:
    other = replace(NAMES, request="R", module="File", file="Name", vendor="Maker")
    assert isinstance(other, Names)
    data = request_bytes(PHONE, other)
    assert b"<Maker>Polycom</Maker>" in data
    assert parse_request(data, other) == PHONE
    assert parse_request(data).vendor == ""


def test_answers_that_cannot_be_read() -> None:
    with pytest.raises(DeviceError, match="size of a module"):
        parse_answer(b"<r><Module><Size>-1</Size></Module></r>")
