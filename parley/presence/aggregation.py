"""From what many endpoints say to one state of the user (MS-PRES section 3.1.5; the order of states is that table).

Machine states tell how active the user is at each machine: the most active one counts. The user's own choice and what the
calendar, calls and conferences say can only make it less available. The result is written to containers 2 and 3 and copied
to those they feed. What the original server did in every detail is not published; these rules agree with what is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from xml.sax.saxutils import quoteattr

from parley.presence.model import FEEDS, find
from parley.proto.presence.v1 import state_pb2 as pb

AVAILABLE: Final = 3_500
AVAILABLE_IDLE: Final = 5_000
BUSY: Final = 6_500
BUSY_IDLE: Final = 7_500
DO_NOT_DISTURB: Final = 9_500
BE_RIGHT_BACK: Final = 12_500
AWAY: Final = 15_500
OFFLINE: Final = 18_500

_IDLE: Final = range(4_500, 6_000)
_BUSY: Final = range(6_000, 7_500)
_OFFLINE_FROM: Final = 18_000
_UNKNOWN_BELOW: Final = 3_000

AGGREGATE_INSTANCE: Final = 1
MACHINE_INSTANCE: Final = 0x10000000

_NAMES: Final = (
    (OFFLINE - 500, "offline"), (AWAY - 500, "away"), (BE_RIGHT_BACK - 500, "be right back"),
    (DO_NOT_DISTURB - 500, "do not disturb"), (BUSY_IDLE, "busy, idle"), (BUSY - 500, "busy"),
    (AVAILABLE_IDLE - 500, "idle"), (AVAILABLE - 500, "available"),
)  # fmt: skip

_NAMESPACE: Final = "http://schemas.microsoft.com/2006/09/sip/state"
_XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"

_COMMITMENTS: Final = ("phoneState", "conferenceState", "calendarState")
"""What makes a user busy; of activities the first kind in this order counts, the user's own comes after them."""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One state of a user."""

    availability: int
    activity: str = ""
    machine: int = OFFLINE
    machine_endpoint: str = ""
    last_active_ms: int = 0
    """Since when the user is idle or away; 0 when not."""


@dataclass(frozen=True, slots=True)
class _Input:
    kind: str
    availability: int
    """0: none of its own."""
    activity: str
    low: int
    high: int
    at_ms: int
    endpoint: str = ""


def level_name(availability: int) -> str:
    """What people call an availability."""
    return next((name for lowest, name in _NAMES if availability >= lowest), "unknown")


def aggregate(state: pb.Presentity, container: int) -> Aggregate:
    """The state that follows from what an own container (2 or 3) holds, and from standard phones and calls."""
    inputs = [*_published(state, container), *_of_standard_phones(state)]
    machines = [item for item in inputs if item.kind == "machineState"]
    if not machines:
        return Aggregate(OFFLINE)
    best = min(machines, key=lambda item: (item.availability, -item.at_ms))
    chosen = max((item.availability for item in inputs if item.kind == "userState"), default=0)
    if chosen >= _OFFLINE_FROM:
        return Aggregate(OFFLINE, machine=best.availability, machine_endpoint=best.endpoint)
    committed = max((item.availability for item in inputs if item.kind in _COMMITMENTS), default=0)
    said = max(chosen, committed)
    level = max(best.availability, said)
    if best.availability in _IDLE and said in _BUSY:
        level = BUSY_IDLE
    idle = level in _IDLE or level == BUSY_IDLE or level >= BE_RIGHT_BACK - 500
    return Aggregate(level, _activity(inputs, level), best.availability, best.endpoint, best.at_ms if idle else 0)


def _published(state: pb.Presentity, container: int) -> list[_Input]:
    inputs = []
    for publication in state.publications:
        if publication.category != "state" or publication.container != container or not publication.HasField("state"):
            continue
        facts = publication.state
        if facts.kind.startswith("aggregate"):
            continue
        if facts.kind == "machineState" and facts.availability < _UNKNOWN_BELOW:
            continue
        inputs.append(
            _Input(
                facts.kind, facts.availability, facts.activity, facts.min_availability,
                facts.max_availability or 1_000_000, publication.published_at_ms, publication.endpoint,
            )
        )  # fmt: skip
    return inputs


