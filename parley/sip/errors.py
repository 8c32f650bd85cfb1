"""The exceptions of the SIP layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parley.sip.message import Request


class SipError(Exception):
    """Any failure of the SIP layer."""


class SipParseError(SipError):
    """Bytes that are not the SIP they should be.

    ``status`` is what a request like this is answered with, ``reason`` the text for it. ``message`` is what could be read
    of the request, so that it can be answered; None when even that is impossible. ``headers`` go into the answer.
    """

    def __init__(
        self, status: int, reason: str, message: Request | None = None, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(f"{status} {reason}")
        self.status: int = status
        self.reason: str = reason
        self.message: Request | None = message
        self.headers: tuple[tuple[str, str], ...] = headers


class FramingError(SipParseError):
    """A stream whose messages cannot be told apart any more: answer if possible, then close it."""


def interval_too_brief(least_s: int) -> SipParseError:
    """423: a registration, subscription or publication would end too soon (RFC 3261 section 21.4.17)."""
    return SipParseError(423, "Interval Too Brief", headers=(("Min-Expires", str(least_s)),))
