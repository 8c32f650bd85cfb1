"""The installation that is measured, with users of its own and addresses to call from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

from tests.support.cluster import Cluster
from tests.support.cluster_install import Installation
from tests.support.cluster_people import People, places

USERS = 1000


@dataclass
class Site:
    """What every measurement is given."""

    parley: Installation
    addresses: list[str]
    users: list[str]
    figures: dict[str, Any] = field(default_factory=dict)
    """What was measured, for programs; names say the unit."""

    def people(self, first: int = 0) -> People:
        """Makes phones of users from that one on, with books of their own."""
        return People(self.parley, self.addresses, iter(self.users[first:]))

    @classmethod
    @contextmanager
    def found(cls) -> Iterator[Site]:
        """The installation in the running cluster. Raises AssertionError without one."""
        parley = Installation.found(Cluster.running())
        parley.sound()
        run = token_hex(3)
        users = [f"s{run}x{number}" for number in range(USERS)]
        parley.make_users(users)
        with places(parley.cluster) as addresses:
            yield cls(parley, addresses, users)
