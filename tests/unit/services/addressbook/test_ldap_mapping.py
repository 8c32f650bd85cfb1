"""Entries of directory servers as ours."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from parley.addressbook.entries import Entry, Kind, NumberKind
from services.addressbook.directory.applying import Item, Trouble
from services.addressbook.directory.config import LdapConfig
from services.addressbook.directory.ldap.client import RawEntry
from services.addressbook.directory.ldap.mapping import Mapping, begin_of_changes

ID = UUID("00112233-4455-6677-8899-aabbccddeeff")


def mapping(**values: Any) -> Mapping:
    """Of a server."""
    return Mapping("ldap:main", LdapConfig(url="ldaps://dc.example.com", base="DC=example,DC=com", **values))


def raw(**attributes: str | bytes | list[str]) -> RawEntry:
    """An entry of an Active Directory."""
    values = {"objectGUID": ID.bytes_le, "cn": "Ada", **attributes}
    found = {}
    for name, value in values.items():
        several = value if isinstance(value, list) else [value]
        found[name.replace("_", "-").lower()] = [item.encode() if isinstance(item, str) else item for item in several]
    return RawEntry("CN=Ada,DC=example,DC=com", found)


def item_of(made: Item | Trouble) -> Item:
    """What is none is a failure."""
    assert isinstance(made, Item), made
    return made


def entry_of(made: Item | Trouble) -> Entry:
    """The entry of it."""
    return item_of(made).entry


PERSON = ["top", "person", "organizationalPerson", "user"]


def test_a_user_of_active_directory() -> None:
    entry = raw(
        objectClass=PERSON, displayName="Ada Lovelace", givenName="Ada", sn="Lovelace", mail="ada@example.com",
        msRTCSIP_PrimaryUserAddress="sip:Ada@example.com", msRTCSIP_UserEnabled="TRUE", sAMAccountName="alovelace",
        userPrincipalName="ada.lovelace@example.com", userAccountControl="512", telephoneNumber="+44 20 7946 0001",
        otherMobile=["1", "2"], msRTCSIP_Line="tel:+442079460001;ext=12", uSNChanged="4711",
        proxyAddresses=["SMTP:ada@example.com", "no scheme"],
    )  # fmt: skip
    made = item_of(mapping(login_domain="EXAMPLE").item(entry))
    ada = made.entry
    assert (ada.id, ada.kind, ada.address, ada.display_name) == (ID, Kind.USER, "sip:ada@example.com", "Ada Lovelace")
    assert (ada.origin.source, ada.origin.key, ada.origin.version) == ("ldap:main", "CN=Ada,DC=example,DC=com", "4711")
    assert [number.kind for number in ada.numbers] == [
        NumberKind.WORK,
        NumberKind.WORK,
        NumberKind.MOBILE,
        NumberKind.MOBILE,
    ]
    assert made.logins == ("alovelace", "ada.lovelace@example.com", "EXAMPLE\\alovelace")
    assert ada.proxies == ("SMTP:ada@example.com",)
    assert (ada.enabled, ada.hidden) == (True, False)


def test_who_is_disabled_or_hidden() -> None:
    entry = raw(objectClass=PERSON, userAccountControl="514", msExchHideFromAddressLists="TRUE")
    made = entry_of(mapping().item(entry))
    assert (made.enabled, made.hidden, made.kind) == (False, True, Kind.CONTACT)


@pytest.mark.parametrize(
    ("values", "address"),
    [
        ({"sAMAccountName": "ada"}, "sip:ada@example.com"),
        ({"mail": "lovelace@mail.test"}, "sip:lovelace@example.com"),
        ({"sAMAccountName": "ada", "msRTCSIP_PrimaryUserAddress": "sip:a@b.test"}, "sip:a@b.test"),
        ({"sAMAccountName": "ada", "msRTCSIP_PrimaryUserAddress": "sip:a@b.test", "msRTCSIP_UserEnabled": "FALSE"},
         "sip:ada@example.com"),
    ],
)  # fmt: skip
def test_addresses_by_the_domain(values: dict[str, Any], address: str) -> None:
    assert entry_of(mapping(domain="example.com").item(raw(objectClass=PERSON, **values))).address == address


def test_contacts_and_groups() -> None:
    assert entry_of(mapping(domain="x.test").item(raw(objectClass=["top", "contact"], mail="a@b.test"))).kind is Kind.CONTACT
    group = entry_of(mapping().item(raw(objectClass=["top", "group"], member=["CN=A", "CN=B"])))
    assert group.kind is Kind.GROUP
    assert group.membership is not None
    assert group.membership.unresolved == ("CN=A", "CN=B")


@pytest.mark.parametrize("attribute", ["hideDLMembership", "msExchHideFromAddressLists"])
def test_groups_that_hide_who_is_in_them(attribute: str) -> None:
    assert attribute in mapping().attributes
    for value, hidden in (("TRUE", True), ("FALSE", False)):
        values: dict[str, Any] = {"objectClass": ["top", "group"], "member": ["CN=A"], attribute: value}
        group = entry_of(mapping().item(raw(**values)))
        assert group.membership is not None
        assert group.membership.hidden is hidden


CSN = "20261129120000.123456Z#000000#001#000000"


@pytest.mark.parametrize(
    ("known", "looked_at", "begin"),
    [
        # Nobody looked since: ten minutes before the last change.
        (("entryCSN", CSN), "2026-11-29T11:00:00", ("entryCSN", "20261129115000.000000Z#000000#000#000000")),
        (("modifyTimestamp", "20261129120000Z"), "2026-11-29T12:00:00", ("modifyTimestamp", "20261129115000Z")),
        # Ten minutes before we looked, or the last change itself.
        (("modifyTimestamp", "20261129120000Z"), "2026-11-29T12:04:00", ("modifyTimestamp", "20261129115400Z")),
        (("entryCSN", CSN), "2026-11-29T12:10:00", ("entryCSN", CSN)),
        (("entryCSN", CSN), "2030-01-01T00:00:00", ("entryCSN", CSN)),
        # Numbers, and what is no time, are left alone.
        (("uSNChanged", "20261129120000"), "2026-11-29T11:00:00", ("uSNChanged", "20261129120000")),
        (("entryCSN", "whatever"), "2026-11-29T11:00:00", ("entryCSN", "whatever")),
    ],
)
def test_from_which_change_on_a_server_is_asked(known: tuple[str, str], looked_at: str, begin: tuple[str, str]) -> None:
    assert begin_of_changes(known, datetime.fromisoformat(f"{looked_at}+00:00").timestamp()) == begin


def test_attributes_may_have_other_names() -> None:
    made = entry_of(mapping(attributes={"department": "extensionAttribute3", "title": ""}).item(
        raw(objectClass=PERSON, extensionAttribute3="Engines", department="not this", title="not this")
    ))  # fmt: skip
    assert (made.department, made.title) == ("Engines", "")
    asked = mapping(attributes={"department": "extensionAttribute3"}).attributes
    assert "extensionAttribute3" in asked
    assert "department" not in asked
    assert len(asked) == len(set(asked))


def test_what_cannot_be_taken_says_why() -> None:
    trouble = mapping().item(raw(objectClass=PERSON, objectGUID=b"short"))
    assert isinstance(trouble, Trouble)
    assert "objectGUID" in trouble.text
    trouble = mapping().item(raw(objectClass=PERSON, mail="no mail"))
    assert isinstance(trouble, Trouble)
    assert (trouble.column, trouble.key) == ("mail", "CN=Ada,DC=example,DC=com")


def test_the_filter_for_one_entry_is_by_its_bytes() -> None:
    text = str(mapping().equals(ID))
    assert text.startswith("(objectGUID=")
    assert str(mapping(kind="openldap").equals(ID)) == f"(entryUUID={ID})"


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"url": "http://x"}, "ldap://host"),
        ({"url": "ldap://x", "bind_dn": "cn=a"}, "in the clear"),
        ({"filter": "(broken"}, "filter"),
        ({"attributes": {"shoe size": "x"}}, "no attribute of the directory"),
        ({"attributes": {"title": "a)(b"}}, "no attribute of LDAP"),
        ({"password": "a", "password_file": "b"}, "not both"),
    ],
)
def test_wrong_configuration_is_refused(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem.replace("(", r"\(")):
        LdapConfig(**{"url": "ldaps://dc.example.com", "base": "DC=x", **values})
