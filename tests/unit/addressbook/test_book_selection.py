"""Which entries are in address-book files, and with which values."""

from __future__ import annotations

from dataclasses import replace

import pytest

from parley.addressbook.entries import Entry, NumberKind, PhoneNumber
from parley.addressbook.files.schema import R2_ATTRIBUTES, BookAttribute, Flag, for_devices
from parley.addressbook.files.selection import Selection
from tests.unit.addressbook.made_up import ADA, TEAM

NAMES = {attribute.id: attribute.name for attribute in R2_ATTRIBUTES}
RULES = Selection(R2_ATTRIBUTES, use_rules=True)


def written(selection: Selection, entry: Entry) -> list[tuple[str, str]]:
    (contact,) = selection.contacts([entry])
    assert contact.id == entry.id
    return [(NAMES.get(number, str(number)), text) for number, text in contact.values]


def with_flags(name: str, flags: int) -> tuple[BookAttribute, ...]:
    return tuple(replace(item, flags=flags) if item.name == name else item for item in R2_ATTRIBUTES)


def test_a_user_with_everything() -> None:
    assert written(RULES, ADA) == [
        ("givenName", "Ada"), ("sn", "Lovelace"), ("displayName", "Ada Lovelace"), ("title", "Analyst"),
        ("mailNickname", "ada"), ("company", "Example"), ("physicalDeliveryOfficeName", "B12"),
        ("msRTCSIP-PrimaryUserAddress", "sip:ada@example.com"), ("telephoneNumber", "+44 20 7946 0001"),
        ("telephoneNumber", "tel:+442079460001"), ("mobile", "07700 900001"), ("mail", "ada@example.com"),
        ("proxyAddresses", "smtp:countess@example.com"), ("manager", "sip:charles@example.com"),
    ]  # fmt: skip


def test_a_group() -> None:
    assert written(RULES, TEAM) == [("displayName", "Engine team"), ("mail", "team@example.com"), ("groupType", "8")]


def test_phones_get_less() -> None:
    assert [item.name for item in for_devices(R2_ATTRIBUTES)] == [
        "displayName", "msRTCSIP-PrimaryUserAddress", "telephoneNumber", "mobile"
    ]  # fmt: skip
    assert written(Selection(R2_ATTRIBUTES, use_rules=True, devices=True), ADA) == [
        ("displayName", "Ada Lovelace"), ("msRTCSIP-PrimaryUserAddress", "sip:ada@example.com"),
        ("telephoneNumber", "+44 20 7946 0001"), ("telephoneNumber", "tel:+442079460001"), ("mobile", "07700 900001"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (replace(ADA, hidden=True), "its msExchHideFromAddressLists is TRUE"),
        (replace(ADA, enabled=False), "it is disabled"),
        (replace(TEAM, mail=""), "the group has no mail address"),
        (
            replace(ADA, address="", numbers=()),
            "it has no value in any of msRTCSIP-PrimaryUserAddress, telephoneNumber, homePhone, mobile, groupType",
        ),
        (replace(ADA, address=""), ""),
    ],
)
def test_who_is_left_out(entry: Entry, reason: str) -> None:
    assert RULES.why_not(entry) == reason
    assert len(list(RULES.contacts([entry]))) == (not reason)


def test_attributes_that_include_and_exclude() -> None:
    include = Selection(with_flags("title", 0x04000000 | Flag.INCLUDE), use_rules=True)
    assert include.why_not(ADA) == ""
    assert include.why_not(replace(ADA, title="")) == "it has no value in title"
    exclude = Selection(with_flags("title", 0x04000000 | Flag.INCLUDE | Flag.EXCLUDE), use_rules=True)
    assert exclude.why_not(ADA) == "it has a value in title"
    assert exclude.why_not(replace(ADA, title="")) == "it has no value in title"


def test_without_rules_ready_numbers_come_from_proxy_addresses() -> None:
    selection = Selection(R2_ATTRIBUTES, use_rules=False)
    ready = replace(ADA, proxies=("tel:+15", "TEL:+442079460001;ext=5", "smtp:a@b"))
    assert [text for name, text in written(selection, ready) if name == "telephoneNumber"] == [
        "+44 20 7946 0001", "tel:+442079460001;ext=5"
    ]  # fmt: skip
    assert [text for name, text in written(selection, ADA) if name == "telephoneNumber"] == ["+44 20 7946 0001"]
    short = replace(ready, numbers=(PhoneNumber(NumberKind.WORK, "0001"),))
    assert [text for name, text in written(selection, short) if name == "telephoneNumber"] == ["0001"]
    always = Selection(with_flags("telephoneNumber", 0x09020000 | Flag.NORMALISE), use_rules=False)
    assert ("telephoneNumber", "tel:+442079460001") in written(always, ADA)


def test_types_of_values() -> None:
    entry = replace(ADA, proxies=("smtp:a@b", "smtp:none", "sip:x@y", "tel:+49123456", "SMTP:c@d"))

    def proxies(kind: int) -> list[str]:
        selection = Selection(with_flags("proxyAddresses", kind | Flag.MULTIPLE), use_rules=True)
        return [text for name, text in written(selection, entry) if name == "proxyAddresses"]

    assert proxies(0) == list(entry.proxies)
    assert proxies(1) == []
    assert proxies(2) == ["tel:+49123456"]
    assert proxies(4) == ["smtp:a@b", "SMTP:c@d"]
    assert proxies(5) == ["smtp:a@b", "smtp:none", "tel:+49123456", "SMTP:c@d"]
    assert proxies(77) == []
    tel = Selection(with_flags("telephoneNumber", 0x09022802), use_rules=True)
    assert [text for name, text in written(tel, ADA) if name == "telephoneNumber"] == ["tel:+442079460001"]


def test_only_attributes_with_several_values_have_them() -> None:
    numbers = tuple(PhoneNumber(NumberKind.OTHER, f"+4930{n}", f"tel:+4930{n}") for n in (11111, 22222))
    entry = replace(ADA, numbers=numbers)
    assert [text for name, text in written(RULES, entry) if name == "otherTelephone"] == ["+493011111", "tel:+493011111"]
    several = Selection(with_flags("otherTelephone", 0x0C002000 | Flag.MULTIPLE), use_rules=True)
    assert [text for name, text in written(several, entry) if name == "otherTelephone"] == [
        "+493011111", "tel:+493011111", "+493022222", "tel:+493022222"
    ]  # fmt: skip
