"""Search: folding, ranking, what an index is asked for, and pages."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.addressbook.entries import Entry, Kind, Membership, NumberKind, PhoneNumber
from parley.addressbook.errors import QueryError
from parley.addressbook.searching.criteria import Criteria
from parley.addressbook.searching.documents import document
from parley.addressbook.searching.folding import MAX_WORD, MAX_WORDS, fold, phrases, words
from parley.addressbook.searching.keys import Family, Posting, change, grams, id_of, member, postings
from parley.addressbook.searching.queries import Query, Question, Rank
from parley.addressbook.searching.stages import MAX_LOOKED_AT, Position, Search, sorted_results
from tests.unit.addressbook.index_model import IndexModel
from tests.unit.addressbook.made_up import ADA, ENTRIES, FEW, TEAM, user

MULLER = user(
    11, "Jörg Müller-Lüdenscheidt", title="Bäcker", department="Straße", mail="j.mueller@example.com",
    numbers=(PhoneNumber(NumberKind.WORK, "030 / 5550-123", "tel:+49305550123"),),
)  # fmt: skip
OBRIEN = user(12, "Siobhán O’Brien", mail_nickname="sob")
OLAF = user(13, "Ølaf Ångström")
PEOPLE = [ADA, MULLER, OBRIEN, OLAF, TEAM]


def rank(text: str, entry: Entry) -> Rank | None:
    return Query.parse(text).rank(entry)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Müller-Lüdenscheidt", ["muller", "ludenscheidt"]),
        ("STRASSE Straße", ["strasse", "strasse"]),
        ("O'Brien", ["obrien"]),
        ("Łódź, Ærø; İstanbul ﬁle", ["lodz", "aero", "istanbul", "file"]),
        ("山田 太郎", ["山田", "太郎"]),
        ("ガ", ["ガ"]),
        ("किताब", ["किताब"]),
        ("a.b_c-d@e", ["a", "b", "c", "d", "e"]),
        ("!?", []),
        ("o'brien `x`", ["obrien", "x"]),
        ("O´Brien O‘Brien O＇Brien ŉ", ["obrien", "obrien", "obrien", "n"]),
    ],
)
def test_words(text: str, found: list[str]) -> None:
    assert words(text) == found


def test_limits_of_words() -> None:
    assert words("x" * 100) == ["x" * MAX_WORD]
    assert len(words("x " * 100)) == MAX_WORDS


def test_spellings() -> None:
    assert phrases("Müller") == ("muller", "mueller")
    assert phrases("Muller") == ("muller",)
    assert phrases("!") == ()


@given(st.text())
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    assert words(" ".join(words(text))) == words(text)


@pytest.mark.parametrize(
    ("text", "entry", "found"),
    [
        ("ada lovelace", ADA, Rank.EXACT),
        ("ADA@EXAMPLE.COM", ADA, Rank.EXACT),
        ("sip:ada@example.com", ADA, Rank.EXACT),
        ("countess@example.com", ADA, Rank.EXACT),
        ("ada", ADA, Rank.EXACT),  # the mail nickname
        ("+44 20 7946 0001", ADA, Rank.EXACT),
        ("0044 20 7946 0001", ADA, Rank.EXACT),
        ("Tel:+442079460001", ADA, Rank.EXACT),
        ("ada lov", ADA, Rank.NAME),
        ("lov", ADA, Rank.WORDS),
        ("sip:lov", ADA, Rank.WORDS),
        ("+4 4 2 0 7 9 4 6 0 0 0 1", ADA, Rank.EXACT),
        ("lovelace ada", ADA, Rank.WORDS),
        ("lov engin", ADA, Rank.WORDS),
        ("analyst lon", ADA, Rank.WORDS),
        ("ada@ex", ADA, Rank.WORDS),
        ("love ada@ex", ADA, Rank.WORDS),
        ("44207", ADA, Rank.WORDS),
        ("velac", ADA, Rank.WITHIN),
        ("velac ad", ADA, Rank.WITHIN),
        ("020 7946 0001", ADA, Rank.WITHIN),
        ("7946", ADA, Rank.WITHIN),
        ("ve", ADA, None),  # too short to be within
        ("bob", ADA, None),
        ("ada bob", ADA, None),
        ("bob@example.com", ADA, None),
        ("9999", ADA, None),
        ("jorg muller", MULLER, Rank.NAME),
        ("Mueller", MULLER, Rank.WORDS),
        ("Müller", MULLER, Rank.WORDS),
        ("baecker strasse", MULLER, Rank.WORDS),
        ("ludensch", MULLER, Rank.WORDS),
        ("udenschei", MULLER, Rank.WITHIN),
        ("030 5550123", MULLER, Rank.EXACT),
        ("obrien", OBRIEN, Rank.WORDS),
        ("o'brien", OBRIEN, Rank.WORDS),
        ("siobhan", OBRIEN, Rank.NAME),
        ("brien", OBRIEN, Rank.WITHIN),
        ("sob", OBRIEN, Rank.EXACT),
        ("olaf angstrom", OLAF, Rank.EXACT),
        ("aangstroem", OLAF, Rank.WORDS),
        ("öl laf", replace(OLAF, title="Öl"), Rank.WITHIN),
        ("engine team", TEAM, Rank.EXACT),
    ],
)
def test_ranks(text: str, entry: Entry, found: Rank | None) -> None:
    assert rank(text, entry) == found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (" ", "there is nothing to search for; type a name, an address or a number"),
        ("?!", "there is nothing to search for but signs; type a name, an address or a number"),
        ("x" * 257, "a search has at most 256 characters; shorten it"),
        ("a b c d e f g h i", "a search has at most 8 words; leave some out"),
    ],
)
def test_queries_that_are_refused(text: str, problem: str) -> None:
    with pytest.raises(QueryError) as refused:
        Query.parse(text)
    assert str(refused.value) == problem


def found_by(question: Question, entries: list[Entry]) -> list[str]:
    return [found.entry.name for found in sorted_results(question, entries)]


@pytest.mark.parametrize(
    ("pairs", "names"),
    [
        ([("givenName", "ad")], ["Ada Lovelace"]),
        ([("givenName", "ada"), ("sn", "lovel")], ["Ada Lovelace"]),
        ([("givenName", "ada"), ("sn", "byron")], []),
        ([("sn", "muel")], ["Jörg Müller-Lüdenscheidt"]),
        ([("sn", "ludenscheidt")], []),  # the value begins with another word
        ([("mail", "ADA@")], ["Ada Lovelace"]),
        ([("mail", "u13@")], ["Ølaf Ångström"]),  # who has no mail address is found by the SIP address
        ([("msRTCSIP-PrimaryUserAddress", "sip:u1")], ["Jörg Müller-Lüdenscheidt", "Ølaf Ångström", "Siobhán O’Brien"]),
        ([("c", "uk")], ["Ada Lovelace"]),
        ([("company", "ex"), ("displayName", "  ")], ["Ada Lovelace"]),
        ([("telephoneNumber", "+49 30")], ["Jörg Müller-Lüdenscheidt"]),
        ([("manager", "sip charles")], ["Ada Lovelace"]),
        ([("nothing such", "x")], []),
        ([("givenName", "ada"), ("nothing such", "x")], []),
        ([("givenName", "!")], []),
    ],
)  # fmt: skip
def test_all_criteria_have_to_hold(pairs: list[tuple[str, str]], names: list[str]) -> None:
    criteria = Criteria.all_of(pairs)
    assert found_by(criteria, PEOPLE) == names
    index = IndexModel()
    for entry in PEOPLE:
        index.put(entry)
    assert [entry.name for entry in index.search(criteria, 10).entries] == names


def test_any_criterion_holds() -> None:
    attributes = [
        "c",
        "company",
        "displayName",
        "givenName",
        "mail",
        "mailNickname",
        "msRTCSIP-PrimaryUserAddress",
        "sn",
        "x",
    ]
    assert found_by(Criteria.any_of(attributes, "o"), PEOPLE) == ["Ølaf Ångström", "Siobhán O’Brien"]
    assert found_by(Criteria.any_of(attributes, "sob"), PEOPLE) == ["Siobhán O’Brien"]
    assert Criteria.any_of(["x"], "o").stages() == ()


def test_who_has_no_first_and_last_name_is_found_by_the_display_name() -> None:
    bare = Entry(UUID(int=5), Kind.USER, "sip:grace@example.com", "Grace Hopper")
    assert found_by(Criteria.all_of([("givenName", "gra"), ("sn", "hop")]), [bare]) == ["Grace Hopper"]
    nameless = replace(bare, display_name="")
    assert found_by(Criteria.all_of([("givenName", "gra"), ("displayName", "grace ex")]), [nameless]) == [
        "grace@example.com"
    ]


def test_equal_values_come_first() -> None:
    ann, anna = user(1, "Anna B"), user(2, "Ann Z")
    assert found_by(Criteria.all_of([("givenName", "Ann")]), [ann, anna]) == ["Ann Z", "Anna B"]


def test_addresses_of_other_schemes() -> None:
    index = IndexModel()
    proxies = ("tel:+4930555", "x500:/o=Example/cn=ann", "smtp:tell@example.com", "eum:55@example.com")
    index.put(user(2, "Ann", proxies=proxies))
    index.put(ADA)
    for value, fits in (
        ("tel:+49", True), ("X500:/O=ex", True), ("eum:5", True), ("tel", True), ("x500", False), ("tel:+44", False)
    ):  # fmt: skip
        for question in (Criteria.all_of([("proxyAddresses", value)]), Criteria.any_of(["sn", "proxyAddresses"], value)):
            assert [entry.name for entry in index.search(question, 5).entries] == ["Ann"] * fits, value
            assert (question.rank(index.entries[UUID(int=2)]) is not None) is fits


@pytest.mark.parametrize(
    ("pairs", "problem"),
    [
        ([("sn", " ")], "there is nothing to search for; give a value"),
        ([(f"a{n}", "x") for n in range(17)], "a search has at most 16 attributes; leave some out"),
        ([("sn", "x" * 257)], "the value of sn has at most 256 characters; shorten it"),
    ],
)
def test_criteria_that_are_refused(pairs: list[tuple[str, str]], problem: str) -> None:
    with pytest.raises(QueryError) as refused:
        Criteria.all_of(pairs)
    assert str(refused.value) == problem


def test_what_an_entry_is_found_by() -> None:
    small = Entry(
        UUID(int=5), Kind.USER, "sip:ann@x.example", "Ann", numbers=(PhoneNumber(NumberKind.WORK, "12", "tel:+4930;ext=9"),)
    )  # fmt: skip
    assert postings(small) == {
        Posting(Family.EXACT, "ann"), Posting(Family.EXACT, "ann@x.example"), Posting(Family.EXACT, "4930"),
        Posting(Family.WORD, "ann"), Posting(Family.ADDRESS, "ann@x.example"), Posting(Family.NUMBER, "4930"),
    }  # fmt: skip
    assert member(small) == "ann\0" + "0" * 31 + "5"
    assert id_of(member(small)) == small.id
    assert grams(Family.WORD, "muller") == {"mul", "ull", "lle", "ler"}
    assert grams(Family.NUMBER, "12345") == {"1234", "2345"}
    assert grams(Family.ADDRESS, "ann@x") == grams(Family.WORD, "an") == frozenset()


def test_the_members_of_a_group_are_not_looked_at_for_its_document() -> None:
    class Members(tuple[UUID, ...]):
        def __hash__(self) -> int:
            raise AssertionError("the members were looked at")

    team = replace(TEAM, membership=Membership(Members([ADA.id])))
    assert document(team) is document(TEAM)


def test_what_changes_in_an_index() -> None:
    assert change(ADA, replace(ADA, version=9, manager="x")) is None
    title = change(ADA, replace(ADA, title="Countess"))
    assert title is not None
    assert list(title.remove) == [Posting(Family.WORD, "analyst")]
    assert list(title.add) == [Posting(Family.WORD, "countess")]
    renamed = change(ADA, replace(ADA, display_name="Augusta"))
    assert renamed is not None
    assert (renamed.remove, renamed.add) == (postings(ADA), postings(replace(ADA, display_name="Augusta")))
    hidden = change(ADA, replace(ADA, hidden=True))
    assert hidden is not None
    assert (hidden.new_member, hidden.add) == ("", frozenset())
    assert change(replace(ADA, hidden=True), None) is None


NAMES = st.sampled_from(
    [
        "Ann Lee", "Anna Lee", "Anne Müller", "Lee Ann", "Bob Mueller", "Müller", "Zoë O'Neil", "Ølaf Öl", "李 明", "!!!",
        "12 Monkeys",
    ]
)  # fmt: skip
SOME = st.builds(
    user, st.integers(1, 30), NAMES, title=st.sampled_from(["", "Ann", "Bäcker"]), hidden=st.booleans(),
    mail=st.sampled_from(["", "ann.lee@example.com", "x@y.example"]),
    numbers=st.sampled_from([(), (PhoneNumber(NumberKind.WORK, "030 5550123", "tel:+49305550123"),)]),
    company=st.sampled_from(["", "Lee & Öl"]),
)  # fmt: skip
DIRECTORIES = st.lists(SOME, max_size=14, unique_by=lambda entry: entry.id)
QUERIES = st.sampled_from(
    [
        "ann", "a", "ann lee", "lee a", "nn", "ulle", "mueller", "müller", "öl laf", "oel", "o", "nei", "李", "ann.lee@",
        "u1", "12", "x@y.example", "030 5550123", "+49 30", "0123", "5550", "3055", "ann@ lee", "lee x@", "zzz",
    ]
).map(Query.parse)  # fmt: skip
CRITERIA = st.sampled_from(
    [
        Criteria.all_of([("givenName", "an")]), Criteria.all_of([("sn", "le"), ("title", "ann")]),
        Criteria.all_of([("displayName", "müll")]), Criteria.all_of([("mail", "u")]), Criteria.all_of([("kind", "user")]),
        Criteria.any_of(["sn", "title", "mail"], "a"), Criteria.any_of(["sn", "source"], "l"),
        Criteria.all_of([("telephoneNumber", "+49"), ("company", "lee o")]), Criteria.all_of([("nothing", "x")]),
    ]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(DIRECTORIES, DIRECTORIES, QUERIES | CRITERIA, st.integers(1, 4))
def test_an_index_finds_what_a_look_at_everybody_finds(
    before: list[Entry], after: list[Entry], question: Question, limit: int
) -> None:
    index = IndexModel()
    for entry in before:
        index.put(entry)
    for id in {entry.id for entry in before} - {entry.id for entry in after}:
        index.remove(id)
    for entry in after:
        index.put(entry)
    wanted = [found.entry for found in sorted_results(question, after)]
    found: list[Entry] = []
    token = ""
    while True:
        page = index.search(question, limit, token)
        found += page.entries
        token = page.token
        if not token:
            break
        assert len(page.entries) == limit
    assert found == wanted


@FEW
@given(ENTRIES)
def test_an_entry_is_found_by_its_own_name_and_addresses(entry: Entry) -> None:
    entry = replace(entry, hidden=False, enabled=True)
    index = IndexModel()
    index.put(entry)
    for text in (entry.name, entry.address, entry.mail):
        try:
            question = Query.parse(text[:256])
        except QueryError:
            continue
        assert index.search(question, 1).entries == [entry]
    index.remove(entry.id)
    assert not index.postings
    assert not index.members


def test_results_are_sorted_by_rank_and_name() -> None:
    people = [user(1, "Zed Ann"), user(2, "Joanne"), user(3, "Ann B"), user(4, "ann a"), user(5, "Ann"), user(6, "Ann")]
    assert [found.entry.id.int for found in sorted_results(Query.parse("ann"), people)] == [5, 6, 4, 3, 1, 2]


def test_a_page_looks_at_a_bounded_number_of_entries() -> None:
    question = Query.parse("ann lee")
    search = Search(question, 5)
    stage = search.stage
    assert stage is not None
    other = user(1, "Bob")
    search.give([(f"a{n:06}\0{n:032x}", other) for n in range(MAX_LOOKED_AT)], last=False)
    assert search.stage is None
    assert search.entries == []
    again = Search(question, 5, search.token)
    assert again.stage == stage
    assert again.after == f"a{MAX_LOOKED_AT - 1:06}\0{MAX_LOOKED_AT - 1:032x}"
    whole = Search(question, 5)
    whole.give([(f"a{n:06}\0{n:032x}", other) for n in range(MAX_LOOKED_AT)], last=True)
    next_stage = Search(question, 5, whole.token)
    assert next_stage.stage is not None
    assert next_stage.stage.rank > stage.rank
    assert next_stage.after < "\0f"


def test_an_entry_that_changed_meanwhile_is_passed_over() -> None:
    search = Search(Query.parse("ada lovelace"), 5)
    search.give([(member(ADA), replace(ADA, display_name="Augusta King")), (member(TEAM), None)], last=True)
    assert search.entries == []


def encoded(content: object) -> str:
    return urlsafe_b64encode(json.dumps(content).encode()).decode()


@pytest.mark.parametrize("token", ["x", "!", "é", "A" * 1_025, encoded([]), encoded({}), encoded([1, "", 9, "x"])])
def test_tokens_that_are_none(token: str) -> None:
    with pytest.raises(QueryError) as refused:
        Search(Query.parse("ann"), 5, token)
    assert str(refused.value) == "the page token cannot be read; begin with the first page"


def test_a_token_with_what_is_no_text() -> None:
    question = Query.parse("ann")
    _, mark, rank, _ = json.loads(urlsafe_b64decode(Position(Rank.NAME, member(ADA)).token(question) + "=="))
    assert Search(question, 5, encoded([1, mark, rank, "ann\0" + "0" * 32]).rstrip("=")).after.startswith("ann")
    with pytest.raises(QueryError, match="the page token cannot be read; begin with the first page"):
        Search(question, 5, encoded([1, mark, rank, "\ud800\0" + "0" * 32]))


def test_a_token_is_for_its_own_search() -> None:
    index = IndexModel()
    for number in range(3):
        index.put(user(number, "Ann"))
    token = index.search(Query.parse("ann"), 1).token
    assert index.search(Query.parse("ann"), 5, token).entries == [user(1, "Ann"), user(2, "Ann")]
    for question in (Query.parse("bob"), Criteria.all_of([("givenName", "ann")])):
        with pytest.raises(QueryError, match="the page token is of another search; begin with the first page"):
            Search(question, 5, token)


@pytest.mark.parametrize("limit", [0, 1_001])
def test_limits_of_pages(limit: int) -> None:
    with pytest.raises(QueryError, match="a page has 1 to 1000 entries"):
        Search(Query.parse("ann"), limit)
