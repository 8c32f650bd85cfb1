"""What a message cannot be; each error is a SIP answer."""

from __future__ import annotations

from typing import Final

from parley.sip.errors import SipError

TEXT_TYPES: Final = ("text/plain", "text/html", "multipart/alternative", "message/cpim")
"""What is turned into what another client takes."""


class MessagingError(SipError):
    """A message, or a request about messages, that is refused."""

    def __init__(self, status: int, reason: str, *headers: tuple[str, str]) -> None:
        """``reason``: the reason phrase; ``headers`` of the answer."""
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers


class UnsupportedContent(MessagingError):
    """415: neither side's format can be made of it."""

    def __init__(self) -> None:
        super().__init__(415, "Unsupported Media Type", ("Accept", ", ".join(TEXT_TYPES)))
