"""How the store fails."""

from __future__ import annotations

from typing import Final

_NOT_SERVING: Final = (
    "BUSY ", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "READONLY", "TRYAGAIN",
)  # fmt: skip


class StoreError(Exception):
    """Any failure of the store; the command was answered with an error."""


class StoreUnavailable(StoreError):
    """The store cannot be reached or does not serve now.

    When a connection broke while a command was under way, whether the command took effect is not known; nothing is sent
    again behind the caller's back then.
    """


class StoreTimeout(StoreUnavailable):
    """No answer in time; whether the command took effect is not known."""


class StoreNotDurable(StoreUnavailable):
    """A write was made, but was not confirmed to be on disk."""


def error_of_reply(text: str) -> StoreError:
    """The exception for an error reply, as "WRONGTYPE ..."; a server that cannot serve now is unavailable."""
    return StoreUnavailable(text) if text.startswith(_NOT_SERVING) else StoreError(text)
