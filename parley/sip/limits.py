"""How large a message may be before it is refused."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Sizes in bytes, counts in header lines and list values."""

    message: int = 65_535
    """Head and body together; above it 513 (RFC 3261 section 21.5.7)."""
    head: int = 32_768
    header_lines: int = 256
    header_line: int = 8_192
    uri: int = 2_048
    """Request-URI; above it 414."""
    body: int = 65_535
    """Above it 413."""
    values: int = 512
    """Comma-separated values of one header."""


DEFAULT_LIMITS = Limits()
