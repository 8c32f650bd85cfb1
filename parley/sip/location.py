"""Finding the server of a SIP URI (RFC 3263), without asking DNS itself.

`Locator` says which question comes next and is told the answer; in the end it has an ordered list of endpoints to try.
Random numbers for SRV weights (RFC 2782) come from outside.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from parley.sip.uri import Uri

MAX_ENDPOINTS = 16
"""More are not tried: a zone file cannot make us knock on doors without end."""

_DEFAULT_PORT = {"UDP": 5060, "TCP": 5060, "TLS": 5061}
_NAPTR = {"SIP+D2U": "UDP", "SIP+D2T": "TCP", "SIPS+D2T": "TLS"}
_SRV = {"UDP": "_sip._udp.", "TCP": "_sip._tcp.", "TLS": "_sips._tcp."}


class RecordType(Enum):
    """Kinds of DNS questions."""

    NAPTR = "NAPTR"
    SRV = "SRV"
    ADDRESS = "A/AAAA"


@dataclass(frozen=True)
class Question:
    """What to ask DNS next."""

    kind: RecordType
    name: str


@dataclass(frozen=True)
class NaptrRecord:
    """One NAPTR record (RFC 3403)."""

    order: int
    preference: int
    service: str
    replacement: str


@dataclass(frozen=True)
class SrvRecord:
    """One SRV record (RFC 2782)."""

    priority: int
    weight: int
    port: int
    target: str


@dataclass(frozen=True)
class Endpoint:
    """A server to try."""

    transport: str
    """"UDP", "TCP" or "TLS"."""
    host: str
    """The name that a certificate must show (RFC 5922): that of the URI, not of the SRV target."""
    address: str
    port: int


@dataclass(frozen=True)
class Target:
    """What a URI says of its server."""

    host: str
    port: int | None
    transport: str
    """"" when the URI names none."""
    secure: bool

    @classmethod
    def of(cls, uri: Uri) -> Target:
        """From a sip or sips URI; ``maddr`` counts before the host (RFC 3263 section 4)."""
        host = uri.params.get("maddr") or uri.host
        transport = (uri.params.get("transport") or "").upper()
        return cls(host.strip("[]").lower(), uri.port, transport, uri.scheme == "sips")


class Locator:
    """Walks NAPTR, SRV and address records for one target."""

    def __init__(
        self,
        target: Target,
        transports: Sequence[str] = ("TLS", "TCP", "UDP"),
        *,
        random: Callable[[int], int],
    ) -> None:
        """``transports``: those we can use, the preferred first; ``random(n)``: a number from 0 to n."""
        self._target = target
        self._transports = [name for name in transports if not target.secure or name == "TLS"]
        self._random = random
        self._endpoints: list[Endpoint] = []
        self._srv: list[tuple[str, str]] = []  # transport and name still to be asked
        self._hosts: list[tuple[str, str, int]] = []  # transport, name and port still to be resolved
        self._asked: Question | None = None
        self._begin()

    def _begin(self) -> None:
        target = self._target
        wanted = target.transport
        if wanted == "TLS" or (target.secure and wanted in ("", "TCP")):
            wanted = "TLS"
        if wanted and wanted not in self._transports:
            return
        if _is_address(target.host):
            transport = wanted or ("TLS" if target.secure else "UDP")
            if transport in self._transports:
                port = target.port or _DEFAULT_PORT[transport]
                self._endpoints.append(Endpoint(transport, target.host, target.host, port))
        elif target.port is not None:
            transport = wanted or ("TLS" if target.secure else "UDP")
            if transport in self._transports:
                self._hosts.append((transport, target.host, target.port))
        elif wanted:
            self._srv.append((wanted, _SRV[wanted] + target.host))
        else:
            self._asked = Question(RecordType.NAPTR, target.host)

    @property
    def question(self) -> Question | None:
        """What to ask next; None when all is known."""
        if self._asked is not None:
            return self._asked
        if len(self._endpoints) >= MAX_ENDPOINTS:
            return None
        if self._hosts:
            return Question(RecordType.ADDRESS, self._hosts[0][1])
        if self._srv:
            return Question(RecordType.SRV, self._srv[0][1])
        return None

    @property
    def endpoints(self) -> list[Endpoint]:
        """Where to try, in order; complete once there is no further question."""
        return self._endpoints[:MAX_ENDPOINTS]

    def answer_naptr(self, records: Sequence[NaptrRecord]) -> None:
        """The answer to a NAPTR question; empty when there are none (RFC 3263 section 4.1)."""
        self._asked = None
        usable = [
            (record.order, record.preference, _NAPTR[service], record.replacement.rstrip("."))
            for record in records
            if (service := record.service.upper()) in _NAPTR and _NAPTR[service] in self._transports
        ]
        if usable:
            lowest = min(order for order, _, _, _ in usable)
            usable = sorted(entry for entry in usable if entry[0] == lowest)
            self._srv = [(transport, name) for _, _, transport, name in usable]
        else:
            self._srv = [(transport, _SRV[transport] + self._target.host) for transport in self._transports]

    def answer_srv(self, records: Sequence[SrvRecord]) -> None:
        """The answer to an SRV question; empty when there are none."""
        transport, _ = self._srv.pop(0)
        for record in order_srv(records, self._random):
            if record.target.rstrip("."):
                self._hosts.append((transport, record.target.rstrip(".").lower(), record.port))
        if not records and not self._srv and not self._hosts and not self._endpoints:
            # No SRV at all: address records of the name itself (section 4.2).
            last = self._target.transport or ("TLS" if self._target.secure else "UDP")
            if last in self._transports:
                self._hosts.append((last, self._target.host, _DEFAULT_PORT[last]))

    def answer_addresses(self, addresses: Sequence[str]) -> None:
        """The answer to an address question, IPv4 and IPv6 in the order to be tried."""
        transport, _, port = self._hosts.pop(0)
        self._endpoints += [Endpoint(transport, self._target.host, address, port) for address in addresses]


def order_srv(records: Sequence[SrvRecord], random: Callable[[int], int]) -> list[SrvRecord]:
    """Records by priority, within one priority drawn by weight (RFC 2782, "Usage rules")."""
    ordered: list[SrvRecord] = []
    for priority in sorted({record.priority for record in records}):
        group = sorted((record for record in records if record.priority == priority), key=lambda r: r.weight)
        while group:
            total = sum(record.weight for record in group)
            pick = random(total) if total else 0
            running = 0
            for record in group:
                running += record.weight
                if running >= pick:
                    ordered.append(record)
                    group.remove(record)
                    break
    return ordered


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
