"""Standard presence and the availability numbers of Office Communicator: one table for both ways.

Numbers are those of its state categories; a token says what somebody does, such as ``on-the-phone``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from parley.presence.standard.pidf import Basic, Pidf, Tuple

ON_THE_PHONE: Final = "on-the-phone"
IN_A_MEETING: Final = "in-a-meeting"
IN_A_CONFERENCE: Final = "in-a-conference"


@dataclass(frozen=True, slots=True)
class _Level:
    """Numbers from ``lowest`` up to the next level.

    ``number`` stands for the level, ``basic``, ``activities``, ``other`` and ``note`` for it in a document. A document with
    one of ``signs`` (the text of an activity that RPID does not know counts too) is of this level.
    """

    lowest: int
    number: int
    basic: Basic = "open"
    activities: tuple[str, ...] = ()
    other: str = ""
    idle: bool = False
    note: str = ""
    signs: frozenset[str] = frozenset()


_UNKNOWN = _Level(0, 0, "closed")
_OPEN = _Level(3000, 3500)
_OPEN_IDLE = _Level(4500, 5000, idle=True)
_BUSY = _Level(
    6000, 6500, activities=("busy",),
    signs=frozenset(("busy", ON_THE_PHONE, "meeting", "appointment", IN_A_MEETING, IN_A_CONFERENCE)),
)  # fmt: skip
_BUSY_IDLE = _Level(7500, 8000, activities=("busy",), idle=True)
_DO_NOT_DISTURB = _Level(
    9000, 9500, activities=("busy", "other"), other="do-not-disturb",
    signs=frozenset(("dnd", "do-not-disturb", "do not disturb", "donotdisturb")),
)  # fmt: skip
_BE_RIGHT_BACK = _Level(
    12000, 12500, activities=("away",), note="Be right back", signs=frozenset(("breakfast", "lunch", "dinner", "meal"))
)
_AWAY = _Level(15000, 15500, activities=("away",), signs=frozenset(("away", "permanent-absence", "vacation")))
_CLOSED = _Level(18000, 18500, "closed")

_LEVELS: Final = (_UNKNOWN, _OPEN, _OPEN_IDLE, _BUSY, _BUSY_IDLE, _DO_NOT_DISTURB, _BE_RIGHT_BACK, _AWAY, _CLOSED)
# Who has several activities is at the first of these.
_BY_SIGN: Final = (_DO_NOT_DISTURB, _BUSY, _BE_RIGHT_BACK, _AWAY)
_TOKENS: Final = {
    ON_THE_PHONE: ON_THE_PHONE, "meeting": IN_A_MEETING, "appointment": IN_A_MEETING, IN_A_MEETING: IN_A_MEETING,
    IN_A_CONFERENCE: IN_A_MEETING,
}  # fmt: skip
_ACTIVITY_OF_TOKEN: Final = {ON_THE_PHONE: "on-the-phone", IN_A_MEETING: "meeting", IN_A_CONFERENCE: "meeting"}


def availability_of(pidf: Pidf) -> tuple[int, str]:
    """The availability number and the activity token, "" for none.

    One open tuple is enough to be open. A document that says neither open nor closed nor an activity gives 0: unknown.
    """
    basics = {item.basic for item in pidf.tuples}
    if "open" not in basics:
        if "closed" in basics:
            return _CLOSED.number, ""
        if not pidf.person_activities:
            return _UNKNOWN.number, ""
    signs = (*pidf.person_activities, pidf.other_activity.strip().lower())
    idle = pidf.user_input == "idle"
    level = next((level for level in _BY_SIGN if not level.signs.isdisjoint(signs)), _OPEN)
    if level is _BUSY:
        token = next((token for sign, token in _TOKENS.items() if sign in signs), "")
        return (_BUSY_IDLE if idle else _BUSY).number, token
    return (_OPEN_IDLE if idle and level is _OPEN else level).number, ""


def pidf_of(
    entity: str,
    availability: int,
    activity_token: str = "",
    note: str = "",
    contact: str = "",
    *,
    tuple_id: str = "t1",
    timestamp: float | None = None,
) -> Pidf:
    """A document of one tuple that says an availability as well as standard presence can."""
    level = next((level for level in reversed(_LEVELS) if availability >= level.lowest), _UNKNOWN)
    activities = level.activities
    activity = _ACTIVITY_OF_TOKEN.get(activity_token.lower())
    if activity is not None and level in (_BUSY, _BUSY_IDLE):
        activities = (activity,)
    note = note or level.note
    return Pidf(
        entity=entity,
        tuples=(Tuple(tuple_id, level.basic, contact, timestamp=timestamp),),
        person_activities=activities,
        notes=(note,) if note else (),
        other_activity=level.other,
        user_input="idle" if level.idle else None,
        person_timestamp=timestamp if activities or level.idle else None,
    )
