"""What is wrong with a vCard."""

from __future__ import annotations


class VCardError(ValueError):
    """A line or a card that cannot be read; the text says why, and is fit for who wrote the file."""
