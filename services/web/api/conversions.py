"""Messages of the services as models, and back."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from parley.proto.addressbook.v1 import addressbook_pb2 as book
from parley.proto.addressbook.v1 import directory_pb2 as pb
from services.web.api.models import Entry, EntryFields, Kind, Number, NumberKind, User
from services.web.errors import HttpError

TEXTS: Final = (
    "display_name", "given_name", "surname", "mail", "mail_nickname", "title", "department", "company", "office", "city",
    "state", "country", "manager",
)  # fmt: skip
_KINDS: Final[dict[Kind, pb.EntryKind.ValueType]] = {
    "user": pb.ENTRY_KIND_USER, "contact": pb.ENTRY_KIND_CONTACT, "group": pb.ENTRY_KIND_GROUP
}  # fmt: skip
_NUMBERS: Final[dict[NumberKind, pb.PhoneNumberKind.ValueType]] = {
    "work": pb.PHONE_NUMBER_KIND_WORK, "mobile": pb.PHONE_NUMBER_KIND_MOBILE, "home": pb.PHONE_NUMBER_KIND_HOME,
    "other": pb.PHONE_NUMBER_KIND_OTHER, "ipphone": pb.PHONE_NUMBER_KIND_IP_PHONE,
}  # fmt: skip
_KIND_OF: Final = {value: name for name, value in _KINDS.items()}
_NUMBER_OF: Final = {value: name for name, value in _NUMBERS.items()}


def kind_of(name: Kind | None) -> pb.EntryKind.ValueType:
    """UNSPECIFIED for None: any."""
    return _KINDS[name] if name is not None else pb.ENTRY_KIND_UNSPECIFIED


def id_of(text: str) -> bytes:
    """The bytes of an id. Raises HttpError 404: there is none of such a name."""
    try:
        return UUID(text).bytes
    except ValueError:
        raise HttpError(404, "there is no such entry; ids are UUIDs") from None


def id_text(value: bytes) -> str:
    """An id as it is written."""
    return str(UUID(bytes=value)) if len(value) == 16 else ""


def user_of(user: book.User) -> User:
    """A user."""
    return User(
        address=user.address.removeprefix("sip:"), display_name=user.display_name, login_names=list(user.login_names),
        enabled=user.enabled, created_at_ms=user.created_at_ms, updated_at_ms=user.updated_at_ms, version=user.version,
    )  # fmt: skip


def entry_of(entry: pb.Entry, *, reveal: bool) -> Entry:
    """An entry; ``reveal``: with members that are hidden from people."""
    membership = entry.membership
    shown = reveal or not membership.hidden
    return Entry(
        id=id_text(entry.id), kind=_KIND_OF.get(entry.kind, "contact"), address=entry.address.removeprefix("sip:"),
        numbers=[
            Number(kind=_NUMBER_OF.get(number.kind, "other"), raw=number.raw, normalised=number.normalised)
            for number in entry.numbers
        ],
        proxies=list(entry.proxies), hidden=entry.hidden, disabled=entry.disabled,
        members=[id_text(member) for member in membership.members] if shown else [],
        rule=membership.rule if shown else "", members_hidden=membership.hidden,
        photo_hash=entry.photo.hash, photo_size=entry.photo.size, source=entry.origin.source, version=entry.version,
        **{name: getattr(entry, name) for name in TEXTS},
    )  # fmt: skip


def message_of(entry: EntryFields) -> pb.Entry:
    """The message of what was sent, without id and origin. Raises HttpError 422."""
    message = pb.Entry(
        kind=_KINDS[entry.kind], address=entry.address, proxies=entry.proxies, hidden=entry.hidden, disabled=entry.disabled,
        numbers=[
            pb.PhoneNumber(kind=_NUMBERS[number.kind], raw=number.raw, normalised=number.normalised)
            for number in entry.numbers
        ],
        **{name: getattr(entry, name) for name in TEXTS},
    )  # fmt: skip
    if entry.kind == "group":
        try:
            members = [UUID(member).bytes for member in entry.members]
        except ValueError:
            raise HttpError(422, "members: an id is a UUID") from None
        message.membership.CopyFrom(pb.Membership(members=members, rule=entry.rule, hidden=entry.members_hidden))
    elif entry.members or entry.rule:
        raise HttpError(422, "members: only a group has some")
    return message
