"""Messages as clients and phones of a test send and get them: single ones, and sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from secrets import token_hex
from typing import Any

from parley.messaging.sdp import offers_messages, session_description
from parley.sip.message import Request, Response
from tests.support.ocs_client import OcsClient
from tests.support.sip_client import DOMAIN, SipClient

SDP = session_description("192.0.2.5")
TEXT = (("Content-Type", "text/plain; charset=UTF-8"),)


async def phone(ports: Mapping[str, int], user: str, transport: str = "udp", **register: Any) -> SipClient:
    """A registered phone."""
    made = await SipClient(user, transport=transport).connect(ports[transport])
    assert (await made.register(**register)).status == 200
    return made


async def client(ports: Mapping[str, int], user: str, epid: str = "") -> OcsClient:
    """A Communicator that has signed in; another endpoint each time, as sessions outlive connections."""
    made = await OcsClient(user, epid=epid or token_hex(6)).connect(ports["tcp"])
    assert (await made.sign_in(domain="")).status == 200
    return made


async def gone(*users: SipClient) -> None:
    """Signs out."""
    for user in users:
        if isinstance(user, OcsClient):
            await user.abort()
        else:
            assert (await user.register(contact="*", expires=0)).status == 200
            user.close()
    await asyncio.sleep(0.3)


def page(sender: SipClient, to: str, body: bytes, headers: Iterable[tuple[str, str]] = TEXT) -> Request:
    """A single message."""
    return sender.request("MESSAGE", f"sip:{to}@{DOMAIN}", headers=headers, body=body)


async def paged(receiver: SipClient, status: int = 200) -> Request:
    """The next single message, answered."""
    message = await receiver.expect("MESSAGE")
    receiver.answer(message, status)
    return message


class Talk:
    """A session, at its client."""

    def __init__(
        self, owner: OcsClient, target: str, call_id: str, own_tag: str, other: str, cseq: int, routes: Iterable[str] = ()
    ) -> None:
        self.routes = [("Route", route) for route in routes]
        self.owner, self.target, self.call_id, self.own_tag, self.other, self.cseq = (
            owner, target, call_id, own_tag, other, cseq
        )  # fmt: skip

    async def say(self, method: str, body: bytes, content_type: str = "text/plain; charset=UTF-8;msgr=WAA") -> Response:
        """A request in it."""
        self.cseq += 1
        request = self.owner.request(
            method, self.target, headers=[*self.routes, ("Content-Type", content_type)], body=body, call_id=self.call_id,
            cseq=self.cseq,
            from_tag=self.own_tag,
        )  # fmt: skip
        request.set("From", f"<sip:{self.owner.user}@{DOMAIN}>;tag={self.own_tag};epid={self.owner.epid}")
        request.set("To", self.other)
        return await self.owner.ask_signed(request)


async def begin(owner: OcsClient, to: str) -> Talk | Response:
    """A session that the client begins; the answer when it is none."""
    headers = [("Content-Type", "application/sdp"), ("Contact", f"<{owner.contact}>"), ("Supported", "ms-sender")]
    invite = owner.ocs_request("INVITE", f"sip:{to}@{DOMAIN}", headers=headers, body=SDP)
    answer = await owner.ask_signed(invite)
    if answer.status != 200:
        return answer
    assert offers_messages(answer.body)
    assert "ms-text-format" not in (answer.get("Supported") or "")
    contacts = answer.contacts
    assert isinstance(contacts, list)
    routes = reversed(answer.values("Record-Route"))
    talk = Talk(
        owner,
        contacts[0].uri_text,
        invite.call_id,
        invite.from_tag or "",
        answer.get("To") or "",
        invite.cseq.number,
        routes,
    )
    ack = owner.request(
        "ACK", talk.target, call_id=invite.call_id, cseq=talk.cseq, from_tag=talk.own_tag, headers=talk.routes
    )
    ack.set("To", talk.other)
    owner.send(bytes(owner.sign(ack)))
    return talk


async def accept(owner: OcsClient) -> Talk:
    """The session that the server begins, taken."""
    invite = await owner.expect("INVITE")
    assert owner.is_signed(invite)
    assert offers_messages(invite.body)
    contacts = invite.contacts
    assert isinstance(contacts, list)
    accept_ = [("Content-Type", "application/sdp")]
    owner.answer(invite, 200, to_tag="c", headers=accept_, body=SDP)
    await owner.expect("ACK")
    return Talk(owner, contacts[0].uri_text, invite.call_id, "c", invite.get("From") or "", 0)


async def said(owner: OcsClient, status: int = 200) -> Request:
    """The next message in a session, answered."""
    message = await owner.expect("MESSAGE")
    assert owner.is_signed(message)
    owner.answer(message, status)
    return message
