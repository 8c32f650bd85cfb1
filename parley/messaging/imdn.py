"""What became of a message: disposition notifications (RFC 5438), and the request for them in a CPIM message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from parley.messaging.cpim import CpimMessage
from parley.presence.standard.errors import DocumentError
from parley.presence.standard.tree import add, elements, new_root, read_root, read_time, write_time
from parley.xml import child, local_name, text_of, to_bytes

IMDN_NS: Final = "urn:ietf:params:xml:ns:imdn"
CPIM_NS: Final = "urn:ietf:params:imdn"
CONTENT_TYPE: Final = "message/imdn+xml"

Kind = Literal["delivery", "processing", "display"]
Status = Literal["delivered", "failed", "processed", "stored", "displayed", "forbidden", "error"]
Wanted = Literal["positive-delivery", "negative-delivery", "processing", "display"]

_WHAT = "disposition notification"
_STATUSES: Final[dict[Kind, tuple[Status, ...]]] = {
    "delivery": ("delivered", "failed", "forbidden", "error"),
    "processing": ("processed", "stored", "forbidden", "error"),
    "display": ("displayed", "forbidden", "error"),
}
_WANTED: Final[tuple[Wanted, ...]] = ("positive-delivery", "negative-delivery", "processing", "display")


@dataclass(frozen=True, slots=True)
class Imdn:
    """What became of one message for one recipient; ``sent_at`` is when the message was sent, seconds since 1970."""

    message_id: str
    kind: Kind
    status: Status
    sent_at: float | None = None
    recipient: str = ""
    original_recipient: str = ""
    subject: str = ""


def parse_imdn(data: bytes) -> Imdn:
    """Reads a notification. Raises DocumentError."""
    root = read_root(data, _WHAT, "imdn", IMDN_NS)
    message_id = text_of(child(root, "message-id"))
    if not message_id:
        raise DocumentError(f"{_WHAT}: no message-id")
    for kind, known in _STATUSES.items():
        found = child(root, f"{kind}-notification")
        if found is None:
            continue
        status = child(found, "status")
        name = next((local_name(element) for element in elements(status)), "") if status is not None else ""
        if name not in known:
            raise DocumentError(f"{_WHAT}: no known status")
        return Imdn(
            message_id=message_id,
            kind=kind,
            status=name,
            sent_at=read_time(text_of(child(root, "datetime"))),
            recipient=text_of(child(root, "recipient-uri")),
            original_recipient=text_of(child(root, "original-recipient-uri")),
            subject=text_of(child(root, "subject")),
        )
    raise DocumentError(f"{_WHAT}: neither of delivery nor of processing nor of display")


def build_imdn(imdn: Imdn) -> bytes:
    """Writes a notification. Raises DocumentError for a status that its kind does not have."""
    if imdn.status not in _STATUSES[imdn.kind]:
        raise DocumentError(f"{_WHAT}: no known status")
    root = new_root("imdn", IMDN_NS)
    add(root, "message-id", imdn.message_id)
    if imdn.sent_at is not None:
        add(root, "datetime", write_time(imdn.sent_at))
    for name, text in (
        ("recipient-uri", imdn.recipient),
        ("original-recipient-uri", imdn.original_recipient),
        ("subject", imdn.subject),
    ):
        if text:
            add(root, name, text)
    add(add(add(root, f"{imdn.kind}-notification"), "status"), imdn.status)
    return to_bytes(root)


def wanted_by(message: CpimMessage) -> tuple[str, frozenset[Wanted]]:
    """The Message-ID of a CPIM message and the notifications its sender wants; none without a Message-ID."""
    message_id = message.get("Message-ID", CPIM_NS)
    listed = {part.strip().lower() for part in message.get("Disposition-Notification", CPIM_NS).split(",")}
    wanted = frozenset(name for name in _WANTED if message_id and name in listed)
    return message_id, wanted
