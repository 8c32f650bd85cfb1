"""What transports hand messages to."""

from __future__ import annotations

from typing import Protocol

from parley.sip.errors import SipParseError
from services.frontend.flows import Flow


class MessageSink(Protocol):
    """The front end behind its transports."""

    def on_message(self, data: bytes, flow: Flow) -> None:
        """One whole message, or what a datagram or frame held."""

    def on_framing_error(self, error: SipParseError, flow: Flow) -> None:
        """A stream cannot be cut into messages; it is closed after this."""

    def on_closed(self, flow: Flow) -> None:
        """A connection ended."""
