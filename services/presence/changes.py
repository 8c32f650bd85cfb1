"""The event of a change, with the aggregates computed anew."""

from __future__ import annotations

from parley.presence.aggregation import write_aggregates
from parley.proto.events.v1.presence_pb2 import PresenceChanged
from parley.proto.presence.v1 import state_pb2 as pb


def presence_event(state: pb.Presentity, own: set[str], seen: set[str], now_ms: int) -> PresenceChanged:
    """Computes the aggregates and makes the event of a change; ``own``, ``seen``: categories that changed already."""
    if write_aggregates(state, now_ms):
        seen.add("state")
        own.add("state")
    return PresenceChanged(
        aor=state.address, at_ms=now_ms, availability=state.availability, activity=state.activity,
        categories=sorted(seen), own_categories=sorted(own),
    )  # fmt: skip
