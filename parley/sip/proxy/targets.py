"""Where a request may go: targets, and their order (RFC 3261 sections 16.5 and 16.6).

Targets of equal q are tried at once, lower q later. Several flows to one device (RFC 5626 reg-ids of one
instance) are one target with ``alternatives``: the next flow is tried only when the one before failed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Target:
    """One place to send a copy of a request to."""

    uri: str
    """The Request-URI of the copy: the contact that was registered."""
    q: float = 1.0
    route: tuple[str, ...] = ()
    """Route values to put on, first hop first (the Path the contact was registered with, RFC 3327)."""
    flow: Any = None
    """What the shell needs to reach it (a flow token, a resolved next hop); never looked at here."""
    alternatives: tuple[Target, ...] = ()
    """Other flows to the same device, best first, tried one after the other when this one fails."""


def group_targets(targets: Iterable[Target]) -> list[list[Target]]:
    """Sort targets into groups of equal q, highest first. A repeated URI is dropped (section 16.5)."""
    groups: dict[float, list[Target]] = {}
    seen: set[tuple[str, tuple[str, ...]]] = set()
    for target in targets:
        key = (target.uri, target.route)
        if key not in seen:
            seen.add(key)
            groups.setdefault(target.q, []).append(target)
    return [groups[q] for q in sorted(groups, reverse=True)]
