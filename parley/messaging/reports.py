"""Reports of what became of a message, asked for in its envelope (RFC 5438), as made by a server in between.

A server reports for a recipient only what the recipient's own device cannot: delivery to a client that has no reports
(section 9 of the RFC: a gateway), failure, and that a message is kept for later.
"""

from __future__ import annotations

from dataclasses import dataclass

from parley.messaging.content import Content
from parley.messaging.cpim import CONTENT_TYPE as CPIM_TYPE
from parley.messaging.cpim import CpimMessage, Header, build_cpim, parse_cpim
from parley.messaging.imdn import CONTENT_TYPE as IMDN_TYPE
from parley.messaging.imdn import CPIM_NS, Imdn, Wanted, build_imdn, wanted_by
from parley.presence.standard.errors import DocumentError
from parley.presence.standard.tree import read_time, write_time


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """The reports that the sender of a message wants."""

    message_id: str
    wanted: frozenset[Wanted]
    sent_at: float | None
    sender: str
    """The URI in From of the envelope."""
    recipient: str
    """The URI in To of the envelope."""


def reports_wanted(content: Content) -> ReportRequest | None:
    """What reports a message asks for; None when it asks for none. A broken envelope asks for none."""
    if content.kind != CPIM_TYPE:
        return None
    try:
        message = parse_cpim(content.body)
    except DocumentError:
        return None
    message_id, wanted = wanted_by(message)
    if not wanted or is_report(message):
        return None
    sender, recipient = message.address("From"), message.address("To")
    return ReportRequest(
        message_id, wanted, read_time(message.get("DateTime")), sender.uri_text if sender is not None else "",
        recipient.uri_text if recipient is not None else "",
    )  # fmt: skip


def is_report(message: CpimMessage) -> bool:
    """Whether an envelope holds a report: those are never reported on (RFC 5438 section 7.1.1.2)."""
    return message.content_type.partition(";")[0].strip().lower() == IMDN_TYPE


def holds_report(content: Content) -> bool:
    """Whether a message is a report."""
    if content.kind == IMDN_TYPE:
        return True
    if content.kind != CPIM_TYPE:
        return False
    try:
        return is_report(parse_cpim(content.body))
    except DocumentError:
        return False


def build_report(
    request: ReportRequest, *, stored: bool = False, delivered: bool = False, now: float, own_id: str
) -> Content:
    """A report in its envelope: that a message is stored, was delivered, or else that it failed.

    ``now``: seconds since 1970; ``own_id``: the Message-ID of the report itself.
    """
    imdn = Imdn(
        request.message_id,
        "processing" if stored else "delivery",
        "stored" if stored else "delivered" if delivered else "failed",
        sent_at=request.sent_at,
        recipient=request.recipient,
        original_recipient=request.recipient,
    )
    headers = [
        Header("From", f"<{request.recipient}>"), Header("To", f"<{request.sender}>"), Header("DateTime", write_time(now)),
        Header("Message-ID", own_id, CPIM_NS),
    ]  # fmt: skip
    content_headers = (("Content-Type", IMDN_TYPE), ("Content-Disposition", "notification"))
    return Content(CPIM_TYPE, build_cpim(CpimMessage(tuple(headers), content_headers, build_imdn(imdn))))


def wants(request: ReportRequest | None, *, stored: bool = False, delivered: bool = False) -> bool:
    """Whether that report was asked for."""
    if request is None:
        return False
    kind: Wanted = "processing" if stored else "positive-delivery" if delivered else "negative-delivery"
    return kind in request.wanted
