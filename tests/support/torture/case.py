"""One torture message and what an RFC says of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Verdict(Enum):
    """What an RFC says of a message."""

    VALID = "a request that every parser takes"
    LIBERAL = "a request that is not well-formed; it may be refused with 400, or read as it was meant"
    INVALID = "a request that must be refused"
    RESPONSE = "a response; it belongs to no transaction and is never answered"


@dataclass(frozen=True, slots=True)
class Case:
    """One message."""

    name: str
    """As in the RFC, which is also the name of its file."""
    section: str
    title: str
    verdict: Verdict
    parley: int | None
    """What Parley, as registrar and proxy of example.com, answers a stranger over UDP; None is silence."""
    named: frozenset[int]
    """Statuses that the RFC names for a server in that role; empty when it names none."""
    data: bytes

    @property
    def is_request(self) -> bool:
        """Whether it is meant as a request."""
        return self.verdict is not Verdict.RESPONSE


def read_case(folder: str, name: str, section: str, title: str, verdict: Verdict, parley: int | None, *named: int) -> Case:
    """A case with the bytes of its file, which are sent exactly so."""
    data = (Path(__file__).parent / folder / f"{name}.dat").read_bytes()
    return Case(name, section, title, verdict, parley, frozenset(named), data)
