"""Which devices a user has, and how each takes messages.

A client of Communicator's family names its endpoint (``epid``) and takes sessions. Every other device is sent single
messages (RFC 3428), unless its Contact lists ``methods`` (RFC 3840) without MESSAGE. Bindings of one instance are one
device; its newest connection is tried first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from parley.proto.registrar.v1.registrar_pb2 import Binding


class Mode(Enum):
    """How a device takes messages."""

    SESSION = "session"
    PAGE = "page"


@dataclass(frozen=True, slots=True)
class Device:
    """One device that can be reached now."""

    mode: Mode
    name: str
    """What it is known by: epid, instance or contact."""
    bindings: tuple[Binding, ...]
    """Ways to it, the newest first."""

    @property
    def contacts(self) -> list[str]:
        """The URIs of its contacts."""
        return [binding.contact for binding in self.bindings]


def devices_of(bindings: Iterable[Binding]) -> list[Device]:
    """The devices that take messages and whose connection is there."""
    found: dict[tuple[Mode, str], list[Binding]] = {}
    for binding in bindings:
        mode = mode_of(binding)
        if mode is None or not binding.edge_address:
            continue
        name = binding.epid or binding.instance or binding.contact
        found.setdefault((mode, name), []).append(binding)
    devices = []
    for (mode, name), ways in found.items():
        ways.sort(key=lambda way: (way.q_milli, way.expires_at_ms), reverse=True)
        devices.append(Device(mode, name, tuple(ways)))
    return devices


def mode_of(binding: Binding) -> Mode | None:
    """How the device of a binding takes messages; None when it takes none."""
    methods = {name.strip().upper() for name in binding.methods.split(",")} if binding.methods else None
    if methods is not None and "MESSAGE" not in methods:
        return None
    if binding.epid:
        return Mode.SESSION if methods is None or "INVITE" in methods else None
    return Mode.PAGE
