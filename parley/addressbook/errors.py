"""What can be wrong with what the directory is given. Each text says what to do next and is fit for who sent it."""

from __future__ import annotations


class AddressBookError(ValueError):
    """The root of all of them."""


class EntryError(AddressBookError):
    """An entry that cannot be kept."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        """The field of the entry, as `parley.addressbook.entries.Entry` names it; "" for the whole."""
        self.problem = problem


class NumberRuleError(AddressBookError):
    """A rule for numbers that cannot be used."""

    def __init__(self, problem: str, line: int = 0) -> None:
        super().__init__(f"line {line}: {problem}" if line else problem)
        self.problem = problem
        self.line = line
        """Where it stands in its file, from 1; 0 when that is not known."""


class BookFileError(AddressBookError):
    """An address-book file that cannot be read or written."""


class QueryError(AddressBookError):
    """A search that cannot be answered."""


class FilterError(AddressBookError):
    """An LDAP filter that cannot be read."""


class RuleError(AddressBookError):
    """A rule of a dynamic group that cannot be read."""


class CsvError(AddressBookError):
    """A file of comma-separated values that cannot be read at all."""


class DeviceError(AddressBookError):
    """A change of device updates that cannot be made."""
