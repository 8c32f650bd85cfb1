"""How large a message may be before it is refused."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, counts in header lines and list values."""

    message: int = 65_535
    """Head and body together; above it 513 (RFC 3261 section 21.5.7)."""
    head: int = 32_768
    """The start line and all headers; above it 513."""
    header_lines: int = 256
    """Folds count as lines; above it 513."""
    header_line: int = 8_192
    """One header with its folds, in characters; above it 513."""
    uri: int = 2_048
    """Request-URI; above it 414."""
    body: int = 65_535
    """Above it 413."""
    values: int = 512
    """Comma-separated values of one header, whatever else is configured; above it 400."""


DEFAULT_LIMITS = Limits()
