"""ChannelData messages (RFC 8656 section 12.4).

Numbers up to 0x7FFF are taken, as RFC 5766 section 11 had it: clients of its time, coturn's among them, choose any of those.
Parley's own client stays below 0x5000.
"""

from __future__ import annotations

from typing import Final

from parley.stun.errors import StunParseError

FIRST_CHANNEL: Final = 0x4000
LAST_CHANNEL: Final = 0x7FFF
LAST_CHOSEN: Final = 0x4FFF
"""The last one that a client of today chooses."""


def encode_channel_data(channel: int, payload: bytes, *, padded: bool) -> bytes:
    """One message. ``padded``: to four bytes, as streams need it."""
    head = channel.to_bytes(2, "big") + len(payload).to_bytes(2, "big")
    return head + payload + b"\0" * (-len(payload) & 3) if padded else head + payload


def decode_channel_data(data: bytes) -> tuple[int, bytes]:
    """Channel and payload of one message; what follows the payload is padding. Raises StunParseError."""
    if len(data) < 4:
        raise StunParseError(f"channel data has {len(data)} bytes, its head alone has 4")
    channel = int.from_bytes(data[:2], "big")
    size = int.from_bytes(data[2:4], "big")
    if not FIRST_CHANNEL <= channel <= LAST_CHANNEL:
        raise StunParseError(f"0x{channel:04x} is no channel")
    if len(data) < 4 + size:
        raise StunParseError(f"channel data says it has {size} bytes and has {len(data) - 4}")
    return channel, data[4 : 4 + size]
