"""Which entries are in address-book files, and with which values (web-services sheet, sections 1.4 and 1.6).

The flags of the attributes decide. Beyond them, groups need a mail address, and whoever is disabled or hidden is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from parley.addressbook.attributes import attribute
from parley.addressbook.entries import Entry, Kind, PhoneNumber
from parley.addressbook.files.contacts import Contact
from parley.addressbook.files.schema import BookAttribute, Flag, ValueType
from parley.addressbook.numbers.texts import digits_of

_UNIVERSAL_GROUP: Final = "8"
"""groupType of a distribution group of Active Directory; ours have no other."""
_FEWEST_DIGITS: Final = 5
"""How many digits a number needs to be found again in proxyAddresses."""


_Values = Callable[[Entry], list[str]]


class Selection:
    """Chooses entries and values by a table of attributes."""

    def __init__(self, attributes: Iterable[BookAttribute], *, use_rules: bool, devices: bool = False) -> None:
        """``use_rules``: whether numbers are normalised by rules; ``devices``: for phones, which get fewer attributes."""
        self.attributes = tuple(attributes)
        written = [item for item in self.attributes if item.type not in (ValueType.EXCLUDES, ValueType.BINARY)]
        self._values = [(item, _values_of(item, use_rules)) for item in written]
        self._written = {item.id for item in written if not devices or item.has(Flag.DEVICES)}
        self._hiding = [item.name for item in self.attributes if item.type == ValueType.EXCLUDES]
        self._excluding, self._including, self._required = (
            [item for item in written if item.has(flag)] for flag in (Flag.EXCLUDE, Flag.INCLUDE, Flag.REQUIRED)
        )

    def contacts(self, entries: Iterable[Entry]) -> Iterator[Contact]:
        """The contacts of the entries that are chosen."""
        for entry in entries:
            values = self._all(entry)
            if not self._why_not(entry, values):
                chosen = ((number, text) for number, texts in values.items() if number in self._written for text in texts)
                yield Contact(entry.id, tuple(chosen))

    def why_not(self, entry: Entry) -> str:
        """Why an entry is left out; "" when it is chosen."""
        return self._why_not(entry, self._all(entry))

    def _all(self, entry: Entry) -> dict[int, list[str]]:
        """The values by number of the attribute; of phones as well those that are not written."""
        return {item.id: texts for item, values in self._values if (texts := values(entry))}

    def _why_not(self, entry: Entry, values: dict[int, list[str]]) -> str:
        if not entry.enabled:
            return "it is disabled"
        if entry.kind is Kind.GROUP and not entry.mail:
            return "the group has no mail address"
        for name in self._hiding:
            if any(text.upper() == "TRUE" for text in _texts(entry, name)):
                return f"its {name} is TRUE"
        for item in self._excluding:
            if item.id in values:
                return f"it has a value in {item.name}"
        for item in self._including:
            if item.id not in values:
                return f"it has no value in {item.name}"
        if self._required and not any(item.id in values for item in self._required):
            return f"it has no value in any of {', '.join(item.name for item in self._required)}"
        return ""


def _values_of(item: BookAttribute, use_rules: bool) -> _Values:
    """What gives the values that are written of an attribute."""
    known = attribute(item.name)
    several = item.has(Flag.MULTIPLE)
    if known is not None and known.numbers is not None:
        return _number_values(item, known.numbers, use_rules, several)

    def values(entry: Entry) -> list[str]:
        texts = known.values(entry) if known is not None else _texts(entry, item.name)
        if not texts:
            return texts
        fitting = [text for text in texts if _is_of_type(text, item.type)]
        return fitting if several else fitting[:1]

    return values


def _number_values(
    item: BookAttribute, numbers: Callable[[Entry], list[PhoneNumber]], use_rules: bool, several: bool
) -> _Values:
    by_entry = item.has(Flag.NORMALISE) or (item.has(Flag.NORMALISE_BY_RULES) and use_rules)
    by_proxies = not by_entry and item.has(Flag.NORMALISE_BY_RULES)

    def values(entry: Entry) -> list[str]:
        found: list[str] = []
        for number in numbers(entry) if several else numbers(entry)[:1]:
            normalised = number.normalised if by_entry else _ready_number(number.raw, entry.proxies) if by_proxies else ""
            found += (text for text in (number.raw, normalised) if text and _is_of_type(text, item.type))
        return found

    return values


def _texts(entry: Entry, name: str) -> list[str]:
    """The values of an attribute that holds no numbers."""
    if name == "msExchHideFromAddressLists":
        return ["TRUE"] if entry.hidden else []
    if name == "groupType":
        return [_UNIVERSAL_GROUP] if entry.kind is Kind.GROUP else []
    known = attribute(name)
    return known.values(entry) if known is not None else []


def _is_of_type(text: str, kind: int) -> bool:
    """Whether a value is one that the type of its attribute keeps."""
    if kind == ValueType.STRING:
        return True
    lower = text.lower()
    tel, smtp = lower.startswith("tel:"), lower.startswith("smtp:")
    if kind == ValueType.TEL:
        return tel
    if kind == ValueType.SMTP:
        return smtp and "@" in text
    if kind == ValueType.TEL_OR_SMTP:
        return tel or smtp
    return False


def _ready_number(raw: str, proxies: Iterable[str]) -> str:
    """The normalised form of a number that somebody put into proxyAddresses: the one that ends with its digits."""
    digits = digits_of(raw).lstrip("0")
    if len(digits) < _FEWEST_DIGITS:
        return ""
    for proxy in proxies:
        if proxy.lower().startswith("tel:+") and digits_of(proxy.partition(";")[0]).endswith(digits):
            return f"tel:{proxy[4:]}"
    return ""
