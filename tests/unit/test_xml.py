import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from parley.xml import XmlError, child, children, local_name, namespace, parse_xml, text_of, to_bytes


def test_it_reads_and_writes() -> None:
    root = parse_xml(b'<?xml version="1.0"?><a xmlns="urn:x"><!-- no --><b> one </b><b>two</b></a>')
    assert (local_name(root), namespace(root)) == ("a", "urn:x")
    assert [text_of(found) for found in children(root, "b")] == ["one", "two"]
    assert text_of(child(root, "c")) == ""
    assert parse_xml(to_bytes(root)).tag == root.tag


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not well-formed"),
        (b"<a>", "not well-formed"),
        (b"<a/>" + b" " * 300_000, "too large"),
        (b"<a>" * 40 + b"</a>" * 40, "too deeply"),
        (b"<a>" + b"<b/>" * 20_001 + b"</a>", "too many elements"),
        (b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "document type"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "document type"),
        ('<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE a><a/>'.encode("utf-16"), "document type"),
        (b"<a>&x;</a>", "not well-formed"),
        (b'<a><b xmlns="x[y"/><c xmlns="relative"/></a>', "not a valid URI"),
    ],
)
def test_what_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(XmlError, match=reason):
        parse_xml(data)


def test_names_with_and_without_a_namespace() -> None:
    root = parse_xml(b'<a xmlns="urn:x"><c xmlns=""/></a>')
    assert (local_name(root), namespace(root)) == ("a", "urn:x")
    assert (local_name(root[0]), namespace(root[0])) == ("c", "")


@given(st.binary(max_size=200))
def test_any_bytes_are_xml_or_refused(data: bytes) -> None:
    try:
        root = parse_xml(b"<" + data)
    except XmlError:
        return
    assert isinstance(root, etree._Element)
