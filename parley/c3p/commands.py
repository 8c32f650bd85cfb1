"""The commands of C3P: what each asks for (MS-CONFPRO section 2.2.3, MS-CONFBAS section 2.2.3)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from parley.c3p.envelope import C3pRequest, attribute
from parley.c3p.errors import C3pError, CommandFailed, Reason
from parley.xml import child, children, text_of

if TYPE_CHECKING:
    from lxml.etree import _Element

_ID: Final = re.compile(r"[0-9A-Za-z]{8,32}")
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?Z")
_MAX_TEXT: Final = 512
_MAX_ENDPOINT: Final = 128
_MAX_USERS: Final = 1_000
_ROLES: Final = frozenset({"presenter", "attendee"})


@dataclass(frozen=True, slots=True)
class User:
    """A user in a document."""

    uri: str
    presenter: bool


@dataclass(frozen=True, slots=True)
class ConferenceInfo:
    """What is asked for in addConference and modifyConference; None is what the document does not say."""

    conference_id: str
    """As it is written; 8 to 32 letters and digits."""
    entity: str
    """The focus URI; "" in addConference."""
    subject: str | None = None
    description: str | None = None
    admission_policy: str | None = None
    expires_at: datetime | None = None
    mcu_types: tuple[str, ...] | None = None
    users: tuple[User, ...] | None = None


@dataclass(frozen=True, slots=True)
class AddUser:
    """A user joins the focus (MS-CONFBAS section 2.2.3.3)."""

    conference: str
    user: str
    presenter: bool
    endpoint: str
    """As the client names it; "" when it joins none."""


def conference_info(request: C3pRequest) -> ConferenceInfo:
    """The document of addConference or modifyConference. Raises C3pError, CommandFailed."""
    root = _needed(request.command, "conference-info")
    description = child(root, "conference-description")
    entity = (root.get("entity") or "").strip()
    conference_id = _text(description, "conference-id")
    if conference_id is not None or not entity:
        _check_id(conference_id or "")
    expiry = _text(description, "expiry-time")
    view, users = child(root, "conference-view"), child(root, "users")
    kinds = [attribute(one, "entity") for one in children(view, "entity-view")] if view is not None else None
    return ConferenceInfo(
        conference_id or "", entity, _text(description, "subject"), _text(description, "display-text"),
        _text(description, "admission-policy"), _time(expiry) if expiry else None,
        tuple(dict.fromkeys(kinds)) if kinds is not None else None,
        tuple(_user(one) for one in children(users, "user")[:_MAX_USERS]) if users is not None else None,
    )  # fmt: skip


def conference_id(request: C3pRequest) -> str:
    """The conference that getConference and deleteConference of a factory name. Raises C3pError, CommandFailed."""
    found = attribute(_needed(request.command, "conferenceKeys"), "conference-id")
    _check_id(found)
    return found


def add_user(request: C3pRequest) -> AddUser:
    """The command addUser. Raises C3pError, CommandFailed."""
    conference = _conference_entity(request.command)
    user = _needed(request.command, "user")
    found = _user(user)
    endpoint = child(user, "endpoint")
    name = attribute(endpoint, "entity") if endpoint is not None else ""
    if len(name) > _MAX_ENDPOINT or (endpoint is not None and not name):
        raise C3pError("an endpoint needs a name of at most 128 characters", 3009)
    return AddUser(conference, found.uri, found.presenter, name)


def user_keys(request: C3pRequest) -> tuple[str, str]:
    """Conference and user that deleteUser and modifyUserRoles name. Raises C3pError."""
    keys = _needed(request.command, "userKeys")
    return attribute(keys, "confEntity"), attribute(keys, "userEntity")


def conference_entity(request: C3pRequest) -> str:
    """The focus URI in conferenceKeys. Raises C3pError."""
    return _conference_entity(request.command)


def granted_role(request: C3pRequest) -> bool:
    """Whether modifyUserRoles makes a presenter. Raises C3pError, CommandFailed."""
    return _role(_needed(request.command, "user-roles"))


def locked(request: C3pRequest) -> bool:
    """What modifyConferenceLock asks for. Raises C3pError."""
    value = text_of(_needed(request.command, "locked")).lower()
    if value not in ("true", "false", "1", "0"):
        raise C3pError("locked is true or false")
    return value in ("true", "1")


def _needed(element: _Element, name: str) -> _Element:
    found = child(element, name)
    if found is None:
        raise C3pError(f"the command has no {name}")
    return found


def _conference_entity(command: _Element) -> str:
    return attribute(_needed(command, "conferenceKeys"), "confEntity")


def _text(element: _Element | None, name: str) -> str | None:
    found = child(element, name) if element is not None else None
    return text_of(found)[:_MAX_TEXT] if found is not None else None


def _user(element: _Element) -> User:
    uri = attribute(element, "entity")
    if not uri:
        raise CommandFailed(Reason.INVALID_USER_ENTITY)
    roles = child(element, "roles")
    return User(uri, _role(roles) if roles is not None else False)


def _role(roles: _Element) -> bool:
    found = [text_of(entry).lower() for entry in children(roles, "entry")]
    if len(found) != 1 or found[0] not in _ROLES:
        raise CommandFailed(Reason.INVALID_ROLE)
    return found[0] == "presenter"


def _check_id(text: str) -> None:
    if _ID.fullmatch(text) is None:
        raise CommandFailed(Reason.INVALID_CONFERENCE_ID)


def _time(text: str) -> datetime:
    found = _TIME.fullmatch(text)
    try:
        if found is not None:
            return datetime.fromisoformat(found[1]).replace(tzinfo=UTC)
    except ValueError:
        pass
    raise CommandFailed(Reason.INVALID_EXPIRY_TIME)
