"""The steps of SIP: signing in, presence, messages, a call. Each gives back what was seen, or raises `StepFailed`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from functools import partial
from secrets import token_hex
from typing import Any, Final

from parley.presence.standard.availability import pidf_of
from parley.presence.standard.errors import DocumentError
from parley.presence.standard.pidf import CONTENT_TYPE, build_pidf, parse_pidf
from parley.selftest.agent import Answered
from parley.selftest.phone import Phone, PhoneError
from parley.selftest.report import expecting
from parley.sip.dialog import Dialog
from parley.sip.errors import SipError, SipParseError
from parley.sip.message import Request

_AVAILABLE: Final = 3500
_EXPIRES: Final = ("Expires", "600")


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace that the self-test begins: its requests say that they belong to it, and that it is to be kept."""

    trace_id: str
    span_id: str

    @classmethod
    def new(cls) -> Trace:
        """One that nobody else has."""
        return cls(token_hex(16), token_hex(8))

    @property
    def header(self) -> tuple[str, str]:
        """The SIP header that says so (W3C Trace Context; the last part: sampled)."""
        return "Traceparent", f"00-{self.trace_id}-{self.span_id}-01"


@dataclass(frozen=True, slots=True)
class Traced:
    """Something that was done, and how its trace is found."""

    trace: Trace
    call_id: str


async def sign_in(phone: Phone) -> Traced:
    """Registers a phone, with digest."""
    trace = Trace.new()
    with expecting(
        f"200 to REGISTER over {phone.place}, after a challenge",
        "the log of the front ends, the address book and the registrar"
        + (", --ca (whom to trust) and --tls-name (whom to expect)" if phone.place.transport == "TLS" else "")
        + "; `parley doctor` looks at each of them",
    ):
        request = _register(phone, 600)
        request.add(*trace.header)
        answered = await phone.expect(request, 200)
        if "Authorization" not in answered.request:
            raise PhoneError("200 without a challenge: whoever says a name is taken for its owner")
        return Traced(trace, answered.request.call_id)


async def sign_out(phone: Phone) -> None:
    """Ends what `sign_in` began."""
    with expecting("200 to REGISTER that ends a registration", "the log of the front ends and the registrar"):
        await phone.expect(_register(phone, 0), 200)


def _register(phone: Phone, seconds: int) -> Request:
    fields = [("Contact", f"<{phone.agent.contact}>"), ("Expires", str(seconds))]
    identity = phone.identity
    return phone.agent.request("REGISTER", f"sip:{identity.domain}", to=f"sip:{identity.address}", headers=fields)


async def see_presence(watcher: Phone, other: Phone) -> str:
    """One subscribes, the other publishes; the watcher must be told just that."""
    uri = f"sip:{other.identity.address}"
    note = f"self-test {token_hex(6)}"
    with expecting(
        "a NOTIFY with the note that the other user published",
        "is presence running, and reached by the front ends (platform.rpc.targets.presence)? see its log",
    ):
        request = watcher.agent.request(
            "SUBSCRIBE", uri, headers=[("Event", "presence"), ("Accept", CONTENT_TYPE), _EXPIRES]
        )
        subscribed = await watcher.expect(request, 200, 202)
        dialog = Dialog.from_response(subscribed.request, subscribed.response)
        document = build_pidf(pidf_of(uri, _AVAILABLE, note=note, contact=other.agent.contact))
        headers = [("Event", "presence"), ("Content-Type", CONTENT_TYPE), _EXPIRES]
        await other.expect(other.agent.request("PUBLISH", uri, headers=headers, body=document), 200)
        await watcher.next("NOTIFY", lambda notify: note in _notes(notify))
        ending = dialog.create_request("SUBSCRIBE", headers=[("Event", "presence"), ("Expires", "0")])
        await watcher.expect(ending, 200, 202)
    return "published, and told to a watcher"


