"""What is told right after the first document of a subscription."""

from __future__ import annotations

from typing import Any

import pytest

from parley.platform.clock import FakeClock
from parley.proto.presence.v1 import state_pb2 as pb
from services.presence.config import PresenceConfig
from services.presence.documents import Made, Pending
from services.presence.packages import ROAMING_SELF
from services.presence.subscriptions import Subscriptions
from services.presence.views import Document

ALICE = "sip:alice@example.test"
FIRST = Made(Document("application/vnd-microsoft-roaming-self+xml", b"<roamingData>offline</roamingData>"))


class Stage:
    """Stands for store, documents and notifier."""

    def __init__(self, version: int, body: bytes) -> None:
        self.told: list[Pending] = []
        self.made: list[int] = []
        self._version = version
        self._body = body

    async def versions(self, subscription: pb.Subscription) -> dict[str, int]:
        return {ALICE: self._version}

    async def make(self, subscription: pb.Subscription, pending: Pending, version: int) -> Made:
        assert pending.full
        self.made.append(version)
        return Made(Document(FIRST.document.content_type, self._body))

    def tell(self, subscription: pb.Subscription, pending: Pending) -> None:
        self.told.append(pending)


@pytest.mark.parametrize(
    ("version", "body", "made", "told"),
    [
        (7, b"", [], 0),
        (8, FIRST.document.body, [2], 0),
        (8, b"<roamingData>available</roamingData>", [2], 1),
    ],
    ids=["nothing-changed", "nothing-that-shows", "changed"],
)
async def test_what_the_answer_said_is_not_told_again(version: int, body: bytes, made: list[int], told: int) -> None:
    stage: Any = Stage(version, body)
    subscriptions = Subscriptions(PresenceConfig(), stage, stage, stage, stage, FakeClock(), lambda: False)
    subscription = pb.Subscription(watcher=ALICE, target=ALICE, event=ROAMING_SELF)
    await subscriptions._tell_missed(subscription, {ALICE: 7}, FIRST, 3)
    assert stage.made == made
    assert [pending.full for pending in stage.told] == [True] * told
