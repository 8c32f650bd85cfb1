import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.presence.standard.presence_rules import (
    Handling,
    Identity,
    Many,
    Rule,
    build_presence_rules,
    decide,
    parse_presence_rules,
)
from tests.unit.presence.standard.made import full_texts, refused, times, tuples_of

NS = b'<cp:ruleset xmlns:cp="urn:ietf:params:xml:ns:common-policy" xmlns:pr="urn:ietf:params:xml:ns:pres-rules">'
FULL = (
    NS
    + b"""
  <cp:rule id="friends"><cp:conditions><cp:identity><cp:one id="sip:anna@example.test"/><cp:one id="tel:+49-30-1"/>
    </cp:identity></cp:conditions><cp:actions><pr:sub-handling>allow</pr:sub-handling></cp:actions>
    <cp:transformations><pr:provide-services><pr:all-services/></pr:provide-services></cp:transformations></cp:rule>
  <cp:rule id="domain"><cp:conditions><cp:identity><cp:many domain="example.test"><cp:except domain="sub.example.test"/>
    <cp:except id="sip:eve@example.test"/></cp:many></cp:identity><cp:sphere value="work"/>
    <cp:validity><cp:from>1970-01-01T00:00:10Z</cp:from><cp:until>1970-01-01T00:00:20Z</cp:until></cp:validity>
    </cp:conditions><cp:actions><pr:sub-handling>polite-block</pr:sub-handling></cp:actions></cp:rule>
  <cp:rule id="all"/>
</cp:ruleset>"""
)
RULES = (
    Rule("friends", "allow", Identity(("sip:anna@example.test", "tel:+49-30-1"))),
    Rule(
        "domain",
        "polite-block",
        Identity((), (Many("example.test", ("sip:eve@example.test",), ("sub.example.test",)),)),
        "work",
        ((10.0, 20.0),),
    ),
    Rule("all"),
)


def test_all_of_it_is_read() -> None:
    assert parse_presence_rules(FULL) == RULES


def test_it_is_written() -> None:
    assert build_presence_rules((Rule("r", "confirm", Identity(("sip:a@b",), (Many(),)), "home"),)) == (
        b'<ruleset xmlns="urn:ietf:params:xml:ns:common-policy" xmlns:pr="urn:ietf:params:xml:ns:pres-rules"><rule id="r">'
        b'<conditions><identity><one id="sip:a@b"/><many/></identity><sphere value="home"/></conditions><actions>'
        b"<pr:sub-handling>confirm</pr:sub-handling></actions><transformations/></rule></ruleset>"
    )


@pytest.mark.parametrize(
    "conditions",
    [
        b"<o:other-identity xmlns:o='urn:oma'/>",
        b"<cp:identity/>",
        b"<cp:identity><cp:one id='sip:a@b'><x/></cp:one><cp:many><x/></cp:many></cp:identity>",
        b"<cp:identity><cp:many/></cp:identity><cp:identity><cp:many/></cp:identity>",
        b"<cp:identity><cp:many/></cp:identity><cp:sphere/>",
        b"<cp:identity><cp:many/></cp:identity><moon/>",
    ],
)
def test_what_is_not_understood_is_for_nobody(conditions: bytes) -> None:
    data = NS + b"<cp:rule id='1'><cp:conditions>" + conditions + (
        b"</cp:conditions><cp:actions><pr:sub-handling>allow</pr:sub-handling></cp:actions></cp:rule></cp:ruleset>"
    )  # fmt: skip
    rules = parse_presence_rules(data)
    assert decide(rules, "sip:a@b", "b", now=0.0, sphere="x") == "block"
    assert decide(parse_presence_rules(build_presence_rules(rules)), "sip:a@b", "b") == "block"


