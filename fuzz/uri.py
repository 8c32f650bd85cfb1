"""URIs: reading, writing, comparison and addresses of record. Two lines are two URIs to compare."""

from __future__ import annotations

from fuzz.common import read, same, text_of
from parley.sip.gruu import gruu_instance, public_gruu
from parley.sip.location import Target
from parley.sip.uri import Uri, aor, escape_user, parse_uri, shared_uri, split_host_port, unescape, uri_equal


def fuzz_one(data: bytes) -> None:
    """Reads one URI or two."""
    first, _, second = text_of(data).partition("\n")
    a = _one(first)
    b = _one(second)
    if a is not None and b is not None:
        _two(a, b)


def _one(text: str) -> Uri | None:
    decoded = unescape(text)
    assert unescape(escape_user(decoded)) == decoded, text
    read(lambda: split_host_port(text))
    uri = read(lambda: parse_uri(text))
    if uri is None:
        assert read(lambda: shared_uri(text)) is None
        return None
    written = str(uri)
    again = parse_uri(written)
    same(uri, again)
    same(uri, shared_uri(text))
    same(uri, uri.copy())
    assert uri_equal(uri, uri), text
    assert uri_equal(uri, again), text
    assert " " not in written and "\r" not in written and "\n" not in written, written
    _address_of_record(uri)
    Target.of(uri)
    gruu_instance(uri)
    return uri


def _address_of_record(uri: Uri) -> None:
    """It is a URI, stands for itself, and carries an instance."""
    address = aor(uri)
    again = parse_uri(address)
    assert aor(again) == address, (uri, address)
    if uri.is_sip:
        assert again.is_sip and not len(again.params) and again.port is None, address
        assert unescape(again.user or "") == unescape(uri.user or ""), (uri, address)
        gruu = parse_uri(public_gruu(address, "<urn:x;y=1>"))
        assert gruu_instance(gruu) == "<urn:x;y=1>", gruu
        assert aor(gruu) == address, gruu


def _two(a: Uri, b: Uri) -> None:
    equal = uri_equal(a, b)
    assert equal == uri_equal(b, a), (a, b)
    if equal and (a.is_sip or a.scheme == "tel"):
        assert aor(a) == aor(b), (a, b)
    if a == b:
        assert equal, (a, b)
