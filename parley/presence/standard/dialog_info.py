"""The calls of somebody: dialog information, for lamps and call pickup of phones (RFC 4235)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, cast, get_args

from lxml import etree

from parley.presence.standard.errors import DocumentError
from parley.presence.standard.tree import add, attribute, new_root, number, put, read_root, required_number
from parley.xml import child, children, text_of, to_bytes

DIALOG_INFO_NS: Final = "urn:ietf:params:xml:ns:dialog-info"
CONTENT_TYPE: Final = "application/dialog-info+xml"

DialogState = Literal["trying", "proceeding", "early", "confirmed", "terminated"]
Direction = Literal["initiator", "recipient"]
Ended = Literal["cancelled", "rejected", "replaced", "local-bye", "remote-bye", "error", "timeout"]
Document = Literal["full", "partial"]

_WHAT = "dialog information"


@dataclass(frozen=True, slots=True)
class Party:
    """One side of a dialog; ``params`` are those of its target, such as ``("+sip.rendering", "no")`` for a held call."""

    identity: str = ""
    display_name: str = ""
    target: str = ""
    params: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Dialog:
    """One dialog as the entity sees it.

    ``direction`` is whether the entity began it, ``ended`` and ``code`` say why its state is the present one, and
    ``duration`` is seconds.
    """

    id: str
    state: DialogState
    call_id: str = ""
    local_tag: str = ""
    remote_tag: str = ""
    direction: Direction | None = None
    ended: Ended | None = None
    code: int | None = None
    duration: int | None = None
    local: Party | None = None
    remote: Party | None = None


@dataclass(frozen=True, slots=True)
class DialogInfo:
    """A document; a partial one holds only what changed since the version before."""

    entity: str
    version: int
    state: Document = "full"
    dialogs: tuple[Dialog, ...] = ()


def parse_dialog_info(data: bytes) -> DialogInfo:
    """Reads dialog information. Raises DocumentError."""
    root = read_root(data, _WHAT, "dialog-info", DIALOG_INFO_NS)
    version = required_number(root, "version", _WHAT)
    entity, state = attribute(root, "entity"), attribute(root, "state")
    if not entity:
        raise DocumentError(f"{_WHAT}: no entity")
    if state not in get_args(Document):
        raise DocumentError(f"{_WHAT}: the state is neither full nor partial")
    return DialogInfo(entity, version, cast(Document, state), tuple(_dialog(found) for found in children(root, "dialog")))


def _dialog(element: etree._Element) -> Dialog:
    identifier = attribute(element, "id")
    if not identifier:
        raise DocumentError(f"{_WHAT}: a dialog without an id")
    found = child(element, "state")
    state = text_of(found).lower()
    if found is None or state not in get_args(DialogState):
        raise DocumentError(f"{_WHAT}: a dialog of no known state")
    direction, ended = attribute(element, "direction").lower(), attribute(found, "event").lower()
    return Dialog(
        id=identifier,
        state=cast(DialogState, state),
        call_id=attribute(element, "call-id"),
        local_tag=attribute(element, "local-tag"),
        remote_tag=attribute(element, "remote-tag"),
        direction=cast(Direction, direction) if direction in get_args(Direction) else None,
        ended=cast(Ended, ended) if ended in get_args(Ended) else None,
        code=number(attribute(found, "code")),
        duration=number(text_of(child(element, "duration"))),
        local=_party(child(element, "local")),
        remote=_party(child(element, "remote")),
    )


def _party(element: etree._Element | None) -> Party | None:
    if element is None:
        return None
    identity, target = child(element, "identity"), child(element, "target")
    params = children(target, "param") if target is not None else []
    return Party(
        identity=text_of(identity),
        display_name=attribute(identity, "display") if identity is not None else "",
        target=attribute(target, "uri") if target is not None else "",
        params=tuple((name, attribute(param, "pval")) for param in params if (name := attribute(param, "pname"))),
    )


def build_dialog_info(info: DialogInfo) -> bytes:
    """Writes dialog information."""
    root = new_root("dialog-info", DIALOG_INFO_NS)
    put(root, version=info.version, state=info.state, entity=info.entity)
    for dialog in info.dialogs:
        element = add(root, "dialog")
        put(
            element,
            id=dialog.id,
            call_id=dialog.call_id,
            local_tag=dialog.local_tag,
            remote_tag=dialog.remote_tag,
            direction=dialog.direction,
        )
        put(add(element, "state", dialog.state), event=dialog.ended, code=dialog.code)
        if dialog.duration is not None:
            add(element, "duration", str(dialog.duration))
        _add_party(element, "local", dialog.local)
        _add_party(element, "remote", dialog.remote)
    return to_bytes(root)


def _add_party(parent: etree._Element, name: str, party: Party | None) -> None:
    if party is None:
        return
    element = add(parent, name)
    if party.identity or party.display_name:
        put(add(element, "identity", party.identity), display=party.display_name)
    if party.target or party.params:
        target = add(element, "target")
        put(target, uri=party.target)
        for pname, pval in party.params:
            put(add(target, "param"), pname=pname, pval=pval)
