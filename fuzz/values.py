"""Values of headers: addresses, Via, parameters, lists, quoted strings, folds, names."""

from __future__ import annotations

from fuzz.common import read, same, text_of
from parley.sip.headers import canonical_name, header_line, is_token, split_comma, unfold
from parley.sip.nameaddr import parse_name_addr
from parley.sip.outbound import instance_of, reg_id_of
from parley.sip.params import parse_params, quote, unquote
from parley.sip.via import parse_via


def fuzz_one(data: bytes) -> None:
    """Reads the same text as each kind of value."""
    text = text_of(data)
    assert unquote(quote(text)) == text
    _name(text)
    value = unfold(text)
    assert unfold(value) == value, (text, value)
    assert "\n" not in value and value.strip(" \t") == value, (text, value)
    line = read(lambda: header_line("X-Fuzz", text))
    if line is not None:
        # Each line end is followed by a blank: no other header can begin.
        assert all(part[:1] in (" ", "\t") and "\r" not in part for part in line.split("\r\n")[1:]), line
        assert "\n" not in line.replace("\r\n", ""), line
    _list(value)
    _via(value)
    _address(value)
    _parameters(value)


def _name(text: str) -> None:
    name = canonical_name(text) if text else ""
    if name:
        assert canonical_name(name) == name, (text, name)
        assert is_token(name) == is_token(text.strip()), (text, name)


def _list(text: str) -> None:
    values = split_comma(text)
    assert all(value == value.strip(" \t") and value for value in values), values
    assert split_comma(", ".join(values)) == values, (text, values)


def _parameters(text: str) -> None:
    params = read(lambda: parse_params(text))
    if params is None:
        return
    again = parse_params(str(params)[1:])
    same(params, again)
    same(params, params.copy())
    for name, value in params:
        assert name in params and (not name.isascii() or name.swapcase() in params)
        assert unquote(value or "") is not None
    changed = params.copy()
    changed.set("x-fuzz", "1")
    assert parse_params(str(changed)[1:]).get("X-Fuzz") == "1"
    changed.remove("x-fuzz")
    assert "x-fuzz" not in changed


def _via(text: str) -> None:
    via = read(lambda: parse_via(text))
    if via is None:
        return
    same(via, parse_via(str(via)))
    assert via.rport is None or 0 <= via.rport <= 99_999
    assert via.ttl is None or 0 <= via.ttl <= 255
    assert via.port is None or 0 <= via.port <= 65_535
    assert (via.branch, via.received, via.maddr) is not None
    # As a server adds them (RFC 3261 section 18.2.1, RFC 3581).
    via.params.set("received", "192.0.2.1")
    via.params.set("rport", "5060")
    again = parse_via(str(via))
    assert (again.received, again.rport) == ("192.0.2.1", 5060), again


def _address(text: str) -> None:
    address = read(lambda: parse_name_addr(text))
    if address is None:
        return
    same(address, parse_name_addr(str(address)))
    uri = read(lambda: address.uri)
    if uri is not None:
        assert uri == address.uri
    assert 0 <= reg_id_of(address) < 2**31
    instance_of(address)
    address.params.set("tag", "fuzz")
    assert parse_name_addr(str(address)).tag == "fuzz"
