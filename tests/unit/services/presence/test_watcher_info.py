"""Watcher information: what rows a change makes."""

from __future__ import annotations

from parley.presence.model import new_presentity
from parley.presence.standard.watcherinfo import Watcher, parse_watcherinfo
from parley.proto.events.v1.presence_pb2 import WatcherChanged
from parley.proto.presence.v1 import state_pb2 as pb
from services.presence.views import Changes
from services.presence.watcher_info import MOST, watchers_document

ALICE = "sip:alice@example.test"
NOW = 100_000


def watcher(number: int, *, event: str = "presence", expires_at_ms: int = 160_000) -> pb.Subscription:
    return pb.Subscription(
        id=f"i{number}", watcher=f"sip:user{number}@example.test", event=event, expires_at_ms=expires_at_ms,
        began_at_ms=NOW - number * 1_000, watcher_name=f"User {number}",
    )  # fmt: skip


def rows(subscriptions: list[pb.Subscription], changes: Changes | None) -> tuple[str, tuple[Watcher, ...]]:
    state = new_presentity(ALICE)
    document = watchers_document(state, subscriptions, changes, version=4, now_ms=NOW)
    info = parse_watcherinfo(document.body)
    assert (info.version, info.lists[0].resource) == (4, ALICE)
    return info.state, info.lists[0].watchers


def test_everything_is_those_who_watch_presence_now() -> None:
    others = [watcher(8, event="vnd-microsoft-roaming-self"), watcher(9, expires_at_ms=NOW)]
    state, found = rows([watcher(2), watcher(1), *others], None)
    assert state == "full"
    assert found == tuple(
        Watcher(
            f"i{number}", f"sip:user{number}@example.test", "active", "subscribe", f"User {number}", expiration=60,
            duration=number,
        )
        for number in (1, 2)
    )  # fmt: skip


def test_changes_name_those_they_concern() -> None:
    gone = WatcherChanged(subscription_id="i5", watcher="sip:u5@example.test", event="rejected", began_at_ms=1, at_ms=9_001)
    came = WatcherChanged(subscription_id="i1", watcher="sip:user1@example.test", event="subscribe")
    state, found = rows([watcher(1), watcher(2)], Changes(watchers={"i5": gone, "i1": came}))
    assert state == "partial"
    assert [(w.id, w.status, w.event) for w in found] == [("i1", "active", "subscribe"), ("i5", "terminated", "rejected")]
    assert found[1].duration == 9


def test_access_that_changed() -> None:
    _, found = rows([watcher(1), watcher(2)], Changes(access={"user2@example.test"}))
    assert [(w.id, w.status, w.event) for w in found] == [("i2", "active", "approved")]
    _, found = rows([watcher(1), watcher(2)], Changes(access={"*"}))
    assert len(found) == 2


def test_one_who_came_and_went_unseen_is_gone() -> None:
    _, found = rows([], Changes(watchers={"i1": WatcherChanged(subscription_id="i1", watcher="sip:a@b", event="subscribe")}))
    assert [(w.id, w.status, w.event) for w in found] == [("i1", "terminated", "timeout")]


def test_of_very_many_the_last_ones() -> None:
    _, found = rows([watcher(number) for number in range(MOST + 50)], None)
    assert len(found) == MOST
    assert found[0].id == "i0"
