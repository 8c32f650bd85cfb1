"""The exception of the standard presence documents."""

from __future__ import annotations


class DocumentError(ValueError):
    """A document that is refused; the text says why, and is fit for an answer to who sent it."""
