"""A directory server that is a list: what Active Directory tells, and counts changes as it does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, cast
from uuid import UUID

from services.addressbook.directory.config import LdapConfig
from services.addressbook.directory.ldap.client import LdapClient, LdapSession, RawEntry
from services.addressbook.directory.ldap.mapping import Mapping

BASE = "DC=example,DC=test"
PERSON = ["top", "person", "organizationalPerson", "user"]


class ActiveDirectory(LdapClient):
    """The server, and the client that asks it."""

    def __init__(self, name: str = "main", **values: Any) -> None:
        usual = {"url": "ldaps://dc.example.test", "base": BASE, "domain": "example.test", "login_domain": "EXAMPLE"}
        super().__init__(name, LdapConfig(**{**usual, **values}))
        self.entries: dict[UUID, RawEntry] = {}
        self.nameless: list[RawEntry] = []
        """Entries whose objectGUID cannot be read."""
        self.usn = 1_000
        self.asked: list[str] = []
        """Filters, the last ones at the end."""

    def put(self, id: UUID, name: str, **attributes: str | list[str]) -> None:
        """Keeps an entry as it is to be; a person, unless ``objectClass`` says something else."""
        self.usn += 1
        values = {"objectClass": PERSON, "cn": name, "displayName": name, "uSNChanged": str(self.usn), **attributes}
        found = {
            key.replace("_", "-").lower(): [item.encode() for item in ([value] if isinstance(value, str) else value)]
            for key, value in values.items()
        }
        self.entries[id] = RawEntry(f"CN={name},{BASE}", {**found, "objectguid": [id.bytes_le]})

    def pages(self, filter: str) -> list[RawEntry]:
        """Those who fit the part of a filter that is not the configuration's."""
        self.asked.append(filter)
        found = self.entries
        since = re.search(r"uSNChanged>=(\d+)", filter)
        if since is not None:
            found = {id: raw for id, raw in found.items() if int(raw.text("uSNChanged")) >= int(since[1])}
        if "objectGUID=" in filter:
            mapping = Mapping(self.source, self.config)
            found = {id: raw for id, raw in found.items() if str(mapping.equals(id)) in filter}
        return [*found.values(), *self.nameless]

    def session(self) -> LdapSession:
        """Asks the list."""
        return cast(LdapSession, _Session(self))


class _Session:
    def __init__(self, server: ActiveDirectory) -> None:
        self._server = server

    def root(self, names: Sequence[str]) -> RawEntry:
        """What counts the changes."""
        usn = str(self._server.usn).encode()
        return RawEntry("", {"dsservicename": [b"CN=DC1"], "highestcommittedusn": [usn]})

    def pages(self, filter: str, names: Sequence[str]) -> Iterator[list[RawEntry]]:
        """One page, or none."""
        page = self._server.pages(filter)
        if page:
            yield page

    def close(self) -> None:
        """Nothing is open."""
