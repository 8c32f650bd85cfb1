"""How the store fails."""

from __future__ import annotations


class StoreError(Exception):
    """Any failure of the store; the command was answered with an error."""


class StoreUnavailable(StoreError):
    """The store cannot be reached, or broke while a command was under way: whether it took effect is not known."""


class StoreTimeout(StoreUnavailable):
    """No answer in time; whether the command took effect is not known."""


class StoreNotDurable(StoreUnavailable):
    """A write was made, but was not confirmed to be on disk."""