def _notes(notify: Request) -> tuple[str, ...]:
    """The notes of a presence document; none of anything else."""
    try:
        document = parse_pidf(notify.body)
    except DocumentError:
        return ()
    return (*document.notes, *document.person_notes, *(item.note for item in document.tuples))


async def exchange_messages(one: Phone, other: Phone) -> str:
    """A message each way."""
    for sender, receiver in ((one, other), (other, one)):
        text = f"self-test {token_hex(8)}".encode()
        with expecting(
            f"a MESSAGE sent over {sender.place.transport} to come over {receiver.place.transport}, and 200 for its sender",
            "is messaging running, and reached by the front ends (platform.rpc.targets.messaging)? see its log",
        ):
            uri = f"sip:{receiver.identity.address}"
            headers = [("Content-Type", "text/plain; charset=UTF-8")]
            request = sender.agent.request("MESSAGE", uri, headers=headers, body=text)
            await _both(sender.expect(request, 200), receiver.next("MESSAGE", partial(_holds, text)))
    return "one each way"


def _holds(text: bytes, message: Request) -> bool:
    return text in message.body


async def call(caller: Phone, callee: Phone) -> Traced:
    """A call with descriptions of media both ways, from its beginning to its end."""
    trace = Trace.new()
    offer, answer = _description(caller), _description(callee)
    with expecting(
        f"a call over {caller.place.transport} and {callee.place.transport}: INVITE, 200, ACK and BYE, descriptions intact",
        "the log of the front ends, with the call's Call-ID; do they reach each other (platform.rpc.advertise)?",
    ):
        headers = [("Content-Type", "application/sdp"), trace.header]
        invite = caller.agent.request("INVITE", f"sip:{callee.identity.address}", headers=headers, body=offer)
        answered, _ = await _both(caller.expect(invite, 200), _pick_up(callee, offer, answer))
        try:
            dialog = Dialog.from_response(answered.request, answered.response)
            caller.acknowledge(answered, dialog.create_ack())
            _compare("the 200", answered.response.body, answer)
            await callee.next("ACK")
            await _both(caller.expect(dialog.create_request("BYE"), 200), callee.next("BYE"))
        except (SipError, SipParseError) as error:
            raise PhoneError(f"a 200 that makes no dialog: {error}") from None
    return Traced(trace, invite.call_id)


async def _pick_up(callee: Phone, offer: bytes, answer: bytes) -> Request:
    """Rings, and answers."""
    invite = await callee.next("INVITE")
    _compare("the INVITE", invite.body, offer)
    tag = token_hex(5)
    callee.answer(invite, 180, to_tag=tag)
    callee.answer(invite, 200, to_tag=tag, headers=[("Content-Type", "application/sdp")], body=answer)
    return invite


def _compare(what: str, found: bytes, wanted: bytes) -> None:
    if found != wanted:
        raise PhoneError(f"{what} brought another description of media: {len(found)} bytes for {len(wanted)}")


def _description(phone: Phone) -> bytes:
    """SDP of a voice; no media is sent to it."""
    address = phone.agent.host
    kind = "IP6" if ":" in address else "IP4"
    number = int(token_hex(4), 16)
    return (
        f"v=0\r\no=- {number} 1 IN {kind} {address}\r\ns=self-test\r\nc=IN {kind} {address}\r\nt=0 0\r\n"
        "m=audio 49170 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n"
    ).encode()


async def _both(asked: Awaitable[Answered], comes: Awaitable[Any]) -> tuple[Answered, Any]:
    """What both ends saw. When one fails the other is not waited for; a refusal says more than that nothing came."""
    first, second = asyncio.ensure_future(asked), asyncio.ensure_future(comes)
    try:
        await asyncio.wait((first, second), return_when=asyncio.FIRST_EXCEPTION)
        for done in (first, second):
            if done.done():
                done.result()  # raises what went wrong
        return await first, await second
    finally:
        for task in (first, second):
            task.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
