"""What is said in a session while a phone does not answer."""

from __future__ import annotations

import asyncio
from typing import Any

from parley.messaging.answers import Outcome
from parley.platform.clock import FakeClock
from parley.proto.events.v1.message_pb2 import MessageUndelivered
from parley.proto.messaging.v1.state_pb2 import Session
from parley.proto.sip.v1.message_pb2 import Flow
from parley.sip.message import Request
from services.messaging.config import MessagingConfig
from services.messaging.delivery import Result
from services.messaging.messages import Message
from services.messaging.sessions import SessionRequests
from tests.support.waiting import until
from tests.unit.services.messaging.test_invitations import Spawner

ALICE, BOB = "sip:alice@example.test", "sip:bob@example.test"


class Incoming:
    def __init__(self, method: str, number: int, body: bytes = b"") -> None:
        headers = [
            ("From", f"<{BOB}>;tag=theirs"), ("To", f"<{ALICE}>;tag=ours"), ("Call-ID", "c"), ("CSeq", f"{number} {method}"),
            ("Content-Type", "text/plain"),
        ]  # fmt: skip
        self.request = Request.create(method, ALICE, headers=headers, body=body)
        self.flow, self.user_aor, self.user_name, self.span = Flow(), BOB, "Bob", None
        self.replies: list[int] = []

    def reply(self, status: int, *_: object) -> None:
        self.replies.append(status)


class Site:
    """One session; its store, the devices and the access rules are played by the test."""

    def __init__(self, answer_s: float) -> None:
        self.session: Session | None = Session(
            id="s", owner=BOB, peer=ALICE, call_id="c", local_party=f"<{ALICE}>;tag=ours", remote_party=f"<{BOB}>;tag=theirs"
        )
        self.answers: dict[bytes, asyncio.Future[Result]] = {}
        self.dropped: list[str] = []
        self.undelivered: list[tuple[int, int]] = []
        self.spawner = Spawner()
        own: Any = self
        self.requests = SessionRequests(
            MessagingConfig(answer_seconds=answer_s), own, own, own, own, own, own, FakeClock(), self.spawner
        )

    def ends_at_ms(self) -> int:
        return 0

    async def received(self, *_: object) -> Session | None:
        return self.session

    async def drop(self, session: Session, cause: str) -> None:
        self.session = None
        self.dropped.append(cause)

    async def blocked(self, *_: str) -> bool:
        return False

    async def devices(self, *_: str) -> list[object]:
        return [object()]

    async def deliver(self, message: Message, *_: object, phones_first: bool) -> Result:
        future = self.answers[message.content.body] = asyncio.get_running_loop().create_future()
        result: Result = await future
        return result

    async def tell(self, message: Message, reason: int, status: int, traceparent: str) -> None:
        self.undelivered.append((reason, status))

    def begin(self, method: str, number: int, body: bytes = b"") -> tuple[asyncio.Task[None], list[int]]:
        incoming: Any = Incoming(method, number, body)
        return asyncio.create_task(self.requests.in_session(incoming, "s")), incoming.replies


async def test_a_phone_that_does_not_answer_in_time_is_not_there() -> None:
    site = Site(answer_s=0.05)
    task, replies = site.begin("MESSAGE", 2, b"hello")
    async with asyncio.timeout(5):
        await task
    assert replies == [480]
    assert site.undelivered == [(MessageUndelivered.REASON_UNREACHABLE, 480)]
    assert site.dropped == ["unreachable"]
    site.answers[b"hello"].set_result(Result(Outcome.DELIVERED, 200))  # too late: nobody is told
    await asyncio.gather(*site.spawner.tasks)
    assert replies == [480]
    assert not site.requests._speaking


async def test_what_concerns_the_session_alone_does_not_wait_for_a_phone() -> None:
    site = Site(answer_s=25)
    first, first_replies = site.begin("MESSAGE", 2, b"first")
    second, second_replies = site.begin("MESSAGE", 3, b"second")
    await until(lambda: b"first" in site.answers)
    for number, method in ((4, "OPTIONS"), (5, "BYE")):
        task, replies = site.begin(method, number)
        async with asyncio.timeout(5):
            await task
        assert replies == [200]
    assert list(site.answers) == [b"first"]
    site.answers[b"first"].set_result(Result(Outcome.DELIVERED, 200))
    await until(lambda: b"second" in site.answers)
    site.answers[b"second"].set_result(Result(Outcome.DELIVERED, 200))
    await asyncio.gather(first, second)
    assert (first_replies, second_replies) == ([200], [200])
