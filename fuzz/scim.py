"""SCIM: filters, and bodies of PATCH and PUT. The first line is a filter, the rest is JSON."""

from __future__ import annotations

import copy
import json
from typing import Any

from parley.addressbook.entry_proto import from_proto
from parley.addressbook.errors import AddressBookError
from parley.proto.addressbook.v1 import directory_pb2 as pb
from services.web.errors import HttpError
from services.web.scim.filters import parse_filter
from services.web.scim.patching import patched
from services.web.scim.resources import ENTERPRISE, USER, entry_of_resource, resource_of

BASE = "https://web.example.test/scim/v2"
ADA: dict[str, Any] = {
    "schemas": [USER, ENTERPRISE], "id": "7d1a", "userName": "ada@example.test", "active": True,
    "name": {"givenName": "Ada", "familyName": "King"}, ENTERPRISE: {"department": "Analysis"},
    "emails": [{"value": "ada@work.example", "type": "work"}], "members": [{"value": "7d1a"}],
}  # fmt: skip


def fuzz_one(data: bytes) -> None:
    """Chooses, changes, and takes over."""
    first, _, rest = data.partition(b"\n")
    try:
        wanted = parse_filter(first.decode("utf-8", "replace"))
        assert wanted.matches(ADA) in (True, False)
        if wanted.exact is not None:
            assert wanted.exact[0] == wanted.exact[0].lower()
    except HttpError as error:
        assert error.kind == "invalidFilter", error
    try:
        body = json.loads(rest)
    except (ValueError, RecursionError):
        return
    before = copy.deepcopy(ADA)
    for resource in (_patched(body), body):
        if isinstance(resource, dict):
            for kind in (pb.ENTRY_KIND_USER, pb.ENTRY_KIND_GROUP):
                _taken_over(resource, kind)
    assert before == ADA, "what is patched stays as it is"


def _patched(body: Any) -> Any:
    try:
        return patched(ADA, body)
    except HttpError as error:
        assert error.status == 400, error
        assert error.kind, error
        return None


def _taken_over(resource: dict[str, Any], kind: pb.EntryKind.ValueType) -> None:
    """What a resource makes of an entry makes the same entry again."""
    try:
        entry = entry_of_resource(resource, kind, None)
    except HttpError as error:
        assert (error.status, error.kind) == (400, "invalidValue"), error
        return
    again = entry_of_resource(resource_of(entry, BASE), kind, None)
    assert again == entry, (again, entry)
    entry.id = bytes(16)
    try:
        from_proto(entry)
    except AddressBookError as error:
        assert str(error)
