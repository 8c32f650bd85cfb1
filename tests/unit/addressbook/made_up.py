"""Entries for tests: some of our own, and some that Hypothesis makes up."""

from __future__ import annotations

from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from parley.addressbook.entries import Entry, Kind, Membership, NumberKind, Origin, PhoneNumber, Photo, checked
from parley.addressbook.errors import EntryError

ADA = Entry(
    UUID(int=1), Kind.USER, "sip:ada@example.com", "Ada Lovelace", "Ada", "Lovelace", "ada@example.com", "ada", "Analyst",
    "Engines", "Example", "B12", "London", "", "UK", "sip:charles@example.com",
    (
        PhoneNumber(NumberKind.WORK, "+44 20 7946 0001", "tel:+442079460001"),
        PhoneNumber(NumberKind.MOBILE, "07700 900001"),
    ),
    ("smtp:countess@example.com",), Photo("ab" * 32, 1234), origin=Origin("ldap:head office", "cn=ada,dc=example", "4711"),
    version=3,
)  # fmt: skip
TEAM = Entry(
    UUID(int=9), Kind.GROUP, display_name="Engine team", mail="team@example.com",
    membership=Membership((UUID(int=1), UUID(int=2)), ("cn=elsewhere",)),
)  # fmt: skip


def user(number: int, name: str, **values: object) -> Entry:
    """A user whose address follows from the number."""
    given, _, surname = name.partition(" ")
    made: dict[str, object] = {
        "address": f"sip:u{number}@example.com", "display_name": name, "given_name": given, "surname": surname, **values
    }  # fmt: skip
    return Entry(UUID(int=number), Kind.USER, **made)  # type: ignore[arg-type]


TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff"), max_size=12)
LABELS = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,8}[a-z0-9]", fullmatch=True)
ADDRESSES = st.builds("sip:{}@{}.example".format, st.text("abcÄöß%+.-_1", min_size=1, max_size=8), LABELS)
MAILS = st.builds("{}@{}.example".format, st.text("abcÄöß+.-_1", min_size=1, max_size=8), LABELS)
UUIDS = st.uuids()
NUMBERS = st.builds(
    PhoneNumber, st.sampled_from(NumberKind), TEXTS,
    st.just("") | st.from_regex(r"tel:\+[1-9][0-9]{2,14}(;ext=[0-9]{1,5})?", fullmatch=True),
)  # fmt: skip
ORIGINS = st.builds(Origin, st.sampled_from(["local", "csv", "scim", "ldap:a", "ldap:über all"]), TEXTS, TEXTS)
PHOTOS = st.none() | st.builds(Photo, st.from_regex(r"[0-9a-f]{64}", fullmatch=True), st.integers(0, 2**40))
STATIC = st.builds(
    Membership, st.lists(UUIDS, max_size=4).map(tuple), st.lists(TEXTS, max_size=3).map(tuple), st.just(""), st.booleans()
)
DYNAMIC = st.builds(Membership, rule=TEXTS, hidden=st.booleans())


def _kept(entry: Entry) -> list[Entry]:
    try:
        return [checked(entry)]
    except EntryError:
        return []


def _only_kept(entries: st.SearchStrategy[Entry]) -> st.SearchStrategy[Entry]:
    return entries.map(_kept).filter(bool).map(lambda found: found[0])


_TEXTS = (
    "display_name", "given_name", "surname", "mail_nickname", "title", "department", "company", "office", "city", "state",
    "country", "manager",
)  # fmt: skip
_REST = {
    "mail": MAILS, "numbers": st.lists(NUMBERS, max_size=3).map(tuple),
    "proxies": st.lists(MAILS.map("smtp:{}".format), max_size=2).map(tuple), "photo": PHOTOS, "hidden": st.booleans(),
    "enabled": st.booleans(), "origin": ORIGINS, "version": st.integers(0, 2**62),
}  # fmt: skip
# Few fields each, as entries with all of them take long to make up.
_FIELDS = st.builds(
    lambda texts, rest: {**texts, **rest}, st.dictionaries(st.sampled_from(_TEXTS), TEXTS, max_size=3),
    st.lists(st.sampled_from(sorted(_REST)), max_size=2, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: _REST[name] for name in names})
    ),
)  # fmt: skip


def _entry(kind: Kind, id: UUID, address: str, fields: dict[str, object]) -> Entry:
    return Entry(id, kind, address, **fields)  # type: ignore[arg-type]


PEOPLE = _only_kept(st.builds(_entry, st.sampled_from([Kind.USER, Kind.CONTACT]), UUIDS, ADDRESSES, _FIELDS))
GROUPS = _only_kept(
    st.builds(
        lambda id, fields, membership: _entry(Kind.GROUP, id, "", {"display_name": "G", "membership": membership, **fields}),
        UUIDS, _FIELDS, STATIC | DYNAMIC,
    )
)  # fmt: skip
ENTRIES = PEOPLE | GROUPS

FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For tests with whole entries, which take their time to make up on a busy machine."""
