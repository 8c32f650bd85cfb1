"""Entries as resources of SCIM, and back: what SCIM has no place for stays as it was."""

from __future__ import annotations

from typing import Any

from parley.proto.addressbook.v1 import directory_pb2 as pb
from services.web.scim.patching import patched
from services.web.scim.resources import entry_of_resource, resource_of

IP, OTHER, WORK = pb.PHONE_NUMBER_KIND_IP_PHONE, pb.PHONE_NUMBER_KIND_OTHER, pb.PHONE_NUMBER_KIND_WORK
Numbers = list[tuple[pb.PhoneNumberKind.ValueType, str, str]]


def after(entry: pb.Entry, *operations: dict[str, Any]) -> Numbers:
    """The numbers of an entry that was patched."""
    resource = patched(resource_of(entry, "https://web/scim/v2"), {"Operations": list(operations)})
    changed = entry_of_resource(resource, pb.ENTRY_KIND_USER, entry)
    return [(number.kind, number.raw, number.normalised) for number in changed.numbers]


def test_numbers_stay_as_they_were() -> None:
    numbers: Numbers = [(WORK, "1", "tel:+1"), (IP, "4711", "tel:4711;phone-context=x"), (OTHER, "4711", "tel:+4711")]
    entry = pb.Entry(kind=pb.ENTRY_KIND_USER, address="sip:ada@example.test", display_name="Ada")
    entry.numbers.extend(pb.PhoneNumber(kind=kind, raw=raw, normalised=normalised) for kind, raw, normalised in numbers)
    assert after(entry, {"op": "replace", "path": "title", "value": "Countess"}) == numbers
    more = {"op": "add", "path": "phoneNumbers", "value": [{"value": "5", "type": "fax"}]}
    assert after(entry, more) == [*numbers, (OTHER, "5", "")]
    other = {"op": "replace", "path": 'phoneNumbers[type eq "work"].value', "value": "2"}
    assert after(entry, other) == [(WORK, "2", ""), *numbers[1:]]
    less = {"op": "remove", "path": 'phoneNumbers[type eq "other"]'}
    assert after(entry, less) == numbers[:1]
