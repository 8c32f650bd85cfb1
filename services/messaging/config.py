"""Configuration of the messaging service."""

from __future__ import annotations

from pydantic import Field

from parley.platform.config import Section


class MessagingConfig(Section):
    """Instant messages."""

    max_message_bytes: int = Field(default=65_536, ge=1_300, le=262_144, description="Largest body of a message")
    session_idle_seconds: int = Field(
        default=600, ge=5, description="Silence after which a session with a client is ended; the next message opens another"
    )
    max_sessions: int = Field(default=64, ge=1, le=1_000, description="Sessions of one user with others' phones")
    answer_seconds: float = Field(
        default=20.0,
        gt=0,
        le=25,
        description="Longest wait for a device before a message is stored; a front end waits for half a minute",
    )
    max_stored: int = Field(default=100, ge=0, le=1_000, description="Messages kept for a user who is not there; 0: none")
    max_stored_bytes: int = Field(default=1_048_576, ge=0, description="Bytes of messages kept for a user who is not there")
    keep_hours: float = Field(default=168.0, gt=0, description="Longest time that a message is kept")
    retry_seconds: float = Field(
        default=60.0, ge=0.1, description="Time between attempts when a device is there and does not take what was kept"
    )
    sign_in_seconds: float = Field(
        default=0.5, ge=0, description="Time that a device is given after it signed in, before it is sent what was kept"
    )
