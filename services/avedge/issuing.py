"""Issues credentials of the relay: time-limited names for TURN of the RFCs, tokens of MRAS for MS-TURN.

Both are made from keys of the installation alone, so any edge issues them and any edge takes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from prometheus_client import Counter

from parley.mras.tokens import GENERATION_S, Issued, Tokens
from parley.platform.clock import Clock
from parley.platform.keys import derive_key
from parley.stun.turn.credentials import TimeLimitedCredentials

ISSUED: Final = Counter("parley_edge_credentials_issued_total", "Credentials issued, by kind", ["kind"])
MAX_HOURS: Final = GENERATION_S / 3600
_USER_SAFE: Final = "@.+-_~!$&'()*,;="


def mras_key(master_key: bytes) -> bytes:
    """What the tokens of an installation are made with, the same in every process with its master key."""
    return derive_key(master_key, "relay-mras")


@dataclass(frozen=True, slots=True)
class Reach:
    """How clients reach the relay; a port 0 is none. ``https``: for TLS and for the hello that looks like it."""

    host_name: str
    udp: int = 0
    tcp: int = 0
    tls: int = 0
    dtls: int = 0
    https: int = 0

    @property
    def ms_tcp(self) -> int:
        """The port that MS-TURN clients use over TCP."""
        return self.https or self.tcp

    def urls(self) -> tuple[list[str], list[str]]:
        """URLs of STUN (RFC 7064), and of TURN (RFC 7065), those first that are cheapest to use."""
        host = f"[{self.host_name}]" if ":" in self.host_name else self.host_name
        stun = [f"stun:{host}:{self.udp}"] if self.udp else []
        rows = (
            ("turn", self.udp, "udp"), ("turn", self.tcp, "tcp"), ("turns", self.dtls, "udp"), ("turns", self.tls, "tcp"),
            ("turns", self.https, "tcp"),
        )  # fmt: skip
        return stun, [f"{scheme}:{host}:{port}?transport={transport}" for scheme, port, transport in rows if port]


@dataclass(frozen=True, slots=True)
class TurnAccess:
    """Name and password for TURN of the RFCs. ``expires_at``: Unix time."""

    username: str
    password: str
    expires_at: float


class Issuer:
    """Issues to users that somebody else has authenticated."""

    def __init__(
        self, tokens: Tokens, turn: TimeLimitedCredentials, reach: Callable[[], Reach], clock: Clock, *, longest_s: float
    ) -> None:
        """``reach``: asked each time, as ports are known only after the start; ``longest_s``: of any credentials."""
        self._tokens = tokens
        self._turn = turn
        self._reach = reach
        self._clock = clock
        self._longest_s = longest_s

    @property
    def reach(self) -> Reach:
        """How clients reach the relay now."""
        return self._reach()

    def mras(self, user: str, minutes: int) -> tuple[Issued, int]:
        """A token, and the minutes that it is good for; ``minutes`` 0: the most."""
        longest = int(self._longest_s // 60)
        granted = min(minutes, longest) if minutes else longest
        ISSUED.labels("mras").inc()
        return self._tokens.issue(user.lower(), self._clock.wall() + granted * 60), granted

    def turn(self, user: str, seconds: int) -> TurnAccess:
        """A name with its end in it; ``seconds`` 0: the most."""
        longest = int(self._longest_s)
        granted = min(seconds, longest) if seconds else longest
        now = self._clock.wall()
        # The user stands in the name, which the relay tells others of: the address, and nothing that could end the name.
        name, password = self._turn.issue(quote(user.removeprefix("sip:").lower(), safe=_USER_SAFE), now, granted)
        ISSUED.labels("turn").inc()
        return TurnAccess(name, password, int(now) + granted)
