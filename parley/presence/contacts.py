"""Contact lists (MS-SIP section 3.7): groups, contacts, and changes that each raise the list's number by one.

A client quotes the number it believes current. A change that still makes sense on the present list is done all the same:
clients send several without waiting, and do not look at refusals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from parley.presence.errors import BadDocument, PresenceError, TooLarge
from parley.presence.model import bare
from parley.proto.presence.v1 import state_pb2 as pb

DEFAULT_GROUP: Final = "~"
MAX_GROUPS: Final = 64
MAX_NAME: Final = 256
MAX_URI: Final = 454
MAX_EXTERNAL_URI: Final = 2_048
MAX_EXTENSION: Final = 4_096


class NoSuchEntry(PresenceError):
    """A change of a contact or a group that is not there."""

    status = 404


@dataclass(frozen=True, slots=True)
class ContactDelta:
    """What changed, as endpoints are told."""

    number: int
    """The list's number after the change."""
    added_groups: tuple[pb.Group, ...] = ()
    modified_groups: tuple[pb.Group, ...] = ()
    deleted_groups: tuple[int, ...] = ()
    added: tuple[pb.Contact, ...] = ()
    modified: tuple[pb.Contact, ...] = ()
    deleted: tuple[str, ...] = ()


def new_list() -> pb.ContactList:
    """An empty list: the default group alone, number 1 (0 is refused by clients)."""
    created = pb.ContactList(delta=1)
    created.groups.add(id=1, name=DEFAULT_GROUP)
    return created


def set_contact(
    contacts: pb.ContactList, *, uri: str, name: str, groups: list[int], subscribed: bool, external_uri: str,
    extension: bytes, limit: int,
) -> ContactDelta:  # fmt: skip
    """Adds or replaces a contact; ``limit``: contacts that a list may have. Raises BadDocument, TooLarge."""
    address = bare(uri).strip()
    check_contact(address, name, external_uri, extension)
    known = {group.id for group in contacts.groups}
    kept = [number for number in dict.fromkeys(groups) if number in known] or [default_group(contacts)]
    found = _find(contacts, address)
    if found is None and len(contacts.contacts) >= limit:
        raise TooLarge("the contact list is full")
    contact = found if found is not None else contacts.contacts.add(uri=address)
    contact.name, contact.subscribed, contact.external_uri, contact.extension = name, subscribed, external_uri, extension
    del contact.groups[:]
    contact.groups.extend(kept)
    contacts.delta += 1
    copy = (pb.Contact.FromString(contact.SerializeToString()),)
    return ContactDelta(contacts.delta, modified=copy) if found is not None else ContactDelta(contacts.delta, added=copy)


def check_contact(address: str, name: str, external_uri: str, extension: bytes) -> None:
    """Raises BadDocument for what is no address, TooLarge. ``address``: without "sip:"."""
    if not address or len(address) > MAX_URI or any(char in address for char in '<>" \r\n\t'):
        raise BadDocument("not an address")
    if len(name) > MAX_NAME or len(external_uri) > MAX_EXTERNAL_URI or len(extension) > MAX_EXTENSION:
        raise TooLarge("the contact is too large")


def delete_contact(contacts: pb.ContactList, uri: str) -> ContactDelta:
    """Takes a contact off. Raises NoSuchEntry."""
    found = _find(contacts, bare(uri).strip())
    if found is None:
        raise NoSuchEntry("there is no such contact")
    address = found.uri
    contacts.contacts.remove(found)
    contacts.delta += 1
    return ContactDelta(contacts.delta, deleted=(address,))


def add_group(contacts: pb.ContactList, name: str, external_uri: str) -> ContactDelta:
    """Adds a group, with the first free number. Raises BadDocument, TooLarge."""
    _check_group(contacts, name, external_uri)
    if len(contacts.groups) >= MAX_GROUPS:
        raise TooLarge("there are too many groups")
    used = {group.id for group in contacts.groups}
    number = next(n for n in range(1, MAX_GROUPS + 1) if n not in used)
    group = contacts.groups.add(id=number, name=name, external_uri=external_uri)
    contacts.delta += 1
    return ContactDelta(contacts.delta, added_groups=(pb.Group.FromString(group.SerializeToString()),))


def modify_group(contacts: pb.ContactList, number: int, name: str, external_uri: str) -> ContactDelta:
    """Renames a group. Raises NoSuchEntry, BadDocument, TooLarge."""
    group = next((found for found in contacts.groups if found.id == number), None)
    if group is None:
        raise NoSuchEntry("there is no such group")
    _check_group(contacts, name, external_uri, besides=number)
    group.name, group.external_uri = name, external_uri
    contacts.delta += 1
    return ContactDelta(contacts.delta, modified_groups=(pb.Group.FromString(group.SerializeToString()),))


def delete_group(contacts: pb.ContactList, number: int) -> list[ContactDelta]:
    """Deletes a group: first its contacts are moved out of it, to the default group where it was their only one.

    Raises NoSuchEntry; BadDocument for the last group that is left.
    """
    group = next((found for found in contacts.groups if found.id == number), None)
    if group is None:
        raise NoSuchEntry("there is no such group")
    if len(contacts.groups) == 1:
        raise BadDocument("the last group cannot be deleted")
    contacts.groups.remove(group)
    moved = []
    for contact in contacts.contacts:
        if number in contact.groups:
            rest = [other for other in contact.groups if other != number] or [default_group(contacts)]
            del contact.groups[:]
            contact.groups.extend(rest)
            moved.append(pb.Contact.FromString(contact.SerializeToString()))
    deltas = []
    if moved:
        contacts.delta += 1
        deltas.append(ContactDelta(contacts.delta, modified=tuple(moved)))
    contacts.delta += 1
    deltas.append(ContactDelta(contacts.delta, deleted_groups=(number,)))
    return deltas


def _check_group(contacts: pb.ContactList, name: str, external_uri: str, besides: int = 0) -> None:
    if not name.strip():
        raise BadDocument("a group needs a name")
    if len(name) > MAX_NAME or len(external_uri) > MAX_EXTERNAL_URI:
        raise TooLarge("the name of the group is too long")
    if any(group.name == name and group.id != besides for group in contacts.groups):
        raise BadDocument("there is a group of that name")


def default_group(contacts: pb.ContactList) -> int:
    """Number of the group for contacts that are in no other."""
    named = next((group.id for group in contacts.groups if group.name == DEFAULT_GROUP), 0)
    return named or min(group.id for group in contacts.groups)


def _find(contacts: pb.ContactList, address: str) -> pb.Contact | None:
    lower = address.lower()
    return next((contact for contact in contacts.contacts if contact.uri.lower() == lower), None)
