"""What a scheme makes of a header: who somebody says to be, and the proof."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from parley.sipae.acceptor import Established


@dataclass(frozen=True, slots=True)
class Claimed:
    """Who somebody says to be, and the proof, not checked yet."""

    scheme: str
    login: str
    proves: Callable[[bytes], bool]
    """Whether it proves the password with a given NT hash."""
    password: str = ""
    """Of Basic, where it is known in plain."""
    token: bytes = b""
    """Of Kerberos, which says who it is only once it is accepted; ``login`` is empty then."""


@dataclass(frozen=True, slots=True)
class Ticketed:
    """Whom a Kerberos token is from."""

    login: str
    established: Established


def proves_nothing(known: bytes) -> bool:
    """Of claims that no NT hash has to do with."""
    return False
