"""Who sees what: the container that a watcher's view is taken from (MS-PRES section 3.1.5.5)."""

from __future__ import annotations

from enum import Enum
from typing import Final

from parley.presence.errors import BadDocument, TooLarge, VersionConflict, WrongVersion
from parley.presence.model import BLOCKED, COMPANY, MAX_CONTAINER, TEAM, bare, container_of
from parley.proto.presence.v1 import state_pb2 as pb

MEMBER_TYPES: Final = ("user", "domain", "sameEnterprise", "publicCloud", "federated", "everyone")
"""In the order in which they are matched; the first kind that fits decides."""

_WITH_VALUE: Final = ("user", "domain")
MAX_MEMBERS: Final = 1_000


class Standing(Enum):
    """What the containers of a user mean for a subscription of a standard client."""

    ADMITTED = "admitted"
    WAITING = "waiting"
    """In no container: the user has not decided, and the subscription is pending."""
    BLOCKED = "blocked"


class CallDetail(Enum):
    """How much of a user's calls a watcher is shown."""

    NONE = "none"
    STATE = "state"
    """That there is a call, how far it is, and who began it."""
    PARTIES = "parties"
    """With whom, and what it takes to pick it up."""


def relation(watcher: str, presentity: str) -> str:
    """How a watcher stands to a user: "sameEnterprise" or "federated"."""
    return "sameEnterprise" if _domain(watcher) == _domain(presentity) else "federated"


def effective_container(state: pb.Presentity, watcher: str) -> int:
    """The number of the container; 0 when the watcher is in none. ``watcher``: address of record."""
    user, domain = bare(watcher).lower(), _domain(watcher)
    kind_of_watcher = relation(watcher, state.address)
    best: dict[str, int] = {}
    for container in state.containers:
        for member in container.members:
            fits = (
                (member.type == "user" and member.value.lower() == user)
                or (member.type == "domain" and member.value.lower() == domain)
                or member.type in (kind_of_watcher, "everyone")
            )
            if fits:
                best[member.type] = max(best.get(member.type, 0), container.id)
    return next((best[kind] for kind in MEMBER_TYPES if kind in best), 0)


def standing(state: pb.Presentity, watcher: str) -> Standing:
    """How a watcher stands by the containers; the user is admitted to the own presence."""
    if watcher == state.address:
        return Standing.ADMITTED
    container = effective_container(state, watcher)
    if container == BLOCKED:
        return Standing.BLOCKED
    return Standing.ADMITTED if container else Standing.WAITING


def call_detail(state: pb.Presentity, watcher: str) -> CallDetail:
    """What a watcher sees of calls: colleagues that there are some, the team and who is closer with whom."""
    if watcher == state.address:
        return CallDetail.PARTIES
    container = effective_container(state, watcher)
    if container == BLOCKED or container < COMPANY:
        return CallDetail.NONE
    return CallDetail.PARTIES if container >= TEAM else CallDetail.STATE


def change_members(
    state: pb.Presentity, changes: list[tuple[int, int, list[tuple[str, str, str]]]]
) -> tuple[set[int], set[str]]:
    """Applies setContainerMembers: of each (container, version quoted, [(action, type, value)]), all or nothing.

    The containers that changed, and the users whose access did ("*" for all). Raises VersionConflict, BadDocument, TooLarge.
    """
    wrong: list[WrongVersion] = []
    versions: dict[int, int] = {}
    for index, (number, quoted, _) in enumerate(changes, 1):
        if not 0 <= number <= MAX_CONTAINER:
            raise BadDocument(f"there is no container {number}")
        container = container_of(state, number)
        current = versions.setdefault(number, container.version if container is not None else 0)
        if quoted != current:
            wrong.append(WrongVersion(index, quoted, current))
    if wrong:
        raise VersionConflict(wrong)
    watchers: set[str] = set()
    for number, _, members in changes:
        container = container_of(state, number)
        if container is None:
            container = state.containers.add(id=number)
        for action, kind, value in members:
            _change(container, action, kind, bare(value))
            watchers.add(bare(value).lower() if kind == "user" else "*")
        if len(container.members) > MAX_MEMBERS:
            raise TooLarge("a container has too many members")
    for number in versions:
        changed = container_of(state, number)
        if changed is not None:
            changed.version += 1
    return set(versions), watchers


def _change(container: pb.Container, action: str, kind: str, value: str) -> None:
    if kind not in MEMBER_TYPES or (kind in _WITH_VALUE) != bool(value):
        raise BadDocument(f"not a member: {kind} {value}")
    kept = [member for member in container.members if (member.type, member.value.lower()) != (kind, value.lower())]
    if action == "add":
        kept.append(pb.Member(type=kind, value=value))
    elif action != "remove":
        raise BadDocument(f"not an action on members: {action}")
    del container.members[:]
    container.members.extend(kept)


def _domain(address: str) -> str:
    return address.rpartition("@")[2].lower()