def rule(inside: bytes) -> bytes:
    return NS + b"<cp:rule id='1'>" + inside + b"</cp:rule></cp:ruleset>"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (FULL[:-5], "not well-formed"),
        (b"<ruleset/>", "the root is not ruleset of urn:ietf:params:xml:ns:common-policy"),
        (NS + b"<cp:rule/></cp:ruleset>", "a rule without an id"),
        (NS + b"<cp:rule/>" * 1001 + b"</cp:ruleset>", "too many rules"),
        (rule(b"<cp:actions><pr:sub-handling>maybe</pr:sub-handling></cp:actions>"),
         "a sub-handling that is not block, confirm, polite-block or allow"),
        (rule(b"<cp:conditions><cp:identity><cp:one/></cp:identity></cp:conditions>"), "one without an id"),
        (rule(b"<cp:conditions><cp:identity><cp:many><cp:except/></cp:many></cp:identity></cp:conditions>"),
         "an exception without an id or domain"),
        (rule(b"<cp:conditions><cp:validity/></cp:conditions>"), "a validity that is not from one time until another"),
        (rule(b"<cp:conditions><cp:validity><from>1970-01-01T00:00:00Z</from></cp:validity></cp:conditions>"),
         "a validity that is not from one time until another"),
    ],
)  # fmt: skip
def test_what_is_refused(data: bytes, text: str) -> None:
    assert refused(parse_presence_rules, data) == f"presence rules: {text}"


@pytest.mark.parametrize(
    ("watcher", "domain", "now", "sphere", "handling"),
    [
        ("sip:anna@EXAMPLE.test;transport=tls", "example.test", None, "", "allow"),
        ("sips:anna@example.test", "example.test", None, "", "allow"),
        ("tel:+49301", "", None, "", "allow"),
        ("sip:Anna@example.test", "example.test", 15.0, "work", "polite-block"),
        ("sip:ben@example.test", "EXAMPLE.TEST", 10.0, "work", "polite-block"),
        ("sip:ben@example.test", "example.test", 20.0, "work", "block"),
        ("sip:ben@example.test", "example.test", 9.9, "work", "block"),
        ("sip:ben@example.test", "example.test", None, "work", "block"),
        ("sip:ben@example.test", "example.test", 15.0, "home", "block"),
        ("sip:eve@example.test", "example.test", 15.0, "work", "block"),
        ("sip:ben@sub.example.test", "sub.example.test", 15.0, "work", "block"),
        ("sip:ben@other.test", "other.test", 15.0, "work", "block"),
        ("", "", 15.0, "work", "block"),
        ("not a URI", "", None, "", "block"),
    ],
)
def test_decisions(watcher: str, domain: str, now: float | None, sphere: str, handling: Handling) -> None:
    assert decide(RULES, watcher, domain, now=now, sphere=sphere) == handling


def test_the_most_generous_rule_decides() -> None:
    rules = (Rule("1", "confirm"), Rule("2", "polite-block"), Rule("3", "block"))
    assert decide(rules, "sip:a@b", "b") == "polite-block"
    assert decide(rules[:1], "", "") == "confirm"
    assert decide(rules[2:], "sip:a@b", "b", default="confirm") == "block"
    assert decide((), "sip:a@b", "b", default="confirm") == "confirm"


def test_many_means_only_those_with_an_identity() -> None:
    rules = (Rule("1", "allow", Identity((), (Many(),))),)
    assert decide(rules, "sip:a@b", "b") == "allow"
    assert decide(rules, "", "") == "block"


domains = st.sampled_from(("", "example.test"))
many = st.builds(Many, domains, tuples_of(full_texts, 2), tuples_of(full_texts, 2))
rules = st.builds(
    Rule,
    full_texts,
    st.sampled_from((None, "block", "confirm", "polite-block", "allow")),
    st.none() | st.builds(Identity, tuples_of(full_texts), tuples_of(many)),
    st.sampled_from(("", "work", "at home")),
    tuples_of(st.tuples(times, times)),
)


@given(tuples_of(rules))
def test_what_is_written_is_read_again(rules: tuple[Rule, ...]) -> None:
    assert parse_presence_rules(build_presence_rules(rules)) == rules
