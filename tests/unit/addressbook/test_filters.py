"""Filters of LDAP: the examples of RFC 4515, there and back, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.addressbook.errors import FilterError
from parley.addressbook.ldap.filters import (
    MAX_DEPTH,
    And,
    Comparison,
    Extensible,
    Filter,
    Not,
    Or,
    Present,
    Substrings,
    parse_filter,
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("(cn=Babs Jensen)", Comparison("cn", b"Babs Jensen")),
        ("(!(cn=Tim Howes))", Not(Comparison("cn", b"Tim Howes"))),
        (
            "(&(objectClass=Person)(|(sn=Jensen)(cn=Babs J*)))",
            And((Comparison("objectClass", b"Person"), Or((Comparison("sn", b"Jensen"), Substrings("cn", b"Babs J"))))),
        ),
        ("(o=univ*of*mich*)", Substrings("o", b"univ", (b"of", b"mich"))),
        ("(seeAlso=)", Comparison("seeAlso", b"")),
        ("(cn:caseExactMatch:=Fred Flintstone)", Extensible("cn", b"Fred Flintstone", "caseExactMatch")),
        ("(cn:=Betty Rubble)", Extensible("cn", b"Betty Rubble")),
        ("(sn:dn:2.4.6.8.10:=Barney Rubble)", Extensible("sn", b"Barney Rubble", "2.4.6.8.10", True)),
        ("(o:dn:=Ace Industry)", Extensible("o", b"Ace Industry", "", True)),
        ("(:1.2.3:=Wilma Flintstone)", Extensible("", b"Wilma Flintstone", "1.2.3")),
        ("(:DN:2.4.6.8.10:=Dino)", Extensible("", b"Dino", "2.4.6.8.10", True)),
        (r"(o=Parens R Us \28for all\29)", Comparison("o", b"Parens R Us (for all)")),
        (r"(cn=*\2A*)", Substrings("cn", b"", (b"*",))),
        (r"(filename=C:\5cMyFile)", Comparison("filename", b"C:\\MyFile")),
        (r"(bin=\00\00\00\04)", Comparison("bin", b"\0\0\0\4")),
        (r"(sn=Lu\c4\8di\c4\87)", Comparison("sn", "Lučić".encode())),
        ("(1.3.6.1.4.1.1466.0=\\04\\02\\48\\69)", Comparison("1.3.6.1.4.1.1466.0", b"\4\2Hi")),
        ("(&)", And(())), ("(|)", Or(())), ("(cn=*)", Present("cn")),
        ("(cn;lang-de>=x)", Comparison("cn;lang-de", b"x", ">=")),
        (" (a~=b) ", Comparison("a", b"b", "~=")), ("(a=*b)", Substrings("a", final=b"b")),
    ],
)  # fmt: skip
def test_filters(text: str, found: Filter) -> None:
    assert parse_filter(text) == found
    assert parse_filter(str(found)) == found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "at character 1: ( is missing"),
        ("cn=x", "at character 1: ( is missing; found 'c'"),
        ("(cn=x", "at character 6: ) is missing"),
        ("(cn=x))", "at character 7: there is more behind the filter; put both into (&...) or (|...)"),
        ("(cn=x)(sn=y)", "at character 7: there is more behind the filter; put both into (&...) or (|...)"),
        ("()", "at character 2: a comparison is missing; write attribute=value"),
        ("(=x)", "at character 2: a comparison is missing; write attribute=value"),
        ("(:=x)", "at character 2: a comparison is missing; write attribute=value"),
        ("(cn x=y)", "at character 2: a comparison is missing; write attribute=value"),
        ("(cn=a(b)", "at character 6: ) is missing; found '('"),
        ("(cn=a**b)", "at character 9: nothing stands between the asterisks"),
        ("(cn=**)", "at character 7: nothing stands between the asterisks"),
        ("(cn>=a*)", "at character 7: ) is missing; found '*'"),
        ("(cn=a\\zz)", "at character 6: a backslash is followed by two hexadecimal digits; write \\5c for a backslash"),
        ("(cn=\0)", "at character 5: ) is missing; found '\\x00'"),
        ("(cn=\ud800)", "at character 6: a value holds half a character"),
        ("(!)", "at character 3: ( is missing; found ')'"),
        ("(&" * 30 + ")" * 30, "at character 51: the filter is nested too deeply"),
        ("(&" + "(a=b)" * 1_100 + ")", "at character 5118: more than 1024 parts are too many"),
        ("x" * 20_000, "the filter is longer than 16384 characters; shorten it"),
    ],
)
def test_what_is_no_filter(text: str, problem: str) -> None:
    with pytest.raises(FilterError) as refused:
        parse_filter(text)
    assert str(refused.value) == problem


@pytest.mark.parametrize("text", ["*", "a)(uid=*", "\\", "\0", "*)(objectClass=*))(&(cn=", "é", "\ud800", "a\nb"])
def test_values_stay_values(text: str) -> None:
    value = text.encode("utf-8", "surrogatepass")
    for found in (Comparison("cn", value), Substrings("cn", value), Extensible("cn", value)):
        assert parse_filter(str(found)) == found


NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,6}|[0-9]\.[0-9]{1,3}", fullmatch=True)
BYTES = st.binary(max_size=6) | st.text(max_size=6).map(lambda text: text.encode("utf-8", "surrogatepass"))
FULL = BYTES.filter(bool)
ITEMS = st.one_of(
    st.builds(Comparison, NAMES, BYTES, st.sampled_from(["=", "~=", ">=", "<="])), st.builds(Present, NAMES),
    st.builds(Substrings, NAMES, FULL, st.lists(FULL, max_size=2).map(tuple), BYTES),
    st.builds(Extensible, NAMES, BYTES, st.just("") | NAMES.filter(lambda name: name.lower() != "dn"), st.booleans()),
)  # fmt: skip
FILTERS: st.SearchStrategy[Filter] = st.recursive(
    ITEMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: And(tuple(parts))),
        st.lists(inner, max_size=3).map(lambda parts: Or(tuple(parts))), inner.map(Not),
    ),
    max_leaves=6,
)  # fmt: skip


@given(FILTERS)
def test_filters_there_and_back(found: Filter) -> None:
    assert parse_filter(str(found)) == found


def test_the_deepest_filter() -> None:
    text = "(!" * MAX_DEPTH + "(a=b)" + ")" * MAX_DEPTH
    assert str(parse_filter(text)) == text
