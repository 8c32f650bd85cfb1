"""Presence documents: PIDF (RFC 3863) with the person of the data model (RFC 4479) and his activities (RPID, RFC 4480).

Activities are read wherever phones put them: in a person, in a device, in a tuple or in its status, as elements or as
the text of an ``activity``, and as the ``im`` status of RFC 3863. They are written in a person.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from lxml import etree

from parley.presence.standard.errors import DocumentError
from parley.presence.standard.tree import add, attribute, elements, new_root, put, read_root, read_time, write_time
from parley.xml import child, children, local_name, text_of, to_bytes

PIDF_NS: Final = "urn:ietf:params:xml:ns:pidf"
DATA_MODEL_NS: Final = "urn:ietf:params:xml:ns:pidf:data-model"
RPID_NS: Final = "urn:ietf:params:xml:ns:pidf:rpid"
CONTENT_TYPE: Final = "application/pidf+xml"
MAX_TUPLES: Final = 256

ACTIVITIES: Final = frozenset(
    {
        "appointment", "away", "breakfast", "busy", "dinner", "holiday", "in-transit", "looking-for-work", "lunch", "meal",
        "meeting", "on-the-phone", "other", "performance", "permanent-absence", "playing", "presentation", "shopping",
        "sleeping", "spectator", "steering", "travel", "tv", "unknown", "vacation", "working", "worship",
    }
)  # fmt: skip

Basic = Literal["open", "closed"]
UserInput = Literal["active", "idle"]

_WHAT = "presence document"
_PRIORITY = re.compile("0(?:\\.[0-9]{1,3})?|1(?:\\.0{1,3})?")
_NO_ACTIVITIES = frozenset(("note", "open", "closed", "online", "offline", "available", "unavailable"))


@dataclass(frozen=True, slots=True)
class Tuple:
    """One way to reach the presentity; ``basic`` is None when it is not said, ``priority`` is 0 to 1."""

    id: str
    basic: Basic | None = None
    contact: str = ""
    priority: float | None = None
    note: str = ""
    timestamp: float | None = None


@dataclass(frozen=True, slots=True)
class Pidf:
    """The presence of one entity.

    ``person_activities`` are local names of RPID, each once; an activity that RPID does not know is ``other``, with its
    name or text in ``other_activity``. Times are seconds since 1970.
    """

    entity: str
    tuples: tuple[Tuple, ...] = ()
    person_activities: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    other_activity: str = ""
    person_notes: tuple[str, ...] = ()
    user_input: UserInput | None = None
    last_input: float | None = None
    person_timestamp: float | None = None


def parse_pidf(data: bytes) -> Pidf:
    """Reads a presence document. Raises DocumentError."""
    root = read_root(data, _WHAT, "presence", PIDF_NS)
    entity = attribute(root, "entity")
    if not entity:
        raise DocumentError(f"{_WHAT}: no entity")
    found = children(root, "tuple")
    if len(found) > MAX_TUPLES:
        raise DocumentError(f"{_WHAT}: too many tuples")
    persons = children(root, "person")
    others = [element for element in elements(root) if local_name(element) in ("tuple", "device")]
    activities, other = _normal(name for element in (*persons, *others) for name in _activities(element))
    user_input, last_input = _user_input([*persons, *others])
    return Pidf(
        entity=entity,
        tuples=tuple(_tuple(element, index) for index, element in enumerate(found, 1)),
        person_activities=activities,
        notes=_notes(root),
        other_activity=other,
        person_notes=tuple(
            note for person in persons for place in (person, *person.iter("{*}activities")) for note in _notes(place)
        ),
        user_input=user_input,
        last_input=last_input,
        person_timestamp=next((at for person in persons if (at := _time(person)) is not None), None),
    )


def _tuple(element: etree._Element, index: int) -> Tuple:
    status = child(element, "status")
    basic = text_of(child(status, "basic")).lower() if status is not None else ""
    contact = child(element, "contact")
    priority = attribute(contact, "priority") if contact is not None else ""
    return Tuple(
        id=attribute(element, "id") or f"t{index}",
        basic="open" if basic == "open" else "closed" if basic == "closed" else None,
        contact=text_of(contact),
        priority=float(priority) if _PRIORITY.fullmatch(priority) is not None else None,
        note=next(iter(_notes(element)), ""),
        timestamp=_time(element),
    )


def _notes(element: etree._Element) -> tuple[str, ...]:
    return tuple(text for note in children(element, "note") if (text := text_of(note)))


def _time(element: etree._Element) -> float | None:
    return read_time(text_of(child(element, "timestamp")))


def _activities(element: etree._Element) -> Iterator[tuple[str, str]]:
    """Name and text of each activity below an element."""
    for place in element.iter("{*}activities"):
        for activity in elements(place):
            name = local_name(activity)
            if name == "activity":
                yield text_of(activity), ""
            elif name != "note":
                yield name, text_of(activity)
    status = child(element, "status")
    im = child(status, "im") if status is not None else None
    if im is not None:
        yield text_of(im), ""


def _normal(found: Iterable[tuple[str, str]]) -> tuple[tuple[str, ...], str]:
    """The names of RPID, each once, and the text of the first other one."""
    names: dict[str, None] = {}
    other = ""
    for written, text in found:
        name = written.lower()
        if not name or name in _NO_ACTIVITIES:
            continue
        if name not in ACTIVITIES:
            name, text = "other", written
        if name == "other":
            other = other or text
        names[name] = None
    return tuple(names), other


def _user_input(places: list[etree._Element]) -> tuple[UserInput | None, float | None]:
    for place in places:
        for element in place.iter("{*}user-input"):
            text = text_of(element).lower()
            if text in ("active", "idle"):
                return ("idle" if text == "idle" else "active"), read_time(attribute(element, "last-input"))
    return None, None


def build_pidf(pidf: Pidf) -> bytes:
    """Writes a presence document. Raises DocumentError for an activity that is not of RPID."""
    if not ACTIVITIES.issuperset(pidf.person_activities):
        raise DocumentError(f"{_WHAT}: an activity that is not of RPID")
    root = new_root("presence", PIDF_NS, {"dm": DATA_MODEL_NS, "rpid": RPID_NS})
    put(root, entity=pidf.entity)
    for item in pidf.tuples:
        _add_tuple(root, item)
    for note in pidf.notes:
        add(root, "note", note)
    _add_person(root, pidf)
    return to_bytes(root)


def _add_tuple(root: etree._Element, item: Tuple) -> None:
    element = add(root, "tuple")
    put(element, id=item.id)
    status = add(element, "status")
    if item.basic is not None:
        add(status, "basic", item.basic)
    if item.contact or item.priority is not None:
        contact = add(element, "contact", item.contact)
        if item.priority is not None:
            put(contact, priority=f"{min(max(item.priority, 0.0), 1.0):.3f}".rstrip("0").rstrip("."))
    if item.note:
        add(element, "note", item.note)
    if item.timestamp is not None:
        add(element, "timestamp", write_time(item.timestamp))


def _add_person(root: etree._Element, pidf: Pidf) -> None:
    said = (pidf.person_activities, pidf.person_notes, pidf.user_input)
    if not any(said) and pidf.person_timestamp is None:
        return
    person = add(root, "person", uri=DATA_MODEL_NS)
    put(person, id="p1")
    if pidf.person_activities:
        activities = add(person, "activities", uri=RPID_NS)
        for name in pidf.person_activities:
            add(activities, name, pidf.other_activity if name == "other" else "")
    if pidf.user_input is not None:
        user_input = add(person, "user-input", pidf.user_input, uri=RPID_NS)
        if pidf.last_input is not None:
            put(user_input, last_input=write_time(pidf.last_input))
    for note in pidf.person_notes:
        add(person, "note", note)
    if pidf.person_timestamp is not None:
        add(person, "timestamp", write_time(pidf.person_timestamp))
