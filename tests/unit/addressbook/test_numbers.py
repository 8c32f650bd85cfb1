"""Numbers: rules of companies, rules of locations, and both for an entry."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.addressbook.entries import NumberKind, PhoneNumber
from parley.addressbook.errors import NumberRuleError
from parley.addressbook.numbers.company_rules import MAX_FILE, CompanyRule, CompanyRules, parse_company_rules
from parley.addressbook.numbers.locations import ExtensionRange, Location, checked_location, normalise_at
from parley.addressbook.numbers.normalising import Normaliser
from parley.addressbook.numbers.texts import digits_of, split_extension, stripped, uri_of
from tests.unit.addressbook.made_up import ADA

BERLIN = Location(
    "DE", "30", "0", (ExtensionRange("100", "299", "+4930555"), ExtensionRange("3000", "3999", "+4930555000", False))
)  # fmt: skip
SEATTLE = Location("US", "425")


def normalised(rules: CompanyRules, number: str) -> str:
    outcome = rules.normalise(number)
    return outcome.uri if outcome is not None else ""


def test_the_first_rule_that_finds_something_counts() -> None:
    rules, problems = parse_company_rules(
        b"\xef\xbb\xbf# extensions of London\r\n^(\\d{4})$\r\n+4420555$1\r\n\r\n^(\\d)(\\d+)$\r\ntel:+4420$2;ext=$1\r\n"
    )
    assert problems == []
    assert [rule.line for rule in rules.rules] == [2, 5]
    assert normalised(rules, "12-34") == "tel:+442055512" + "34"
    assert normalised(rules, "(1) 23456") == "tel:+442023456;ext=1"
    assert rules.normalise("+1") is None
    assert parse_company_rules(bytes(rules))[0].normalise("1234") == replace(
        rules.normalise("1234"), reason="the rule in line 1"  # type: ignore[type-var]
    )  # fmt: skip


def test_rules_are_the_same_after_they_were_written() -> None:
    rules = CompanyRules(
        [CompanyRule.of(r"#(\d+)", "+44$1"), CompanyRule.of("E164", ""), CompanyRule.of(" ^(1)$ ", "+49$1")]
    )
    again, problems = parse_company_rules(b"  # a comment\n" + bytes(rules))
    assert problems == []
    assert normalised(again, "#20123456") == "tel:+4420123456"
    assert [rule.pattern for rule in again.rules] == [r"\#(\d+)", "E164", "^(1)$"]
    assert bytes(again) == b"\\#(\\d+)\r\n+44$1\r\nE164\r\nE164\r\n^(1)$\r\n+49$1\r\n"


def test_the_rule_for_e164() -> None:
    rules, problems = parse_company_rules(b"E164\nwhatever\n")
    assert problems == []
    assert normalised(rules, "49 30 1234") == "tel:+49301234"
    assert normalised(rules, "+49 30 1234") == "tel:+49301234"
    assert rules.normalise("1" * 16) is None
    assert rules.normalise("030 1234") is None


@pytest.mark.parametrize(
    ("pattern", "replacement", "number", "result"),
    [
        (r"^(?<area>\d{3})(?'rest'\d+)$", "+1${area}${rest}", "4255550100", "tel:+14255550100"),
        (r"\A(\d{3})(\d+)\z", "+1$1$2", "4255550100", "tel:+14255550100"),
        (r"^(\d{3})(\d+)\Z", "+$$1$1", "4255550100", ""),
        (r"^(?:0|)([1-9]\d{6,})$", "+49$1", "0301234567", "tel:+49301234567"),
        (r"^[[(]?(\d{7,})[]]?$", "+49$1", "3012345", "tel:+493012345"),
        (r"^\d{9}$", "+1$&0", "425555010", "tel:+14255550100"),
        (r"^(?>\d{3})(?=\d)(?i:x)?(\d+)$", "+1$0", "4255550100", "tel:+14255550100"),
        (r"(?<=^00)(\d+)$", "+$1", "0049301234", ""),  # what is left before the match stays
        (r"^(1)?(\d{3})$", "+491$1$2", "123", "tel:+491123"),  # a group that took no part is empty
        (r"^(\d)(\d+)$", "+49${1}0$2", "1234567", "tel:+4910234567"),
        (r"^(?:12){e}34567$", "+493012345", "1934567", ""),  # a brace that begins no quantifier is a literal
        (r"^(?:12){e}34567$", "+493012345", "12{e}34567", "tel:+493012345"),
        (r"^(\p{Nd}{2,})\*{,3}$", "+49$1", "1234*{,3}", "tel:+491234"),
        (r"^(?#a (comment)(?(?=1)(\d{4})|0+?(\d+))$", "+49$1$2", "0012345", "tel:+49012345"),
        (r"^(?i-s:(x))?(?(1)(\d+)|0{1,2}(\d+))$", "+49$2$3", "X123456", "tel:+49123456"),
    ],
)  # fmt: skip
def test_patterns_and_replacements_of_dotnet(pattern: str, replacement: str, number: str, result: str) -> None:
    assert normalised(CompanyRules([CompanyRule.of(pattern, replacement)]), number) == result


@pytest.mark.parametrize(
    ("pattern", "replacement", "problem"),
    [
        (r"^(\d+$", "+1", "the pattern cannot be read: missing ) at position 6"),
        (r"[\d-[0]]", "+1", "subtraction of character classes is not taken; list what is meant"),
        (r"(?<a-b>\d)", "+1", "balancing and numbered groups are not taken; give the group a name: (?<name>...)"),
        (r"(?<1>\d)", "+1", "balancing and numbered groups are not taken; give the group a name: (?<name>...)"),
        (r"(?n)(\d)", "+1", 'the option "n" is not taken; write (?:...) for groups that are not captured'),
        (r"^(\d+)$", "+$2", "the pattern has no group 2; for group 1 and a digit write ${1}0"),
        (r"^(\d+)$", "+$10", "the pattern has no group 10; for group 1 and a digit write ${1}0"),
        (r"^(\d+)$", "+${area}", "the pattern has no group 'area'"),
        (r"^(\d+)$", "+$_", "$_ is not taken in a replacement; use $1, ${name} or $&"),
        ("x" * 513, "+1", "a pattern has 1 to 512 characters"),
        ("x", "+" + "1" * 256, "a replacement has 1 to 256 characters"),
        ("x", " ", "a replacement has 1 to 256 characters"),
        ("x\ny", "+1", "a rule has two lines, and the second one does not begin with #"),
        ("x", "#1", "a rule has two lines, and the second one does not begin with #"),
        (
            r"^(?<area>\d{3})(\d+)$", "+1$1$2",
            "groups have either all a name, or none; write (?:...) for those that are not captured",
        ),
        (r"(?P>x)", "+1", "'(?P>' begins nothing that is known in .NET"),
        (r"(?R)", "+1", "'(?R)' begins nothing that is known in .NET"),
        (r"(\d)(?1)", "+1", "'(?1)' begins nothing that is known in .NET"),
        (r"(?<x>\d)(?&x)", "+1", "'(?&x' begins nothing that is known in .NET"),
        (r"(?|(1)|(2))", "+1", "'(?|(' begins nothing that is known in .NET"),
        (r"(?(DEFINE)(1))1", "+1", "'(?(D' begins nothing that is known in .NET"),
        (r"1(*SKIP)", "+1", "'(*SK' begins nothing that is known in .NET"),
        (r"(?r)1", "+1", "'(?r)' begins nothing that is known in .NET"),
        (r"^\d++$", "+1", "the quantifier at character 5 has nothing before it that it could be for"),
        (r"\K1", "+1", r"\K is not known; write the character alone, or what stands for it in .NET"),
        (r"[\h]1", "+1", r"\h is not known; write the character alone, or what stands for it in .NET"),
        (r"\pL", "+1", r"\p has to name what it is for, as in \p{L}"),
    ],
)  # fmt: skip
def test_rules_that_cannot_be_used(pattern: str, replacement: str, problem: str | None) -> None:
    with pytest.raises(NumberRuleError) as refused:
        CompanyRule.of(pattern, replacement, 7)
    assert refused.value.line == 7
    if problem is not None:
        assert str(refused.value) == f"line 7: {problem}"


def test_a_bad_rule_leaves_the_others() -> None:
    rules, problems = parse_company_rules(b"^(\\d{4}$\n+44$1\n^(\\d{4})$\n+44205555$1\n# that is all\n^(\\d{5})$\n")
    assert [rule.line for rule in rules.rules] == [3]
    assert [str(problem) for problem in problems] == [
        "line 1: the pattern cannot be read: missing ) at position 8",
        "line 6: the rule has no second line; write what the number becomes",
    ]


def test_a_rule_that_takes_too_long_is_passed_over() -> None:
    rules = CompanyRules([CompanyRule.of(r"^(\d|\d\d)+$", "+1$1", 1), CompanyRule.of(r"^(\d{4})\*$", "+4420555$1", 3)])
    assert rules.normalise("1" * 50 + "*") is None
    assert [rule.line for rule in rules.slow] == [1]
    assert normalised(rules, "1234*") == "tel:+44205551234"


def test_what_gives_no_number_is_told() -> None:
    rules = CompanyRules([CompanyRule.of(r"^(\d+)$", "$1", 4)])
    outcome = rules.normalise("1234")
    assert outcome is not None
    assert (outcome.uri, outcome.reason) == ("", "the rule in line 4 gives '1234', which is no number of E.164; write +...")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"x" * (MAX_FILE + 1), f"the file is larger than {MAX_FILE} bytes"),
        (b"a\0b", "the file is no text; save it as UTF-8"),
        (b"a\n" * 2_001, "more than 1000 rules are too many"),
        (b"\xff\xfea", "the file begins as UTF-16-LE and is not; save it as UTF-8"),
        (b"\x81", "the file is neither UTF-8 nor Windows-1252; save it as UTF-8"),
    ],
)
def test_files_that_are_none_of_rules(data: bytes, problem: str) -> None:
    with pytest.raises(NumberRuleError) as refused:
        parse_company_rules(data)
    assert str(refused.value) == problem


@pytest.mark.parametrize(
    ("number", "location", "uri"),
    [
        ("+44 (0)20 7946 0001", None, "tel:+442079460001"),
        ("+49 (00)30/123-456 ext. 12", None, "tel:+4930123456;ext=12"),
        ("tel:+49-30-123456;ext=7", None, "tel:+4930123456;ext=7"),
        ("Tel:+49-30-123456", None, "tel:+4930123456"),
        ("0049 30 123456 ext. 12", None, "tel:+4930123456;ext=12"),
        ("+４９ ３０ １２３４５６", None, "tel:+4930123456"),
        ("+1 425 555 0100", BERLIN, "tel:+14255550100"),
        ("030/123456", BERLIN, "tel:+4930123456"),
        ("1234567", BERLIN, "tel:+49301234567"),
        ("150", BERLIN, "tel:+4930555150"),
        ("3001", BERLIN, "tel:+4930555000;ext=3001"),
        ("(425) 555-0100 x44", SEATTLE, "tel:+14255550100;ext=44"),
        ("555-0100", SEATTLE, "tel:+14255550100"),
        ("011 44 20 7946 0001", SEATTLE, "tel:+442079460001"),
        ("9-1-425-555-0100", replace(SEATTLE, outside_prefix="9"), "tel:+14255550100"),
        ("06 698 12345", Location("IT"), "tel:+390669812345"),
    ],
)
def test_numbers_as_they_are_written_at_a_location(number: str, location: Location | None, uri: str) -> None:
    assert normalise_at(number, location).uri == uri
    assert normalise_at(uri, None).uri == uri


@pytest.mark.parametrize(
    ("number", "location", "reason"),
    [
        ("5000", BERLIN, "it is an extension, and no range covers it"),
        ("123456", BERLIN, "it is an extension, and no range covers it"),
        ("", BERLIN, "it has no digits"),
        ("n/a", BERLIN, "it has no digits"),
        ("1-800-FLOWERS", SEATTLE, "it holds more than digits"),
        ("+1 800 FLOWERS", None, "it holds more than digits"),
        ("+12345", None, "a number with its country code has 7 to 15 digits"),
        ("+" + "1" * 16, None, "a number with its country code has 7 to 15 digits"),
        ("+01234567", None, "no country code begins with 0"),
        ("030 123456", None, "it has no country code, and there is no location that says which"),
        ("1" * 17, BERLIN, "it is no number of DE"),
        ("500000001000", BERLIN, "it is no number of DE"),  # with its area code it is longer than E.164 allows
        ("1" * 65, BERLIN, "it is longer than 64 characters"),
    ],
)
def test_numbers_that_are_left_alone(number: str, location: Location | None, reason: str) -> None:
    assert (normalise_at(number, location).uri, normalise_at(number, location).reason) == ("", reason)


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        (Location("de"), "'de' is no country; write two letters, as in DE or US"),
        (Location("DE", "x"), "the area code 'x' has to be up to 8 digits"),
        (Location("DE", outside_prefix="123456789"), "the outside prefix '123456789' has to be up to 8 digits"),
        (Location("DE", extensions=(ExtensionRange("a", "b", "+49"),)), "the extensions a-b have to be digits"),
        (
            Location("DE", extensions=(ExtensionRange("200", "100", "+4930555"),)),
            "the extensions 200-100 have to be of one length, the first one not above the last",
        ),
        (Location("DE", extensions=(ExtensionRange("1", "2", "+49"),)), "the extensions 1-2 have to be of 2 to 6 digits"),
        (
            Location("DE", extensions=(ExtensionRange("100", "199", "030555"),)),
            "'030555' with the extensions 100-199 is no number of E.164; write +...",
        ),
        (
            Location("DE", extensions=(ExtensionRange("10", "19", "+49"),) * 1_001),
            "more than 1000 ranges of extensions are too many",
        ),
    ],
)  # fmt: skip
def test_locations_that_cannot_be_used(location: Location, problem: str) -> None:
    assert checked_location(BERLIN) is BERLIN
    with pytest.raises(NumberRuleError) as refused:
        checked_location(location)
    assert str(refused.value) == problem


def test_rules_of_the_company_come_before_those_of_the_location() -> None:
    normaliser = Normaliser(CompanyRules([CompanyRule.of(r"^(1\d\d)$", "+4420555$1", 1)]), BERLIN)
    assert normaliser.number("150").uri == "tel:+44205551" + "50"
    assert normaliser.number("250").uri == "tel:+4930555250"
    assert normaliser.number("250").reason == "the extensions 100-299"


def test_the_numbers_of_an_entry() -> None:
    normaliser = Normaliser(location=BERLIN, location_of=lambda entry: Location("GB") if entry.country == "UK" else None)
    numbers = (
        PhoneNumber(NumberKind.MOBILE, "07700 900001", "tel:+1999"), PhoneNumber(NumberKind.WORK, "12", "tel:+1999")
    )  # fmt: skip
    changed = normaliser.entry(replace(ADA, numbers=numbers))
    assert [number.normalised for number in changed.numbers] == ["tel:+447700900001", ""]
    changed = normaliser.entry(replace(ADA, numbers=numbers, country="DE"))
    assert changed.numbers[0].normalised == "tel:+497700900001"


@given(st.text(max_size=30) | st.text("+0123456789 ()-x#;=ext", max_size=30), st.sampled_from([None, BERLIN, SEATTLE]))
def test_what_is_normalised_stays_so(number: str, location: Location | None) -> None:
    outcome = normalise_at(number, location)
    assert outcome.reason
    if outcome.uri:
        assert uri_of(outcome.uri) == outcome.uri
        assert normalise_at(outcome.uri, location).uri == outcome.uri


@given(st.text(max_size=30))
def test_texts_of_numbers(text: str) -> None:
    assert stripped(stripped(text)) == stripped(text)
    assert digits_of(text).isdigit() or not digits_of(text)
    number, extension = split_extension(text)
    assert text.startswith(number) or text[4:].startswith(number)
    assert not extension or extension.isdigit()
