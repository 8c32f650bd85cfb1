"""What can be wrong with bytes that should be STUN or TURN."""

from __future__ import annotations


class StunError(Exception):
    """Base of all errors of this package."""


class StunParseError(StunError, ValueError):
    """Bytes that are no well-formed message; the text says why."""
