"""Files of contacts: cards and JSON. The first byte says which; what is read must be the same after it was written."""

from __future__ import annotations

from parley.presence.contact_files import ContactFileError, Row, json_file, to_json, vcard_rows, vcards
from parley.presence.contacts import new_list
from parley.presence.documents.contact_lists import contact_delta, contact_list
from parley.presence.errors import PresenceError
from parley.presence.importing import exported, import_contacts
from parley.vcard.cards import VCard, parse_vcards
from parley.xml import parse_xml


def fuzz_one(data: bytes) -> None:
    """Reads a file, writes it, and puts it into a list."""
    if not data:
        return
    try:
        if data[:1] == b"j":
            groups, rows = json_file(data[1:])
        else:
            _cards(data[1:])
            groups, rows = [], vcard_rows(data[1:])
        entries = [row.entry for row in rows if isinstance(row, Row)]
    except ContactFileError:
        return
    contacts = new_list()
    try:
        report = import_contacts(contacts, entries, groups, replace=False, limit=100)
    except PresenceError:
        return
    for delta in report.deltas:
        parse_xml(contact_delta(delta))
    parse_xml(contact_list(contacts))
    groups, entries = exported(contacts)
    groups, rows = json_file(to_json("sip:a@b", 1, groups, entries))
    again = [row.entry for row in rows if isinstance(row, Row)]
    assert not import_contacts(contacts, again, groups, replace=True, limit=100).deltas
    for version in ("3.0", "4.0"):
        if entries:
            assert len(list(vcard_rows(vcards(entries, version=version)))) == len(entries)


def _cards(data: bytes) -> None:
    """Cards that were read are the same after they were written."""
    cards = [card for card in parse_vcards(data) if isinstance(card, VCard)]
    again = list(parse_vcards(b"".join(map(bytes, cards))))
    assert [(card.version, card.properties) for card in again if isinstance(card, VCard)] == [
        (card.version, card.properties) for card in cards
    ]
