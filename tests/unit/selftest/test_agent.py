"""The user agent without I/O: two of them on a line that loses what it is told to."""

from __future__ import annotations

from math import inf

import pytest

from parley.selftest.agent import AgentEvent, Answered, Asked, Identity, Unanswered, UserAgent
from parley.sip.dialog import Dialog
from parley.sip.digest import SHA256, challenges, ha1, parse_credentials, verify
from parley.sip.message import Request, Response, make_response, parse_message

ALICE, BOB = Identity("alice@example.test", "a"), Identity("bob@example.test", "b")


class Line:
    """Two agents that hear each other, and a clock."""

    def __init__(self, transport: str = "UDP") -> None:
        self.now = 100.0
        self.alice = UserAgent(ALICE, transport, ("192.0.2.1", 5060))
        self.bob = UserAgent(BOB, transport, ("2001:db8::2", 5060))
        self.lost: set[int] = set()
        """Numbers of messages that do not arrive, counted from 0."""
        self.log: list[str] = []
        """First lines of all that was sent."""

    def carry(self) -> list[AgentEvent]:
        """Carries all there is; what both were told."""
        events: list[AgentEvent] = []
        while True:
            sent = [(self.bob, data) for data in self.alice.take_outgoing()]
            sent += [(self.alice, data) for data in self.bob.take_outgoing()]
            if not sent:
                return events
            for receiver, data in sent:
                number = len(self.log)
                self.log.append(data.split(b"\r\n", 1)[0].decode())
                if number not in self.lost:
                    receiver.receive(parse_message(data), self.now)
                    events += receiver.take_events()

    def sleep(self) -> list[AgentEvent]:
        """Goes to the next deadline; what both were told by it, and by what it made them send."""
        self.now = min(self.alice.deadline, self.bob.deadline)
        assert self.now < inf
        events: list[AgentEvent] = []
        for agent in (self.alice, self.bob):
            agent.expire(self.now)
            events += agent.take_events()
        return events + self.carry()

    def invite(self) -> tuple[int, Request]:
        """Alice calls; the number, and what Bob was asked."""
        number = self.alice.begin(self.alice.request("INVITE", "sip:bob@example.test"), self.now)
        (asked,) = self.carry()
        assert isinstance(asked, Asked)
        return number, asked.request


def test_a_request_is_asked_and_answered() -> None:
    line = Line()
    number = line.alice.begin(line.alice.request("MESSAGE", "sip:bob@example.test", body=b"hello"), line.now)
    (asked,) = line.carry()
    assert isinstance(asked, Asked)
    assert asked.request.body == b"hello"
    assert "Contact" not in asked.request
    line.bob.answer(asked.request, 200, line.now)
    (answered,) = line.carry()
    assert isinstance(answered, Answered)
    assert (answered.number, answered.response.status, bool(answered.response.to_tag)) == (number, 200, True)


def test_lost_requests_and_answers_are_sent_again_and_told_of_once() -> None:
    line = Line()
    line.lost = {0, 2}  # the request, and the first answer to what came in its place
    line.alice.begin(line.alice.request("MESSAGE", "sip:bob@example.test"), line.now)
    assert line.carry() == []
    (asked,) = line.sleep()
    assert isinstance(asked, Asked)
    line.bob.answer(asked.request, 200, line.now)
    assert line.carry() == []
    (answered,) = line.sleep()
    assert isinstance(answered, Answered)
    assert line.log == [*["MESSAGE sip:bob@example.test SIP/2.0"] * 2, "SIP/2.0 200 OK", line.log[0], "SIP/2.0 200 OK"]
    assert line.now == pytest.approx(101.5), "after 0.5 s and 1 s more"


def test_nobody_answers() -> None:
    line = Line()
    line.lost = set(range(100))
    number = line.alice.begin(line.alice.request("MESSAGE", "sip:bob@example.test"), line.now)
    line.carry()
    events: list[AgentEvent] = []
    while not events:
        events = line.sleep()
    assert events == [Unanswered(number)]
    assert line.now == pytest.approx(132.0)
    assert line.alice.deadline == inf


@pytest.mark.parametrize("transport", ["UDP", "TLS"])
def test_a_call(transport: str) -> None:
    line = Line(transport)
    number, invite = line.invite()
    assert invite.get("Contact") == f"<sip:alice@192.0.2.1:5060;transport={transport.lower()}>"
    line.bob.answer(invite, 180, line.now, to_tag="t")
    line.bob.answer(invite, 200, line.now, to_tag="t", body=b"answer")
    ringing, answered = line.carry()
    assert isinstance(ringing, Answered)
    assert isinstance(answered, Answered)
    assert (ringing.response.status, answered.response.status, answered.response.body) == (180, 200, b"answer")
    assert answered.response.get("Contact") == f"<sip:bob@[2001:db8::2]:5060;transport={transport.lower()}>"
    dialog = Dialog.from_response(answered.request, answered.response)
    line.alice.acknowledge(number, dialog.create_ack())
    (acked,) = line.carry()
    assert isinstance(acked, Asked)
    assert acked.request.method == "ACK"
    line.alice.begin(dialog.create_request("BYE"), line.now)
    (ended,) = line.carry()
    assert isinstance(ended, Asked)
    assert (ended.request.method, ended.request.to_tag, ended.request.cseq.number) == ("BYE", "t", invite.cseq.number + 1)


