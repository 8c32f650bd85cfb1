"""Rules of dynamic groups."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.addressbook.errors import RuleError
from parley.addressbook.group_rules import MAX_DEPTH, All, Comparison, Either, Node, Not, Operator, Rule
from tests.unit.addressbook.made_up import ADA, TEAM

SALES = replace(ADA, department="Sales", country="DE", title="Señor Intern", office="")


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ('department = "sales"', True),
        ('DEPARTMENT="SALES"', True),
        ('department != "sales"', False),
        ('office != "x"', True),
        ('office exists', False),
        ('department exists and not office exists', True),
        ('department = "Sales" and country in ("DE", "AT")', True),
        ('country in ("AT","CH")', False),
        ('country not in ("AT","CH")', True),
        ('title contains "senor"', True),
        ('title startswith "intern"', False),
        ('title endswith "intern"', True),
        ('mail endswith "@example.com"', True),
        ('sip startswith "sip:ada"', True),
        ('proxyAddresses contains "countess"', True),
        ('telephoneNumber startswith "tel:+44"', True),
        ('department = "x" or country = "DE" and title contains "intern"', True),
        ('(department = "x" or country = "DE") and title = "x"', False),
        ('not (department = "x" or country = "AT")', True),
        ('not not kind = "user"', True),
        ('displayName = "Ada \\"L\\" \\\\"', False),
        ('source = "ldap:head office"', True),
    ],
)  # fmt: skip
def test_rules(text: str, fits: bool) -> None:
    rule = Rule.parse(text)
    assert rule.fits(SALES) is fits
    assert Rule.parse(str(rule)) == rule


def test_neither_groups_nor_who_is_disabled_are_members() -> None:
    everybody = Rule.parse("displayName exists")
    assert everybody.fits(ADA)
    assert not everybody.fits(TEAM)
    assert not everybody.fits(replace(ADA, enabled=False))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "at character 1: an attribute is expected; the rule ends"),
        ('department = "a" and', "at character 21: an attribute is expected; the rule ends"),
        (
            "department",
            "at character 11: one of =, !=, in, not in, contains, startswith, endswith, exists is expected; the rule ends",
        ),
        ('department > "a"', "at character 12: this cannot be read; found >"),
        ("department = Sales", "at character 14: a text in quotation marks is expected; found Sales"),
        ('department = "Sales', 'at character 14: a text has to end with a quotation mark; found "'),
        ('department = "a" country = "b"', "at character 18: and, or, or the end is expected; found country"),
        ('(department = "a"', "at character 18: ) is missing; the rule ends"),
        ('department in "a"', 'at character 15: ( is expected, as in ("DE", "AT"); found "a"'),
        ('department in ("a" "b")', 'at character 20: ) or , is expected; found "b"'),
        ("department in ()", "at character 16: a text in quotation marks is expected; found )"),
        ('department not "a"', 'at character 16: in is expected after not; found "a"'),
        ('and = "a"', "at character 1: an attribute is expected; found and"),
        ("(" * 20 + "x", f"at character {MAX_DEPTH + 2}: the rule is nested too deeply; found ("),
        ("not " * 20, f"at character {4 * (MAX_DEPTH + 1) + 1}: the rule is nested too deeply; found not"),
        (" or ".join(["office exists"] * 65), "at character 1089: a rule has at most 64 comparisons; found office"),
        ("office in (" + ", ".join(['"x"'] * 257) + ")", 'at character 1292: a rule has at most 256 values; found "x"'),
        ("x" * 5_000, "a rule has at most 4096 characters; shorten it"),
        ('__class__ = "x"', "at character 1: this cannot be read; found _"),
    ],
)  # fmt: skip
def test_rules_that_cannot_be_read(text: str, problem: str) -> None:
    with pytest.raises(RuleError) as refused:
        Rule.parse(text)
    assert str(refused.value) == problem


def test_an_attribute_that_is_not_known() -> None:
    with pytest.raises(
        RuleError, match=r"at character 1: there is no such attribute; there are displayName, givenName, sn, .*"
    ):
        Rule.parse('salary = "1"')


VALUES = st.text(max_size=6)
COMPARISONS = st.one_of(
    st.builds(
        Comparison, st.sampled_from(["title", "c", "department"]),
        st.sampled_from(sorted(set(Operator) - {Operator.IN, Operator.NOT_IN, Operator.EXISTS})), st.tuples(VALUES),
    ),
    st.builds(
        Comparison, st.just("l"), st.sampled_from([Operator.IN, Operator.NOT_IN]),
        st.lists(VALUES, min_size=1, max_size=3).map(tuple),
    ),
    st.builds(Comparison, st.just("mail"), st.just(Operator.EXISTS)),
)  # fmt: skip
NODES: st.SearchStrategy[Node] = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        inner.map(Not), st.lists(inner, min_size=2, max_size=3).map(lambda parts: All(tuple(parts))),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: Either(tuple(parts))),
    ),
    max_leaves=6,
)  # fmt: skip


@given(NODES)
def test_rules_there_and_back(root: Node) -> None:
    rule = Rule(root)
    again = Rule.parse(str(rule))
    assert again == rule
    assert again.fits(SALES) == rule.fits(SALES)
    assert Rule(Not(root)).fits(SALES) != rule.fits(SALES)