def _of_standard_phones(state: pb.Presentity) -> list[_Input]:
    """What phones publish, and a registered phone that publishes nothing and has no Communicator beside it: available."""
    inputs = []
    for phone in state.standard:
        level = phone.availability
        in_use = AVAILABLE if level < _OFFLINE_FROM and level not in _IDLE else level
        if level >= BE_RIGHT_BACK - 500:
            in_use = level
        inputs.append(_Input("machineState", in_use, "", 0, 1_000_000, phone.published_at_ms))
        if _IDLE.stop <= level < BE_RIGHT_BACK - 500:
            inputs.append(_Input("calendarState", level, phone.activity, 0, 1_000_000, phone.published_at_ms))
    answered = [call for call in state.calls if call.answered and not call.ended]
    if answered:
        inputs.append(_Input("phoneState", BUSY, "on-the-phone", 0, 1_000_000, answered[-1].at_ms))
    silent = not state.standard and not any(
        p.category == "state" and p.state.kind == "machineState" for p in state.publications
    )
    if silent and any(not endpoint.epid for endpoint in state.endpoints):
        inputs.append(_Input("machineState", AVAILABLE, "", 0, 1_000_000, 0))
    return inputs


def _activity(inputs: list[_Input], level: int) -> str:
    ranked = [*_COMMITMENTS, "userState"]
    candidates = [item for item in inputs if item.kind in ranked and item.activity and item.low <= level <= item.high]
    candidates.sort(key=lambda item: (ranked.index(item.kind), -item.at_ms))
    return candidates[0].activity if candidates else ""


def write_aggregates(state: pb.Presentity, now_ms: int) -> bool:
    """Computes both aggregates and writes them where they belong; whether anything that others see is new."""
    changed = False
    for container, fed in FEEDS.items():
        result = aggregate(state, container)
        content = _aggregate_state(result)
        if _put(state, AGGREGATE_INSTANCE, container, content, "aggregateState", result.availability, now_ms):
            for other in fed:
                changed |= _put(state, AGGREGATE_INSTANCE, other, content, "aggregateState", result.availability, now_ms)
        machine = _machine_state(result)
        _put(state, MACHINE_INSTANCE, container, machine, "aggregateMachineState", result.machine, now_ms)
        if container == 2 and (state.availability, state.activity) != (result.availability, result.activity):
            state.availability, state.activity, state.changed_at_ms = result.availability, result.activity, now_ms
            changed = True
    return changed


def _put(
    state: pb.Presentity, instance: int, container: int, content: bytes, kind: str, availability: int, now_ms: int
) -> bool:
    publication = find(state, ("state", instance, container))
    if publication is None:
        publication = state.publications.add(
            category="state", instance=instance, container=container, expire_type=pb.EXPIRE_TYPE_USER
        )
    elif publication.content == content:
        return False
    publication.version += 1
    publication.content = content
    publication.published_at_ms = now_ms
    publication.state.kind = kind
    publication.state.availability = availability
    return True


def _aggregate_state(result: Aggregate) -> bytes:
    since = f" lastActive={quoteattr(time_text(result.last_active_ms))}" if result.last_active_ms else ""
    activity = f"<activity token={quoteattr(result.activity)}/>" if result.activity else ""
    return (
        f'<state xmlns="{_NAMESPACE}" xmlns:xsi="{_XSI}" xsi:type="aggregateState"{since}>'
        f"<availability>{result.availability}</availability>{activity}</state>"
    ).encode()


def _machine_state(result: Aggregate) -> bytes:
    endpoint = f" endpointId={quoteattr(result.machine_endpoint)}" if result.machine_endpoint else ""
    return (
        f'<state xmlns="{_NAMESPACE}" xmlns:xsi="{_XSI}" xsi:type="aggregateMachineState"{endpoint}>'
        f"<availability>{result.machine}</availability></state>"
    ).encode()


def time_text(ms: int) -> str:
    """Milliseconds since the Unix epoch as documents have it: ``2009-02-03T10:11:12.450``."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}"
