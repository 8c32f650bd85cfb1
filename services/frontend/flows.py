"""Flows: the connections and UDP associations over which clients are reached (RFC 5626).

A flow has a number that is unique for the life of the front end's uid, restarts included. A UDP flow over IPv4 is its own
address: the number holds it, so such a flow outlives a restart. Others end with their connection.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
from hashlib import blake2s
from itertools import count
from secrets import token_bytes
from typing import Final

from mypy_extensions import mypyc_attr
from prometheus_client import Gauge

from services.frontend.sealing import Seal

_FLOWS = Gauge("parley_frontend_flows", "Connections and UDP associations, by transport", ["transport"])

UDP_BIT: Final = 1 << 63

_TAG_KEY: Final = token_bytes(32)
_tags: Final = count(1)


@mypyc_attr(allow_interpreted_subclasses=True)
class Flow:
    """One connection or UDP association. Those of streams are protocols of asyncio, which cannot be compiled."""

    __slots__ = (
        "aors", "connection_id", "key", "last_seen", "local", "registered_key", "reliable", "remote", "seal", "seen_first",
        "silent", "tls", "transport", "trusted",
    )  # fmt: skip

    def __init__(
        self,
        connection_id: int,
        transport: str,
        remote: tuple[str, int],
        local: tuple[str, int],
        *,
        trusted: bool = False,
    ) -> None:
        self.connection_id = connection_id
        self.transport = transport
        """"UDP", "TCP", "TLS", "WS" or "WSS"."""
        self.remote = remote
        self.local = local
        self.reliable = transport != "UDP"
        self.trusted = trusted
        """A server that showed a certificate we trust."""
        self.key: Hashable = connection_id
        self.seal: Seal | None = None
        """Signs what is sent, once the client has a security association (MS-SIPAE)."""
        self.silent = False
        """The client sends keep-alives that want no answer."""
        self.aors: set[str] = set()
        """Addresses of record registered over it."""
        self.last_seen = 0.0
        self.seen_first = 0.0

    def send(self, data: bytes) -> bool:
        """Writes a message; False when the flow is gone."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends the connection; a UDP association has none."""

    @staticmethod
    def new_tag() -> str:
        """A tag for To: unique, and not to be guessed from another (RFC 3261 section 19.3)."""
        return blake2s(next(_tags).to_bytes(8, "big"), key=_TAG_KEY, digest_size=6).hexdigest()

    def towards(self, host: str, port: int) -> int:
        """Number of the flow by which another port of the same client is reached; of this one where there is none."""
        return self.connection_id

    @property
    def source(self) -> str:
        """Where it comes from, "ip:port"."""
        host, port = self.remote
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Flows:
    """All flows of this front end, by number."""

    def __init__(self, *, wall: Callable[[], float] = time.time) -> None:
        self._by_id: dict[int, Flow] = {}
        self.first_id: Final = (int(wall()) & 0x7FFFFFFF) << 31
        """Numbers of connections of this run begin here; lower ones ended with the run before."""
        self._ids = count(self.first_id)
        self._restore: Callable[[int], Flow | None] = lambda _: None
        self._counts = {name: _FLOWS.labels(name) for name in ("UDP", "TCP", "TLS", "WS", "WSS")}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Flow]:
        return iter(list(self._by_id.values()))

    def next_id(self) -> int:
        """A number for a new connection."""
        return next(self._ids)

    def restore_udp_with(self, restore: Callable[[int], Flow | None]) -> None:
        """Sets what makes a UDP flow of its number."""
        self._restore = restore

    def add(self, flow: Flow) -> None:
        """Takes a flow in."""
        self._by_id[flow.connection_id] = flow
        self._counts[flow.transport].inc()

    def remove(self, flow: Flow) -> None:
        """Forgets a flow."""
        if self._by_id.pop(flow.connection_id, None) is not None:
            self._counts[flow.transport].dec()

    def get(self, connection_id: int) -> Flow | None:
        """The flow of a number; None when it is gone."""
        flow = self._by_id.get(connection_id)
        if flow is None and connection_id & UDP_BIT:
            flow = self._restore(connection_id)
        return flow
