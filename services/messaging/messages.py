"""A message on its way: a MESSAGE request of page mode, whatever it came in as (RFC 3428)."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import formatdate
from secrets import token_hex
from typing import Final

from parley.messaging.content import Content
from parley.sip.message import Request
from parley.sip.params import quote

_OF_THE_HOP: Final = (
    "Via", "Route", "Record-Route", "Authorization", "Proxy-Authorization", "Proxy-Require", "Traceparent", "X-Traceparent",
    "Contact", "Max-Breadth", "Supported",
)  # fmt: skip
"""What belongs to the way a request came by, not to the message."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message from one user to another."""

    sender: str
    """Address of record."""
    recipient: str
    request: Request
    """As it will be sent to phones: without Via, its Request-URI put in for each device."""
    sender_name: str = ""
    traceparent: str = ""

    @property
    def content(self) -> Content:
        """What it says."""
        return Content(self.request.get("Content-Type") or "", self.request.body)

    @property
    def call_id(self) -> str:
        """The Call-ID it is known by."""
        return self.request.get("Call-ID") or ""


def of_request(request: Request, sender: str, recipient: str, sender_name: str, now: float, traceparent: str) -> Message:
    """A message that came as a MESSAGE of its own; it gets a Date unless it has one. ``now``: seconds since 1970."""
    page = request.copy()
    for name in _OF_THE_HOP:
        page.remove(name)
    if "Date" not in page:
        page.set("Date", formatdate(now, usegmt=True))
    return Message(sender, recipient, page, sender_name, traceparent)


def new_message(
    sender: str, recipient: str, content: Content, now: float, *, sender_name: str = "", traceparent: str = ""
) -> Message:
    """A message that is sent here for a user. ``now``: seconds since 1970."""
    host = sender.rpartition("@")[2]
    headers = [
        ("Max-Forwards", "70"),
        ("From", f"{party(sender, sender_name)};tag={token_hex(6)}"),
        ("To", f"<{recipient}>"),
        ("Call-ID", f"{token_hex(12)}@{host}"),
        ("CSeq", "1 MESSAGE"),
        ("Date", formatdate(now, usegmt=True)),
        ("P-Asserted-Identity", party(sender, sender_name)),
        ("Content-Type", content.content_type),
    ]
    request = Request.create("MESSAGE", recipient, headers=headers, body=content.body)
    return Message(sender, recipient, request, sender_name, traceparent)


def party(aor: str, name: str) -> str:
    """An address with its display name."""
    return f"{quote(name)} <{aor}>" if name else f"<{aor}>"
