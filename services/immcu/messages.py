"""What a participant is sent of a message that another one said (MS-CONFIM section 3.1.4): pure."""

from __future__ import annotations

from typing import Final
from xml.sax.saxutils import escape, quoteattr

from parley.presence.standard.errors import DocumentError
from parley.presence.standard.multipart import parse_multipart
from parley.proto.immcu.v1 import state_pb2 as pb

IMDN_TYPE: Final = "application/ms-imdn+xml"
_IMDN: Final = "http://schemas.microsoft.com/rtc/2005/08/imdn"
_ALTERNATIVE: Final = "multipart/alternative"

TAKEN: Final = ("text/plain", "text/html", _ALTERNATIVE, "application/im-iscomposing+xml", IMDN_TYPE)
"""Media types that the conferencing server relays."""


def for_session(message: pb.ChatMessage, session: pb.Session) -> tuple[list[tuple[str, str]], bytes]:
    """Headers and body for one participant: in a form that its client takes, and so that it sees who speaks."""
    content_type, body = message.content_type, message.body
    if _bare(content_type) == _ALTERNATIVE and _ALTERNATIVE not in session.accept_types:
        content_type, body = _best_part(content_type, body, session)
    headers = []
    if session.ms_sender:
        headers.append(("Ms-Sender", f"<{message.sender}>"))
    elif _bare(content_type) == "text/plain":
        body = f"{message.sender_name}: ".encode() + body
    headers.append(("Content-Type", content_type))
    return headers, body


def _best_part(content_type: str, body: bytes, session: pb.Session) -> tuple[str, bytes]:
    """The last alternative that a client takes, as the best stands last (RFC 2046 section 5.1.4)."""
    try:
        parts = parse_multipart(body, content_type)
    except DocumentError:
        parts = ()
    if not parts:
        return content_type, body
    fitting = [part for part in parts if _bare(part.content_type or "text/plain") in session.accept_types]
    chosen = (fitting or parts)[-1]
    return chosen.content_type or "text/plain", chosen.body


def report(number: int, failed: list[tuple[str, int, str]], source: str) -> bytes:
    """A delivery report. ``failed``: URI, SIP status and reason for everybody who did not get the message."""
    rows = []
    for uri, status, reason in failed:
        diagnostics = f'6001;source="{source}";reason="{reason}";component="ImMcu"'
        rows.append(
            f"<recipient uri={quoteattr(f'<{uri}>')}><status>{status}</status>"
            f"<entry><key>ms-diagnostics</key><value>{escape(diagnostics)}</value></entry></recipient>"
        )
    return f'<imdn xmlns="{_IMDN}"><message-id>{number}</message-id>{"".join(rows)}</imdn>'.encode()


def _bare(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()
