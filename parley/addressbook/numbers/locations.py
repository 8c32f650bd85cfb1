"""Our own rules for numbers (web-services sheet, section 1.6): where a number is written says what it means.

A number with ``+`` and 7 to 15 digits is kept. ``00`` is ``+``. A number of the national form gets the country code, by what
the package phonenumbers knows of the country. Three to six digits are an extension: they are left alone, unless a range of
the location says whose it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import phonenumbers
from phonenumbers import PhoneNumberFormat, ValidationResult

from parley.addressbook.errors import NumberRuleError
from parley.addressbook.numbers.company_rules import MAX_NUMBER, Outcome
from parley.addressbook.numbers.texts import digits_of, split_extension, stripped, tel_uri, uri_of

_MIN_DIGITS: Final = 7
_MAX_DIGITS: Final = 15
_EXTENSION_DIGITS: Final = range(2, 7)
_MAX_RANGES: Final = 1_000


@dataclass(frozen=True, slots=True)
class ExtensionRange:
    """Extensions of one length, and what they stand for."""

    first: str
    last: str
    """Both of the same length; the last one is in it."""
    number: str
    """``+4930123``: what an extension is dialled behind, or the number that has the extension."""
    direct: bool = True
    """Whether an extension is dialled right behind the number, or asked for at that number (``;ext=``)."""

    def covers(self, extension: str) -> bool:
        """Whether an extension is in it."""
        return len(extension) == len(self.first) and self.first <= extension <= self.last

    def uri(self, extension: str) -> str:
        """What an extension stands for."""
        digits = digits_of(self.number)
        return tel_uri(digits + extension) if self.direct else tel_uri(digits, extension)


@dataclass(frozen=True, slots=True)
class Location:
    """How numbers are written at a place. `checked_location` says whether it can be used."""

    country: str
    """Two letters (ISO 3166): "DE"."""
    area_code: str = ""
    """What numbers without one are meant in, without the trunk prefix: "30" in Berlin; "" when they are left alone."""
    outside_prefix: str = ""
    """What is dialled at this place to get an outside line, where numbers are written with it: "0", "9"."""
    extensions: tuple[ExtensionRange, ...] = ()


def checked_location(location: Location) -> Location:
    """The location. Raises NumberRuleError for what contradicts itself."""
    if location.country not in phonenumbers.SUPPORTED_REGIONS:
        raise NumberRuleError(f"{location.country!r} is no country; write two letters, as in DE or US")
    for name, text in (("area code", location.area_code), ("outside prefix", location.outside_prefix)):
        if text and not _is_digits(text, 8):
            raise NumberRuleError(f"the {name} {text[:20]!r} has to be up to 8 digits")
    if len(location.extensions) > _MAX_RANGES:
        raise NumberRuleError(f"more than {_MAX_RANGES} ranges of extensions are too many")
    for item in location.extensions:
        ends = f"{item.first[:20]}-{item.last[:20]}"
        if not _is_digits(item.first, 15) or not _is_digits(item.last, 15):
            raise NumberRuleError(f"the extensions {ends} have to be digits")
        if len(item.first) != len(item.last) or item.first > item.last:
            raise NumberRuleError(f"the extensions {ends} have to be of one length, the first one not above the last")
        if len(item.first) not in _EXTENSION_DIGITS:
            raise NumberRuleError(f"the extensions {ends} have to be of 2 to 6 digits")
        if not item.number.startswith("+") or not uri_of(item.uri(item.first)):
            raise NumberRuleError(f"{item.number[:20]!r} with the extensions {ends} is no number of E.164; write +...")
    return location


def _is_digits(text: str, most: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= most


def normalise_at(raw: str, location: Location | None) -> Outcome:
    """A number as it is written at a location; without one, only numbers with ``+`` or ``00`` are taken."""
    if len(raw) > MAX_NUMBER:
        return Outcome("", f"it is longer than {MAX_NUMBER} characters")
    number, extension = split_extension(raw)
    text = stripped(number)
    digits = digits_of(text)
    if not digits:
        return Outcome("", "it has no digits")
    if text.startswith("00"):
        text = f"+{text[2:]}"
    if text.startswith("+"):
        return _international(text[1:], extension)
    if text != digits:
        return Outcome("", "it holds more than digits")
    if location is None:
        return Outcome("", "it has no country code, and there is no location that says which")
    if not extension:
        inside = next((item for item in location.extensions if item.covers(digits)), None)
        if inside is not None:
            return Outcome(inside.uri(digits), f"the extensions {inside.first}-{inside.last}")
    if len(digits) < _MIN_DIGITS and len(digits) in _EXTENSION_DIGITS:
        return Outcome("", "it is an extension, and no range covers it")
    return _national(digits, extension, location)


def _international(text: str, extension: str) -> Outcome:
    # "+44 (0)20 ..." is written, and not meant, with its trunk prefix; the package knows which countries have one.
    if not text.isascii() or not text.isdigit():
        return Outcome("", "it holds more than digits")
    digits = text
    for _ in range(_MAX_DIGITS):  # somebody has written it twice: "+49 (00)30 ..."
        before, digits = digits, _without_trunk(digits)
        if digits == before:
            break
    if not _MIN_DIGITS <= len(digits) <= _MAX_DIGITS:
        return Outcome("", f"a number with its country code has {_MIN_DIGITS} to {_MAX_DIGITS} digits")
    uri = uri_of(f"+{digits};ext={extension}" if extension else f"+{digits}")
    return Outcome(uri, "international form") if uri else Outcome("", "no country code begins with 0")


def _without_trunk(digits: str) -> str:
    try:
        parsed = phonenumbers.parse(f"+{digits}", None)
    except phonenumbers.NumberParseException:
        return digits
    return (
        phonenumbers.format_number(parsed, PhoneNumberFormat.E164)[1:] if phonenumbers.is_possible_number(parsed) else digits
    )


def _national(digits: str, extension: str, location: Location) -> Outcome:
    prefix = location.outside_prefix
    candidates = [digits]
    if prefix and digits.startswith(prefix):
        candidates.append(digits[len(prefix) :])
    if location.area_code:
        candidates.append(location.area_code + digits)
    for index, candidate in enumerate(candidates):
        try:
            parsed = phonenumbers.parse(candidate, location.country)
        except phonenumbers.NumberParseException:
            continue
        reason = phonenumbers.is_possible_number_with_reason(parsed)
        # What is only possible is taken, as no list of ranges is ever complete, unless another reading is known to be right.
        sure = phonenumbers.is_valid_number(parsed)
        if reason == ValidationResult.IS_POSSIBLE and (sure or not _any_valid(candidates[index + 1 :], location.country)):
            formatted = phonenumbers.format_number(parsed, PhoneNumberFormat.E164)
            uri = uri_of(f"{formatted};ext={extension}" if extension else formatted)
            if uri:  # the package takes national numbers that are too long for E.164
                return Outcome(uri, f"national form of {location.country}")
    return Outcome("", f"it is no number of {location.country}")


def _any_valid(candidates: list[str], country: str) -> bool:
    for candidate in candidates:
        try:
            if phonenumbers.is_valid_number(phonenumbers.parse(candidate, country)):
                return True
        except phonenumbers.NumberParseException:
            continue
    return False