def test_over_udp_a_lost_answer_and_a_lost_ack_are_made_up_for() -> None:
    line = Line()
    number, invite = line.invite()
    line.lost = {1, 3}  # the 200, and the first ACK
    line.bob.answer(invite, 200, line.now, to_tag="t")
    assert line.carry() == []
    told: list[AgentEvent] = []
    while not told:
        told = [event for event in line.sleep() if isinstance(event, Answered)]
    (answered,) = told
    assert isinstance(answered, Answered)
    ack = Dialog.from_response(answered.request, answered.response).create_ack()
    line.lost.add(len(line.log))
    line.alice.acknowledge(number, ack)
    assert line.carry() == []
    acked: list[AgentEvent] = []
    while not acked:
        acked = line.sleep()
    assert [event.request.method for event in acked if isinstance(event, Asked)] == ["ACK"]
    sent = len(line.log)
    while min(line.alice.deadline, line.bob.deadline) < inf:
        line.sleep()
    assert "SIP/2.0 200 OK" not in line.log[sent:], "it is not sent any more once the ACK came"


def test_a_2xx_without_an_ack_is_given_up() -> None:
    line = Line()
    _, invite = line.invite()
    line.lost = set(range(1, 100))
    line.bob.answer(invite, 200, line.now, to_tag="t")
    line.carry()
    begun = line.now
    while line.bob.deadline < inf:
        line.alice.expire(line.now)
        line.alice.take_outgoing()
        line.now = line.bob.deadline
        line.bob.expire(line.now)
        line.carry()
    assert line.now - begun == pytest.approx(32.0)
    assert line.log.count("SIP/2.0 200 OK") == 11, "at 0, 0.5, 1.5, 3.5 and then every four seconds"


def challenged(agent: UserAgent, realm: str = "example.test") -> Request:
    """Takes the agent's request and challenges it."""
    (data,) = agent.take_outgoing()
    request = parse_message(data)
    assert isinstance(request, Request)
    headers = [("WWW-Authenticate", value) for value in challenges(realm, "nonce")]
    agent.receive(make_response(request, 401, to_tag="t", headers=headers), 0.0)
    return request


def test_a_challenge_is_answered_once_in_a_transaction_of_its_own() -> None:
    agent = UserAgent(ALICE, "TCP", ("192.0.2.1", 5060))
    number = agent.begin(agent.request("REGISTER", "sip:example.test"), 0.0)
    first = challenged(agent)
    second = challenged(agent)
    assert second.cseq.number == first.cseq.number + 1
    assert second.via.branch != first.via.branch
    assert len(second.vias) == 1
    assert (second.call_id, second.from_tag) == (first.call_id, first.from_tag)
    credentials = parse_credentials(second.get("Authorization") or "")
    assert verify(credentials, "REGISTER", ha1(SHA256, "alice", "example.test", "a"))
    (refused,) = agent.take_events()
    assert isinstance(refused, Answered)
    assert (refused.number, refused.response.status, refused.request.cseq.number) == (number, 401, second.cseq.number)
    later = agent.request("REGISTER", "sip:example.test")
    assert later.cseq.number > second.cseq.number


def test_a_challenge_that_cannot_be_answered_is_told_of() -> None:
    agent = UserAgent(ALICE, "TCP", ("192.0.2.1", 5060))
    agent.begin(agent.request("REGISTER", "sip:example.test"), 0.0)
    (data,) = agent.take_outgoing()
    request = parse_message(data)
    assert isinstance(request, Request)
    agent.receive(make_response(request, 401, headers=[("WWW-Authenticate", 'Kerberos realm="x"')]), 0.0)
    (answered,) = agent.take_events()
    assert isinstance(answered, Answered)
    assert answered.response.status == 401


def test_what_belongs_to_nothing_is_passed_over() -> None:
    agent = UserAgent(ALICE, "UDP", ("192.0.2.1", 5060))
    agent.receive(Response.create(200, headers=[("Via", "SIP/2.0/UDP h;branch=z9hG4bKx"), ("CSeq", "1 INVITE")]), 0.0)
    agent.receive(Response.create(200, headers=[("CSeq", "x")]), 0.0)
    agent.receive(
        Request.create("ACK", "sip:a@h", headers=[("Via", "SIP/2.0/UDP h"), ("Call-ID", "c"), ("CSeq", "1 ACK")]), 0.0
    )
    assert agent.take_events() == []
    assert agent.take_outgoing() == []
