"""Numbers of MS-TURN: message types, attributes, errors. Source: MS-TURN sections 2.2 and 3, and the drafts it rests on.

They look like those of RFC 8656 and are not: type 0x0004 is Send, NONCE and REALM have each other's number.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

HEADER_SIZE: Final = 20
TRANSACTION_ID_SIZE: Final = 16
MAGIC_COOKIE: Final = b"\x72\xc6\x4b\xc6"
COOKIE_ATTRIBUTE: Final = b"\x00\x0f\x00\x04" + MAGIC_COOKIE
"""The attribute that every message begins with; by it the dialect is known."""
COOKIE_AT: Final = HEADER_SIZE
INTEGRITY_SIZE: Final = 20


class MsType(IntEnum):
    """Message types, the class of the message included."""

    ALLOCATE = 0x0003
    ALLOCATE_RESPONSE = 0x0103
    ALLOCATE_ERROR = 0x0113
    SEND = 0x0004
    DATA = 0x0115
    SET_ACTIVE_DESTINATION = 0x0006
    SET_ACTIVE_DESTINATION_RESPONSE = 0x0106
    SET_ACTIVE_DESTINATION_ERROR = 0x0116


RESPONSE_BITS: Final = 0x0100
ERROR_BITS: Final = 0x0110


class MsAttribute(IntEnum):
    """Attribute types; those below 0x8000 must be understood."""

    MAPPED_ADDRESS = 0x0001
    USERNAME = 0x0006
    MESSAGE_INTEGRITY = 0x0008
    ERROR_CODE = 0x0009
    UNKNOWN_ATTRIBUTES = 0x000A
    LIFETIME = 0x000D
    ALTERNATE_SERVER = 0x000E
    MAGIC_COOKIE = 0x000F
    BANDWIDTH = 0x0010
    DESTINATION_ADDRESS = 0x0011
    REMOTE_ADDRESS = 0x0012
    DATA = 0x0013
    NONCE = 0x0014
    REALM = 0x0015
    REQUESTED_ADDRESS_FAMILY = 0x0017
    MS_VERSION = 0x8008
    XOR_MAPPED_ADDRESS = 0x8020
    MS_SEQUENCE_NUMBER = 0x8050
    MS_SERVICE_QUALITY = 0x8055


KNOWN: Final = frozenset(kind for kind in MsAttribute if kind < 0x8000)
"""What must be understood, and is."""


class MsErrorCode(IntEnum):
    """Error codes; `reason` is the phrase that goes with one."""

    TRY_ALTERNATE = 300
    BAD_REQUEST = 400
    UNAUTHORIZED = 401
    FORBIDDEN = 403
    UNKNOWN_ATTRIBUTE = 420
    STALE_CREDENTIALS = 430
    INTEGRITY_CHECK_FAILURE = 431
    MISSING_USERNAME = 432
    MISSING_REALM = 434
    MISSING_NONCE = 435
    UNKNOWN_USERNAME = 436
    NO_BINDING = 437
    STALE_NONCE = 438
    WRONG_USERNAME = 441
    ALLOCATION_QUOTA_REACHED = 486
    SERVER_ERROR = 500
    INSUFFICIENT_PORT_CAPACITY = 508

    @property
    def reason(self) -> str:
        """The phrase, for people."""
        return self.name.replace("_", " ").capitalize()
