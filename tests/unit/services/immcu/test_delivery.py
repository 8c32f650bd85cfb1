"""Messages to participants whose front end is away for a moment, or for good."""

from __future__ import annotations

import pytest
from grpc import StatusCode

from parley.conference.uris import ConferenceName
from parley.platform.applications.dialogs import DialogSender
from parley.platform.applications.edges import FlowGone
from parley.platform.rpc.errors import RpcError
from parley.platform.telemetry.tracing import NO_TRACER
from parley.proto.immcu.v1 import state_pb2 as pb
from parley.proto.sip.v1.dialog_pb2 import Dialog
from parley.sip.message import Request, Response, make_response
from services.immcu.delivery import Delivery, Failure
from services.immcu.repository import ChatRepository
from services.immcu.sessions import Sessions

NAME = ConferenceName("sip:alice@example.test", "abcdefgh")
BOB = "sip:bob@example.test"


class Repository(ChatRepository):
    """Numbers in memory."""

    def __init__(self) -> None:
        self.number = 0

    async def next_cseq(self, name: ConferenceName, session_id: str) -> int:
        self.number += 1
        return self.number


class Sender(DialogSender):
    """A client that answers, once its front end can be reached."""

    def __init__(self) -> None:
        self.errors: list[RpcError] = []
        self.statuses: list[int] = []
        self.sent: list[Request] = []

    async def request(self, dialog: Dialog, request: Request, *, traceparent: str = "", timeout_s: float = 32.0) -> Response:
        if self.errors:
            raise self.errors.pop()
        self.sent.append(request)
        return make_response(request, self.statuses.pop(0) if self.statuses else 200)


class Ended(Sessions):
    """Notes which sessions are over."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    async def end(self, name: ConferenceName, session: pb.Session, *, tell: bool) -> None:
        self.ended.append(session.id)


class Rig:
    """A delivery and what is around it."""

    def __init__(self) -> None:
        self.sender, self.sessions = Sender(), Ended()
        self.delivery = Delivery(Repository(), self.sender, self.sessions, NO_TRACER, "", 1.0, again_s=0.0)

    async def deliver(self) -> Failure | None:
        dialog = Dialog(aor=BOB, call_id="c", local_party="<sip:x>;tag=l", remote_party=f"<{BOB}>;tag=r", remote_target=BOB)
        message = pb.ChatMessage(sender="sip:alice@example.test", content_type="text/plain", body=b"hi", number=1)
        return await self.delivery.deliver(NAME, pb.Session(id="s", user=BOB, dialog=dialog, ms_sender=True), message)

    def numbers(self) -> list[int]:
        return [request.cseq.number for request in self.sender.sent]


@pytest.fixture
def rig() -> Rig:
    return Rig()


def away(times: int) -> list[RpcError]:
    return [RpcError(StatusCode.UNAVAILABLE, "the front end is away") for _ in range(times)]


async def test_a_message_waits_for_a_front_end_that_is_away_for_a_moment(rig: Rig) -> None:
    rig.sender.errors = away(29)
    assert await rig.deliver() is None
    assert rig.numbers() == [30]


async def test_a_front_end_that_stays_away_is_given_up(rig: Rig) -> None:
    rig.sender.errors = away(31)
    assert await rig.deliver() == Failure(BOB, 503, "Service Unavailable", gone=False)
    assert len(rig.sender.errors) == 1
    assert rig.sessions.ended == []


async def test_a_client_that_is_gone_is_not_waited_for(rig: Rig) -> None:
    rig.sender.errors = [*away(1), FlowGone()]
    assert await rig.deliver() == Failure(BOB, 480, "Temporarily Unavailable", gone=True)
    assert len(rig.sender.errors) == 1
    assert rig.sessions.ended == ["s"]


async def test_a_message_that_comes_out_of_order_is_sent_once_more(rig: Rig) -> None:
    rig.sender.statuses = [500]
    assert await rig.deliver() is None
    rig.sender.statuses = [500, 500, 500]
    assert await rig.deliver() == Failure(BOB, 500, "Server Internal Error", gone=False)
    assert rig.numbers() == [1, 2, 3, 4]
