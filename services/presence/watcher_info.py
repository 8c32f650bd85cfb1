"""Who watches a user, as the user is told (RFC 3857): standard clients and Communicator alike, a row a subscription."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, cast

from parley.presence.access import Standing, standing
from parley.presence.model import bare
from parley.presence.standard.watcherinfo import Event, Watcher, WatcherInfo, WatcherList, build_watcherinfo
from parley.proto.events.v1.presence_pb2 import WatcherChanged
from parley.proto.presence.v1 import state_pb2 as pb
from services.presence.packages import FORMATS, PRESENCE, WATCHERS
from services.presence.views import Changes, Document

MOST: Final = 200
"""Watchers that one document names, so that it fits a datagram; of more, those who came last."""


def watchers_document(
    state: pb.Presentity, subscriptions: Iterable[pb.Subscription], changes: Changes | None, *, version: int, now_ms: int
) -> Document:
    """The watchers of a user; with ``changes`` only those whom these concern."""
    watching = {one.id: one for one in subscriptions if one.event == PRESENCE and one.expires_at_ms > now_ms}
    if changes is None:
        rows = [_row(state, one, "subscribe", now_ms) for one in watching.values()]
    else:
        rows = list(_changed(state, watching, changes, now_ms))
    rows.sort(key=lambda row: row.duration or 0)
    known = WatcherList(state.address, PRESENCE, tuple(rows[:MOST]))
    info = WatcherInfo(version, "full" if changes is None else "partial", (known,))
    return Document(FORMATS[WATCHERS], build_watcherinfo(info))


def _changed(state: pb.Presentity, watching: dict[str, pb.Subscription], changes: Changes, now_ms: int) -> Iterator[Watcher]:
    for identifier, changed in changes.watchers.items():
        if identifier not in watching:
            yield _gone(changed)
    for identifier, one in watching.items():
        if changes.access & {"*", bare(one.watcher).lower()}:
            yield _row(state, one, "approved", now_ms)
        elif identifier in changes.watchers:
            yield _row(state, one, "subscribe", now_ms)


def _row(state: pb.Presentity, subscription: pb.Subscription, event: Event, now_ms: int) -> Watcher:
    waits = standing(state, subscription.watcher) is Standing.WAITING
    return Watcher(
        subscription.id, subscription.watcher, "pending" if waits else "active", "subscribe" if waits else event,
        display_name=subscription.watcher_name, expiration=_seconds(subscription.expires_at_ms - now_ms),
        duration=_seconds(now_ms - subscription.began_at_ms) if subscription.began_at_ms else None,
    )  # fmt: skip


def _gone(changed: WatcherChanged) -> Watcher:
    event = cast(Event, changed.event) if changed.event != "subscribe" else "timeout"
    duration = _seconds(changed.at_ms - changed.began_at_ms) if changed.began_at_ms else None
    return Watcher(
        changed.subscription_id, changed.watcher, "terminated", event, display_name=changed.watcher_name, duration=duration
    )


def _seconds(milliseconds: int) -> int:
    return max(0, milliseconds // 1000)
