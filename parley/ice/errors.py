"""What can be wrong with what a peer says of its candidates, or with how an agent is used."""

from __future__ import annotations


class IceError(Exception):
    """Base of all errors of this package."""


class CandidateParseError(IceError, ValueError):
    """A candidate line that is none; the text says why."""


class CredentialsError(IceError, ValueError):
    """A user fragment or a password that cannot be used; the text says why, and shows neither."""
