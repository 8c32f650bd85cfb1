"""Whom an MS-TURN server lets in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class MsAccount:
    """What a user name stands for. ``user``: whom quotas and events mean; ``password``: binary; ``expired``: it was good."""

    user: str
    password: bytes = field(repr=False)
    expired: bool


class MsCredentials(Protocol):
    """Finds accounts."""

    def account_of(self, username: bytes, now_unix: float) -> MsAccount | None:
        """The account of a binary user name; None for one that nobody issued. ``now_unix``: seconds since the Unix epoch."""
