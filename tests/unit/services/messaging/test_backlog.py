"""When a mailbox is looked at again whose user cannot be reached."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, cast

import pytest

from parley.messaging.devices import Device, devices_of
from parley.platform.clock import FakeClock
from parley.platform.events.api import Event
from parley.platform.telemetry.tracing import Tracer
from parley.proto.events.v1.registration_pb2 import RegistrationChanged
from parley.proto.messaging.v1.state_pb2 import StoredMessage
from parley.proto.registrar.v1.registrar_pb2 import Binding
from parley.sip.message import Request
from services.messaging.backlog import Backlog
from services.messaging.config import MessagingConfig
from services.messaging.delivery import Delivery
from services.messaging.devices import Devices
from services.messaging.mailbox import Entry, Mailbox
from services.messaging.undelivered import Reports, Undelivered

AOR = "sip:alice@example.test"
RETRY_S = 5.0
AWAY = Binding(contact="sip:alice@192.0.2.1")
"""At a front end that nobody knows the address of."""


class OneMessage:
    """A mailbox with one message, and when it is to be looked at."""

    def __init__(self, clock: FakeClock) -> None:
        request = Request.create("MESSAGE", AOR, headers=[("From", "<sip:bob@example.test>;tag=1"), ("To", f"<{AOR}>")])
        stored = StoredMessage(request=bytes(request), sender="sip:bob@example.test", stored_at_ms=int(clock.wall() * 1000))
        self.entry = Entry("1", stored)
        self.look_at_ms = 0

    async def count(self, aor: str) -> int:
        return 1

    async def first(self, aor: str) -> Entry:
        return self.entry

    async def look_again(self, aor: str, at_ms: int) -> None:
        self.look_at_ms = at_ms

    async def lock(self, aor: str, hold_ms: int) -> str:
        return "mine"

    async def unlock(self, aor: str, name: str) -> None:
        pass


class Registered:
    """What the registrar says, one answer after the other; the last one from then on."""

    def __init__(self, *answers: list[Binding]) -> None:
        self._answers = list(answers)

    def _next(self) -> list[Binding]:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    async def devices(self, aor: str, traceparent: str = "") -> list[Device]:
        return devices_of(self._next())

    async def awaited(self, aor: str) -> bool:
        return bool(self._next())


def backlog_of(clock: FakeClock, mailbox: OneMessage, registered: Registered) -> Backlog:
    def spawn(name: str, work: Coroutine[Any, Any, None]) -> None:
        work.close()

    return Backlog(
        MessagingConfig(retry_seconds=RETRY_S), cast(Mailbox, mailbox), cast(Devices, registered), cast(Delivery, None),
        cast(Reports, None), cast(Undelivered, None), clock, cast(Tracer, None), spawn, lambda key: None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("answers", "seconds"),
    [
        pytest.param([[]], 3600.0, id="nobody is there"),
        pytest.param([[AWAY]], RETRY_S, id="the front end is away"),
        pytest.param([[], [AWAY]], RETRY_S, id="somebody signs in meanwhile"),
    ],
)
async def test_a_mailbox_is_looked_at_again(answers: list[list[Binding]], seconds: float) -> None:
    clock = FakeClock()
    mailbox = OneMessage(clock)
    await backlog_of(clock, mailbox, Registered(*answers)).look(AOR)
    assert mailbox.look_at_ms == pytest.approx((clock.wall() + seconds) * 1000, abs=2)


async def test_who_signs_in_while_a_mailbox_is_left_alone_is_not_forgotten() -> None:
    clock = FakeClock()
    mailbox = OneMessage(clock)

    class SignsIn(Registered):
        async def awaited(self, aor: str) -> bool:
            found = await super().awaited(aor)
            changed = RegistrationChanged(kind=RegistrationChanged.KIND_REGISTERED, aor=AOR)
            await backlog.on_registration_changed(Event("parley.registrations", AOR, changed, "", 0))
            return found

    backlog = backlog_of(clock, mailbox, SignsIn([]))
    await backlog.look(AOR)
    assert mailbox.look_at_ms == pytest.approx((clock.wall() + RETRY_S) * 1000, abs=2)
