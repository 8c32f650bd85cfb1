"""What is refused, with the status and the diagnostics that clients are answered."""

from __future__ import annotations

from dataclasses import dataclass


class PresenceError(Exception):
    """Something a client asked for is refused."""

    status = 400
    error_id = 0
    """Number for ms-diagnostics; 0 where none is known."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        if status:
            self.status = status


class BadDocument(PresenceError):
    """A body that cannot be read, or says what makes no sense."""

    status = 400


class TooLarge(PresenceError):
    """More than the limits allow."""

    status = 413


@dataclass(frozen=True, slots=True)
class WrongVersion:
    """One operation of a request that was made on an old version."""

    index: int
    """Place in the request, from 1."""
    quoted: int
    current: int


class VersionConflict(PresenceError):
    """Operations on old versions; nothing of the request was done."""

    status = 409
    error_id = 2141

    def __init__(self, wrong: list[WrongVersion]) -> None:
        super().__init__("a version is out of date")
        self.wrong = wrong
