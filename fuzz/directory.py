"""What people bring to the directory: files, rules, filters, searches. The first byte says which."""

from __future__ import annotations

from uuid import UUID

from fuzz.common import text_of
from parley.addressbook.csvfiles import CsvFile, Row, to_csv
from parley.addressbook.device_json import rule_from_json, rule_to_json
from parley.addressbook.entries import Entry, Kind, NumberKind, PhoneNumber
from parley.addressbook.entry_json import from_json, to_json
from parley.addressbook.errors import AddressBookError
from parley.addressbook.group_rules import Rule
from parley.addressbook.ldap.filters import parse_filter
from parley.addressbook.numbers.company_rules import CompanyRules, parse_company_rules
from parley.addressbook.numbers.locations import ExtensionRange, Location, normalise_at
from parley.addressbook.searching.criteria import Criteria
from parley.addressbook.searching.queries import Query
from parley.addressbook.searching.stages import Search

ADA = Entry(
    UUID(int=1), Kind.USER, "sip:ada@example.com", "Ada Müller", mail="ada@example.com", department="Sales",
    numbers=(PhoneNumber(NumberKind.WORK, "030 123456", "tel:+4930123456"),),
)  # fmt: skip
BERLIN = Location("DE", "30", "0", (ExtensionRange("100", "299", "+4930555"),))
SOME_RULES = 8


def fuzz_one(data: bytes) -> None:
    """Reads, and where there is a writer, writes and reads again."""
    if not data:
        return
    kind, rest = data[:1], data[1:]
    text = text_of(rest)
    try:
        match kind:
            case b"c":
                _csv(rest)
            case b"j":
                entry = from_json(rest)
                assert from_json(to_json(entry)) == entry
            case b"d":
                rule = rule_from_json(rest)
                assert rule_from_json(rule_to_json(rule)) == rule
            case b"n":
                _company_rules(rest)
            case b"t":
                uri = normalise_at(text, BERLIN).uri
                assert not uri or normalise_at(uri, None).uri == uri
            case b"g":
                found = Rule.parse(text)
                assert Rule.parse(str(found)) == found
                found.fits(ADA)
            case b"l":
                assert parse_filter(str(parse_filter(text))) == parse_filter(text)
            case b"q":
                _search(text)
    except AddressBookError as error:
        assert str(error)


def _csv(data: bytes) -> None:
    file = CsvFile(data)
    entries = []
    for row in file.rows():
        if isinstance(row, Row):
            entries.append(row.entry)
        else:
            assert str(row)
    again = list(CsvFile("".join(to_csv(entries)).encode()).rows())
    found = [row.entry for row in again if isinstance(row, Row)]
    assert [(entry.id, entry.name, entry.membership) for entry in found] == [
        (entry.id, entry.name, entry.membership) for entry in entries
    ]


def _company_rules(data: bytes) -> None:
    rules, _ = parse_company_rules(data)
    few = CompanyRules(rules.rules[:SOME_RULES])
    for number in ("1234", "+49 30 123456", "1" * 40 + "*"):
        outcome = few.normalise(number)
        assert outcome is None or outcome.reason
    again, problems = parse_company_rules(bytes(few))
    assert not problems
    assert [(rule.pattern, rule.replacement) for rule in again.rules] == [
        (rule.pattern, rule.replacement) for rule in few.rules
    ]


def _search(text: str) -> None:
    first, _, token = text.partition("\n")
    name, equals, value = first.partition("=")
    question = Criteria.all_of([(name, value)]) if equals else Query.parse(first)
    fits = question.rank(ADA)
    ranks = [stage.rank for stage in question.stages()]
    assert fits is None or fits in ranks
    assert ranks == sorted(ranks)
    Search(question, 10, token)
