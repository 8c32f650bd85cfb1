"""Many contacts put into a list at once: merged into it, or in place of it.

Groups are known by name. What changes is told in few numbered changes, as endpoints take them from a user's other
endpoint: new groups first, then contacts, then contacts and groups that go. An entry that is bad leaves the others, but a
list is never replaced by one that has bad entries.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from parley.presence.contacts import (
    DEFAULT_GROUP,
    MAX_EXTERNAL_URI,
    MAX_GROUPS,
    MAX_NAME,
    ContactDelta,
    check_contact,
    default_group,
)
from parley.presence.errors import BadDocument, PresenceError, TooLarge
from parley.presence.model import bare
from parley.proto.presence.v1 import state_pb2 as pb
from parley.sip.errors import SipParseError
from parley.sip.uri import parse_uri
from parley.xml import XmlError, local_name, parse_xml, to_bytes

MAX_ENTRIES: Final = 10_000
_MOST_TOGETHER: Final = 64
_BYTES_TOGETHER: Final = 32_768
_NO_XML: Final = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class ContactEntry:
    """A contact as people know it; None: as it is in the list."""

    address: str
    """With or without "sip:"."""
    name: str = ""
    """Empty: as it is."""
    groups: tuple[str, ...] = ()
    """Names; "~" is the group of contacts that are in no other."""
    subscribed: bool | None = None
    external_uri: str | None = None
    extension: bytes | None = None


@dataclass(frozen=True, slots=True)
class GroupEntry:
    """A group."""

    name: str
    external_uri: str | None = None


@dataclass(frozen=True, slots=True)
class BadEntry:
    """An entry that cannot be taken."""

    index: int
    """Its place, from 0."""
    address: str
    reason: str


@dataclass(slots=True)
class ImportReport:
    """What an import did."""

    deltas: list[ContactDelta] = field(default_factory=list)
    problems: list[BadEntry] = field(default_factory=list)
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    deleted: int = 0
    groups_added: int = 0
    groups_deleted: int = 0
    refused: bool = False
    """Nothing was done: the list would have been replaced by one with bad entries."""


def exported(contacts: pb.ContactList) -> tuple[list[GroupEntry], list[ContactEntry]]:
    """Groups and contacts as `import_contacts` takes them back."""
    names = {group.id: group.name for group in contacts.groups}
    groups = [GroupEntry(group.name, group.external_uri) for group in contacts.groups]
    entries = [
        ContactEntry(
            f"sip:{contact.uri}" if ":" not in contact.uri or "@" in contact.uri.partition(":")[0] else contact.uri,
            contact.name, tuple(names[number] for number in contact.groups if number in names), contact.subscribed,
            contact.external_uri, contact.extension,
        )
        for contact in contacts.contacts
    ]  # fmt: skip
    return groups, entries


def import_contacts(
    contacts: pb.ContactList,
    entries: Sequence[ContactEntry],
    groups: Sequence[GroupEntry] = (),
    *,
    replace: bool,
    limit: int,
) -> ImportReport:
    """Changes the list. ``replace``: it becomes what is given; ``limit``: contacts that a list may have.

    Raises TooLarge for more entries or groups than there may be, BadDocument for a group that cannot be.
    """
    if len(entries) > MAX_ENTRIES or (replace and len(entries) > limit):
        raise TooLarge(f"{len(entries)} contacts are too many; a list has at most {limit}")
    return _Import(contacts, replace, limit).run(entries, groups)


class _Import:
    """One import into one list."""

    def __init__(self, contacts: pb.ContactList, replace: bool, limit: int) -> None:
        self._list = contacts
        self._replace = replace
        self._limit = limit
        self._report = ImportReport()
        self._default = default_group(contacts)
        self._known = {contact.uri.lower(): contact for contact in contacts.contacts}
        self._numbers = {group.name: group.id for group in contacts.groups}

    def run(self, entries: Sequence[ContactEntry], groups: Sequence[GroupEntry]) -> ImportReport:
        """The whole of it."""
        report = self._report
        good = list(self._good(entries))
        if self._replace and report.problems:
            report.refused = True
            return report
        wanted = {group.name: group for group in groups}
        for _, entry in good:
            wanted.update((name, GroupEntry(name)) for name in entry.groups if name not in wanted)
        self._change_groups(wanted)
        self._put(good)
        if self._replace:
            self._delete_contacts({address.lower() for address, _ in good})
            self._delete_groups(wanted)
        return report

    # What is given

    def _good(self, entries: Sequence[ContactEntry]) -> Iterator[tuple[str, ContactEntry]]:
        """Address and entry of those that can be taken."""
        seen: set[str] = set()
        room = len(entries) if self._replace else self._limit - len(self._known)
        for index, entry in enumerate(entries):
            try:
                address, checked = self._checked(entry)
                if address.lower() in seen:
                    raise BadDocument("the address comes twice")
                if address.lower() not in self._known:
                    if room <= 0:
                        raise TooLarge(f"the list is full; it may have {self._limit} contacts")
                    room -= 1
            except PresenceError as error:
                self._report.problems.append(BadEntry(index, entry.address[:MAX_NAME], str(error)))
                continue
            seen.add(address.lower())
            yield address, checked

    def _checked(self, entry: ContactEntry) -> tuple[str, ContactEntry]:
        address = bare(entry.address.strip())
        if address.lower() not in self._known and not _is_address(address):
            raise BadDocument("not an address; write sip:user@domain")
        name = " ".join(entry.name.split())
        for text in (address, name, entry.external_uri or "", *entry.groups):
            if _NO_XML.search(text) is not None:
                raise BadDocument("holds characters that cannot be shown")
        extension = entry.extension
        if extension:
            extension = _checked_extension(extension)
        check_contact(address, name, entry.external_uri or "", extension or b"")
        for group in entry.groups:
            if not group.strip() or len(group) > MAX_NAME:
                raise BadDocument("the name of a group is empty or too long")
        return address, ContactEntry(address, name, entry.groups, entry.subscribed, entry.external_uri, extension)

    # Groups

    def _change_groups(self, wanted: dict[str, GroupEntry]) -> None:
        kept = set(wanted) | {DEFAULT_GROUP} if self._replace else set(wanted) | set(self._numbers)
        if len(kept) > MAX_GROUPS:
            raise TooLarge(f"{len(kept)} groups are too many; a list has at most {MAX_GROUPS}")
        added, modified = [], []
        by_name = {group.name: group for group in self._list.groups}
        for name, entry in wanted.items():
            external = entry.external_uri
            if not name.strip() or len(name) > MAX_NAME or len(external or "") > MAX_EXTERNAL_URI:
                raise BadDocument("the name of a group is empty or too long")
            if _NO_XML.search(name + (external or "")) is not None:
                raise BadDocument("the name of a group holds characters that cannot be shown")
            group = by_name.get(name)
            if group is None:
                group = self._list.groups.add(id=self._free_number(), name=name, external_uri=external or "")
                self._numbers[name] = group.id
                added.append(_copy_group(group))
            elif external is not None and external != group.external_uri:
                group.external_uri = external
                modified.append(_copy_group(group))
        self._report.groups_added = len(added)
        if added or modified:
            self._tell(added_groups=tuple(added), modified_groups=tuple(modified))

    def _free_number(self) -> int:
        used = set(self._numbers.values())
        return next(number for number in range(1, len(used) + 2) if number not in used)

    def _delete_groups(self, wanted: dict[str, GroupEntry]) -> None:
        gone = [group for group in self._list.groups if group.name not in wanted and group.id != self._default]
        for group in gone:
            self._list.groups.remove(group)
        self._report.groups_deleted = len(gone)
        if gone:
            self._tell(deleted_groups=tuple(group.id for group in gone))

    # Contacts

    def _put(self, good: Sequence[tuple[str, ContactEntry]]) -> None:
        added, modified = [], []
        for address, entry in good:
            known = self._known.get(address.lower())
            if known is None:
                contact = self._list.contacts.add(
                    uri=address, name=entry.name, groups=self._groups_of(entry, ()),
                    subscribed=entry.subscribed is not False, external_uri=entry.external_uri or "",
                    extension=entry.extension or b"",
                )  # fmt: skip
                added.append(_copy_contact(contact))
            elif self._update(known, entry):
                modified.append(_copy_contact(known))
            else:
                self._report.unchanged += 1
        self._report.added, self._report.changed = len(added), len(modified)
        for chunk in _chunks(added):
            self._tell(added=chunk)
        for chunk in _chunks(modified):
            self._tell(modified=chunk)

    def _update(self, contact: pb.Contact, entry: ContactEntry) -> bool:
        """Makes a contact what an entry says; whether that changed it."""
        before = contact.SerializeToString(deterministic=True)
        groups = self._groups_of(entry, contact.groups)
        del contact.groups[:]
        contact.groups.extend(groups)
        contact.name = entry.name or contact.name
        if entry.subscribed is not None:
            contact.subscribed = entry.subscribed
        if entry.external_uri is not None:
            contact.external_uri = entry.external_uri
        if entry.extension is not None:
            contact.extension = entry.extension
        return contact.SerializeToString(deterministic=True) != before

    def _groups_of(self, entry: ContactEntry, present: Sequence[int]) -> list[int]:
        given = list(dict.fromkeys(self._numbers[name] for name in entry.groups))
        if self._replace or not present:
            return given or [self._default]
        if not given:
            return list(present)
        # Who was in no group of his own leaves the default group for one.
        kept = [] if list(present) == [self._default] else list(present)
        return list(dict.fromkeys([*kept, *given]))

    def _delete_contacts(self, kept: set[str]) -> None:
        gone = [contact for contact in self._list.contacts if contact.uri.lower() not in kept]
        addresses = [contact.uri for contact in gone]
        if gone:
            remaining = [contact for contact in self._list.contacts if contact.uri.lower() in kept]
            del self._list.contacts[:]
            self._list.contacts.extend(remaining)
        self._report.deleted = len(gone)
        for begin in range(0, len(addresses), _MOST_TOGETHER):
            self._tell(deleted=tuple(addresses[begin : begin + _MOST_TOGETHER]))

    def _tell(
        self, *, added_groups: tuple[pb.Group, ...] = (), modified_groups: tuple[pb.Group, ...] = (),
        deleted_groups: tuple[int, ...] = (), added: tuple[pb.Contact, ...] = (), modified: tuple[pb.Contact, ...] = (),
        deleted: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self._list.delta += 1
        self._report.deltas.append(
            ContactDelta(self._list.delta, added_groups, modified_groups, deleted_groups, added, modified, deleted)
        )


def _is_address(address: str) -> bool:
    try:
        uri = parse_uri(address if address[:4].lower() == "tel:" else f"sip:{address}")
    except SipParseError:
        return False
    return uri.scheme == "tel" or bool(uri.user and uri.host)


def _checked_extension(extension: bytes) -> bytes:
    """The element as the server writes it: it stands as it is in documents for clients."""
    try:
        root = parse_xml(extension)
    except XmlError as error:
        raise BadDocument(f"the extension is no XML: {error}") from None
    if local_name(root) != "contactExtension":
        raise BadDocument("the extension is no contactExtension element")
    return to_bytes(root)


def _chunks(contacts: Sequence[pb.Contact]) -> Iterator[tuple[pb.Contact, ...]]:
    """Contacts in parts that make documents of moderate size."""
    part: list[pb.Contact] = []
    size = 0
    for contact in contacts:
        bytes_of = contact.ByteSize()
        if part and (len(part) >= _MOST_TOGETHER or size + bytes_of > _BYTES_TOGETHER):
            yield tuple(part)
            part, size = [], 0
        part.append(contact)
        size += bytes_of
    if part:
        yield tuple(part)


def _copy_contact(contact: pb.Contact) -> pb.Contact:
    return pb.Contact.FromString(contact.SerializeToString())


def _copy_group(group: pb.Group) -> pb.Group:
    return pb.Group.FromString(group.SerializeToString())
