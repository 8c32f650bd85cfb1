"""Entries as messages (proto/parley/addressbook/v1/directory.proto): for whoever speaks with the directory over gRPC."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final
from uuid import UUID

from parley.addressbook.dlx import ExpansionResult
from parley.addressbook.entries import TEXT_FIELDS, Entry, Kind, Membership, NumberKind, Origin, PhoneNumber, Photo, checked
from parley.addressbook.errors import EntryError
from parley.proto.addressbook.v1 import directory_pb2 as pb

_KINDS: Final = MappingProxyType(
    {Kind.USER: pb.ENTRY_KIND_USER, Kind.CONTACT: pb.ENTRY_KIND_CONTACT, Kind.GROUP: pb.ENTRY_KIND_GROUP}
)
_NUMBER_KINDS: Final = MappingProxyType(
    {
        NumberKind.WORK: pb.PHONE_NUMBER_KIND_WORK, NumberKind.MOBILE: pb.PHONE_NUMBER_KIND_MOBILE,
        NumberKind.HOME: pb.PHONE_NUMBER_KIND_HOME, NumberKind.OTHER: pb.PHONE_NUMBER_KIND_OTHER,
        NumberKind.IP_PHONE: pb.PHONE_NUMBER_KIND_IP_PHONE,
    }
)  # fmt: skip
_RESULTS: Final = MappingProxyType(
    {
        ExpansionResult.OK: pb.EXPAND_RESULT_OK, ExpansionResult.NOT_FOUND: pb.EXPAND_RESULT_NOT_FOUND,
        ExpansionResult.TOO_LARGE: pb.EXPAND_RESULT_TOO_LARGE, ExpansionResult.DISABLED: pb.EXPAND_RESULT_DISABLED,
        ExpansionResult.NOT_ALLOWED: pb.EXPAND_RESULT_NOT_ALLOWED,
    }
)  # fmt: skip
_KIND_OF: Final = MappingProxyType({value: kind for kind, value in _KINDS.items()})
_NUMBER_KIND_OF: Final = MappingProxyType({value: kind for kind, value in _NUMBER_KINDS.items()})
_RESULT_OF: Final = MappingProxyType({value: result for result, value in _RESULTS.items()})


def to_proto(entry: Entry) -> pb.Entry:
    """The message of an entry."""
    message = pb.Entry(
        id=entry.id.bytes, kind=_KINDS[entry.kind], proxies=entry.proxies, hidden=entry.hidden, disabled=not entry.enabled,
        origin=pb.Origin(source=entry.origin.source, key=entry.origin.key, version=entry.origin.version),
        version=entry.version,
        numbers=[
            pb.PhoneNumber(kind=_NUMBER_KINDS[number.kind], raw=number.raw, normalised=number.normalised)
            for number in entry.numbers
        ],
        **{name: getattr(entry, name) for name in TEXT_FIELDS},
    )  # fmt: skip
    if entry.photo is not None:
        message.photo.hash, message.photo.size = entry.photo.hash, entry.photo.size
    if entry.membership is not None:
        message.membership.CopyFrom(_membership(entry.membership))
    return message


def _membership(membership: Membership) -> pb.Membership:
    return pb.Membership(
        members=[member.bytes for member in membership.members], unresolved=membership.unresolved, rule=membership.rule,
        hidden=membership.hidden,
    )  # fmt: skip


def from_proto(message: pb.Entry) -> Entry:
    """The entry of a message, checked. Raises EntryError."""
    kind = _KIND_OF.get(message.kind)
    if kind is None:
        raise EntryError("kind", f"it has to be one of {', '.join(Kind)}")
    has_photo, has_members = message.HasField("photo"), message.HasField("membership")
    return checked(
        Entry(
            id=uuid_of("id", message.id), kind=kind, numbers=tuple(map(_number, message.numbers)),
            proxies=tuple(message.proxies), hidden=message.hidden, enabled=not message.disabled,
            photo=Photo(message.photo.hash, message.photo.size) if has_photo else None,
            membership=_parse_membership(message.membership) if has_members else None,
            origin=_origin(message.origin), version=message.version,
            **{name: getattr(message, name) for name in TEXT_FIELDS},
        )
    )  # fmt: skip


def uuid_of(field: str, value: bytes) -> UUID:
    """A UUID of 16 bytes. Raises EntryError."""
    if len(value) != 16:
        raise EntryError(field, "it has to be a UUID of 16 bytes")
    return UUID(bytes=value)


def _number(message: pb.PhoneNumber) -> PhoneNumber:
    kind = _NUMBER_KIND_OF.get(message.kind)
    if kind is None:
        raise EntryError("numbers", f"a number is one of {', '.join(NumberKind)}")
    return PhoneNumber(kind, message.raw, message.normalised)


def _parse_membership(message: pb.Membership) -> Membership:
    members = tuple(uuid_of("membership", member) for member in message.members)
    return Membership(members, tuple(message.unresolved), message.rule, message.hidden)


def _origin(message: pb.Origin) -> Origin:
    return Origin(message.source or "local", message.key, message.version)


def kind_to_proto(kind: Kind | None) -> pb.EntryKind.ValueType:
    """UNSPECIFIED for None: any kind."""
    return pb.ENTRY_KIND_UNSPECIFIED if kind is None else _KINDS[kind]


def kind_from_proto(value: pb.EntryKind.ValueType) -> Kind | None:
    """None for UNSPECIFIED. Raises EntryError for what is unknown."""
    if value == pb.ENTRY_KIND_UNSPECIFIED:
        return None
    kind = _KIND_OF.get(value)
    if kind is None:
        raise EntryError("kind", f"it has to be one of {', '.join(Kind)}")
    return kind


def result_to_proto(result: ExpansionResult) -> pb.ExpandResult.ValueType:
    """What became of an expansion, in a message."""
    return _RESULTS[result]


def result_from_proto(value: pb.ExpandResult.ValueType) -> ExpansionResult:
    """What became of an expansion; NOT_FOUND for what a later server may say."""
    return _RESULT_OF.get(value, ExpansionResult.NOT_FOUND)
