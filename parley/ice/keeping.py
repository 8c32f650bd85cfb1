"""Keeping selected pairs: consent is asked for anew (RFC 7675), or in old dialects indications keep bindings open."""

from __future__ import annotations

from dataclasses import dataclass

from parley.ice.candidates import Dialect
from parley.ice.transactions import Timing
from parley.ice.wire import WireForm, encode_keepalive


@dataclass(slots=True)
class _Kept:
    due_at: float
    expires_at: float


class Keeper:
    """Knows when. ``asks``: consent is asked for, not just indicated."""

    def __init__(self, dialect: Dialect, timing: Timing) -> None:
        self.asks = dialect is Dialect.RFC
        self._timing = timing
        self._kept: dict[int, _Kept] = {}

    def keep(self, component: int, now: float) -> None:
        """A pair was selected; its check has given consent."""
        wait = self._timing.consent if self.asks else self._timing.keepalive
        self._kept[component] = _Kept(now + wait, now + self._timing.consent_limit)

    def stop(self) -> None:
        """Keeps nothing any more."""
        self._kept.clear()

    def answered(self, component: int, now: float) -> None:
        """The peer still wants to receive."""
        kept = self._kept.get(component)
        if kept is not None:
            kept.expires_at = now + self._timing.consent_limit

    def expired(self, now: float) -> list[int]:
        """Components whose consent has gone; they are not kept any more."""
        gone = [component for component, kept in self._kept.items() if self.asks and kept.expires_at <= now]
        for component in gone:
            del self._kept[component]
        return gone

    def due(self, now: float) -> list[int]:
        """Components whose pairs are to be kept now."""
        return [component for component, kept in self._kept.items() if kept.due_at <= now]

    def asked(self, component: int, next_at: float) -> None:
        """It was done; it is due again then."""
        self._kept[component].due_at = next_at

    def indication(self, form: WireForm) -> bytes:
        """What is sent where nothing is asked."""
        return encode_keepalive(form)

    @property
    def deadlines(self) -> list[float]:
        """When `due` has something."""
        return [min(kept.due_at, kept.expires_at) if self.asks else kept.due_at for kept in self._kept.values()]
