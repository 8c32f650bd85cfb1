"""Frames that carry MS-TURN over TCP (MS-TURN section 2.1): a type, a zero, a length of two bytes, and so many bytes."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from parley.stun.errors import StunParseError

HEAD_SIZE: Final = 4
MAX_PAYLOAD: Final = 0xFFFF


class FrameType(IntEnum):
    """What a frame carries."""

    CONTROL = 2
    """A message."""
    DATA = 3
    """Payload to or from the active destination, a piece of a stream."""


class Frame(NamedTuple):
    """One frame."""

    kind: FrameType
    payload: bytes


def encode_frame(kind: FrameType, payload: bytes) -> bytes:
    """One frame; ``payload`` has at most 65,535 bytes."""
    return bytes((kind, 0)) + len(payload).to_bytes(2, "big") + payload


def encode_data(payload: bytes) -> bytes:
    """As many frames of data as a piece of a stream takes."""
    return b"".join(
        encode_frame(FrameType.DATA, payload[start : start + MAX_PAYLOAD]) for start in range(0, len(payload), MAX_PAYLOAD)
    )


class FrameReader:
    """Frames out of the bytes of a connection."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are whole now. Raises StunParseError for what is no frame: the connection is to be closed."""
        buffer = self._buffer
        buffer += data
        frames: list[Frame] = []
        start = 0
        while len(buffer) - start >= HEAD_SIZE:
            if buffer[start] not in (FrameType.CONTROL, FrameType.DATA) or buffer[start + 1]:
                raise StunParseError(f"a frame begins with {buffer[start : start + 2].hex()}")
            end = start + HEAD_SIZE + int.from_bytes(buffer[start + 2 : start + 4], "big")
            if end > len(buffer):
                break
            frames.append(Frame(FrameType(buffer[start]), bytes(buffer[start + HEAD_SIZE : end])))
            start = end
        del buffer[:start]
        return frames

    @property
    def waiting(self) -> int:
        """Bytes of a frame that is not whole yet."""
        return len(self._buffer)
