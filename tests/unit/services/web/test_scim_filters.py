"""Filters of SCIM: which resources they choose, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.web.errors import HttpError
from services.web.scim.filters import parse_filter, values_at
from services.web.scim.resources import ENTERPRISE, USER

ADA = {
    "schemas": [USER, ENTERPRISE], "id": "7D1A", "userName": "ada@example.test", "active": True,
    "name": {"givenName": "Ada", "familyName": "Straße"},
    "emails": [
        {"value": "ada@work.example", "type": "work", "primary": True}, {"value": "ada@home.example", "type": "home"}
    ],
    ENTERPRISE: {"department": "Analysis"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ('userName eq "ADA@example.test"', True),
        ('USERNAME EQ "ada@example.test"', True),
        ('userName eq "bob@example.test"', False),
        ('userName ne "bob@example.test"', True),
        ('userName ne "ada@example.test"', False),
        ('name.familyName eq "STRASSE"', True),
        ('name.familyName co "ass"', True),
        ('name.familyName sw "s"', True),
        ('name.familyName ew "e"', True),
        ('name.familyName ew "x"', False),
        ("active eq true", True),
        ("active eq false", False),
        ('active eq "true"', False),
        ("active co true", False),
        ("title pr", False),
        ("emails pr", True),
        ('emails eq "ada@home.example"', True),
        ('emails.type eq "home"', True),
        ('emails[type eq "home" and value co "work"]', False),
        ('emails[type eq "home" and value co "home"]', True),
        ('emails[primary eq true].value eq "x"', None),
        (f'{USER}:userName sw "ada"', True),
        (f'{ENTERPRISE}:department eq "analysis"', True),
        (f'{ENTERPRISE}:department eq "sales"', False),
        ('title pr or active eq true and userName sw "x"', False),
        ('(title pr or active eq true) and userName sw "a"', True),
        ('not (userName sw "x")', True),
        ('not (userName sw "a") or not (title pr)', True),
        ('nothing eq null', False),
        ('userName eq "a\\"da"', False),
        ('userName eq "\\u0061da@example.test"', True),
        ('name eq "Ada"', False),
    ],
)  # fmt: skip
def test_what_is_chosen(text: str, chosen: bool | None) -> None:
    if chosen is None:
        with pytest.raises(HttpError):
            parse_filter(text)
        return
    assert parse_filter(text).matches(ADA) is chosen


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the filter ends too early"),
        ("userName", "the filter ends too early"),
        ("userName eq", "the filter ends too early"),
        ('userName eq "a', "a text lacks its end"),
        ("userName eq a", "'a' is no value; texts are in quotes"),
        ("userName eq [", "'[' is no value; texts are in quotes"),
        ('userName eq "\\ud800"', "a text has half of a character"),
        ('userName gt "a"', "'gt' is no comparison that is taken; use eq, ne, co, sw, ew or pr"),
        ('a eq "b" c', "nothing can follow before 'c'"),
        ('(a eq "b"', "the filter ends too early"),
        ('(a eq "b"]', ") is missing"),
        ('a[b eq "c")', "] is missing"),
        ("not a pr", "what follows not has to be in parentheses"),
        ("1a pr", "'1a' is no attribute"),
        ("a..b pr", "'a..b' is no attribute"),
        ("(" * 9 + "a pr" + ")" * 9, "the filter is nested too deeply"),
        ("a pr" + " " * 1024, "the filter is too long"),
    ],
)
def test_what_is_refused(text: str, problem: str) -> None:
    with pytest.raises(HttpError) as refused:
        parse_filter(text)
    assert (refused.value.status, refused.value.kind, refused.value.text) == (400, "invalidFilter", problem)


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        ('userName eq "Straße"', ("username", "Straße")), ('(userName eq "A")', ("username", "A")), ("active eq true", None),
        ('userName sw "A"', None), ('not (userName eq "A")', None), ('userName eq "A" or userName eq "B"', None),
        ('emails[value eq "A"]', None), ("userName pr", None),
    ],
)  # fmt: skip
def test_one_comparison_may_be_looked_up(text: str, exact: tuple[str, str] | None) -> None:
    assert parse_filter(text).exact == exact


_names = st.sampled_from(
    ["userName", "title", "name.givenName", "emails", "emails.type", "active", f"{ENTERPRISE}:department"]
)
_values = st.one_of(
    st.text(max_size=6), st.booleans(), st.none(), st.integers(-9, 9), st.sampled_from(["ada", "Analysis", "work"])
)
_comparisons = st.one_of(
    st.tuples(_names, st.sampled_from(["eq", "ne", "co", "sw", "ew"]), _values), st.tuples(_names, st.just("pr"), st.none())
)
_expressions = st.recursive(
    _comparisons,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner), st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3))
    ),
    max_leaves=6,
)  # fmt: skip


def written(expression: Any) -> str:
    """As a filter; everything that is nested is in parentheses."""
    if expression[0] == "not":
        return f"not ({written(expression[1])})"
    if expression[0] in ("and", "or"):
        return f" {expression[0]} ".join(f"({written(item)})" for item in expression[1])
    name, operator, value = expression
    return f"{name} pr" if operator == "pr" else f"{name} {operator} {json.dumps(value)}"


def holds(expression: Any, resource: dict[str, Any]) -> bool:
    """What the standard says of an expression, done anew."""
    if expression[0] == "not":
        return not holds(expression[1], resource)
    if expression[0] in ("and", "or"):
        results = [holds(item, resource) for item in expression[1]]
        return all(results) if expression[0] == "and" else any(results)
    name, operator, value = expression
    found = [
        item.get("value") if isinstance(item, dict) and operator != "pr" else item for item in values_at(resource, name)
    ]
    if operator == "pr":
        return any(item not in ("", None, {}) for item in found)
    folded = [item.casefold() if isinstance(item, str) else item for item in found]
    value = value.casefold() if isinstance(value, str) else value
    if operator in ("eq", "ne"):
        equal = any(type(item) is type(value) and item == value for item in folded)
        return equal if operator == "eq" else not equal
    texts = [item for item in folded if isinstance(item, str)] if isinstance(value, str) else []
    if operator == "co":
        return any(value in item for item in texts)
    return any(item.startswith(value) if operator == "sw" else item.endswith(value) for item in texts)


@given(_expressions)
def test_any_filter_chooses_what_its_parts_say(expression: Any) -> None:
    text = written(expression)
    try:
        wanted = parse_filter(text)
    except HttpError as error:
        refused = error.text
    else:
        assert wanted.matches(ADA) is holds(expression, ADA)
        return
    assert refused in ("the filter is nested too deeply", "the filter is too long")


@given(st.text(alphabet='()[]"\\ aeqprnotd.1:$-', max_size=40))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    kind = ""
    try:
        parse_filter(text).matches(ADA)
    except HttpError as error:
        kind = error.kind
    assert kind in ("", "invalidFilter")
