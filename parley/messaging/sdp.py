"""Session descriptions of sessions of messages: ``m=message ... sip`` (MS-SIP section 2.2; older ``m=x-ms-message``).

They describe no media: messages travel in the dialog itself. A session of MSRP (RFC 4975) has the same media name, but
another protocol, and is none of these.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_MEDIA: Final = ("message", "x-ms-message")
_LINES: Final = 400

ACCEPTED: Final = ("text/plain", "text/html", "multipart/alternative")
"""What is taken from Communicator."""


def offers_messages(body: bytes) -> bool:
    """Whether a body offers a session of messages in the dialog, and nothing else."""
    if b"message" not in body:
        return False
    found = False
    for line in _lines(body):
        if not line.startswith("m="):
            continue
        media, _, rest = line[2:].partition(" ")
        fields = rest.split()
        if media.lower() in _MEDIA and len(fields) >= 2 and fields[1].lower() == "sip":
            found = True
        elif fields[:1] != ["0"]:  # a port of 0 is media that is not wanted
            return False
    return found


def accepted_types(body: bytes) -> tuple[str, ...]:
    """The media types of ``a=accept-types``, in lower case; () when there are none."""
    for line in _lines(body):
        if line.lower().startswith("a=accept-types:"):
            return tuple(dict.fromkeys(line[15:].lower().split()))[:32]
    return ()


def _lines(body: bytes) -> list[str]:
    return [line.rstrip("\r") for line in body.decode("utf-8", "replace").split("\n")[:_LINES]]


def session_description(host: str, accepted: Iterable[str] = ACCEPTED) -> bytes:
    """The offer of a session, or the answer to one; its address is nominal. ``host``: a host name or IPv4 address."""
    return (
        f"v=0\r\no=- 0 0 IN IP4 {host}\r\ns=session\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
        f"m=message 5060 sip null\r\na=accept-types:{' '.join(accepted)}\r\n"
    ).encode()
