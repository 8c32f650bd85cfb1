"""What is asked of a directory server until all is told, and what is not taken for all."""

from __future__ import annotations

from typing import Any

import ldap3
import pytest

from services.addressbook.directory.config import LdapConfig
from services.addressbook.directory.ldap.client import LdapError, LdapSession

BASE = "DC=example,DC=test"
PAGED = "1.2.840.113556.1.4.319"
TEAM = f"CN=Team,{BASE}"


class Connection:
    """A server that tells three entries in pages of two, and values of the team by thousands."""

    def __init__(self, members: int = 2_500) -> None:
        self.members = [f"CN={number}".encode() for number in range(members)]
        self.response: list[dict[str, Any]] = []
        self.result: dict[str, Any] = {}
        self.asked: list[list[str]] = []
        self.fails_at = ""
        self.leaves_out = ""

    def search(
        self,
        base: str,
        filter: str,
        scope: str,
        *,
        attributes: list[str],
        paged_size: int | None,
        paged_cookie: bytes | None,
    ) -> None:
        """Answers."""
        self.asked.append(attributes)
        self.result = {"result": 0, "description": "success", "message": "", "controls": {}}
        if attributes[0] == self.fails_at:
            self.response, self.result = [], {"result": 51, "description": "busy", "message": ""}
        elif scope == ldap3.BASE:
            values = (
                {} if attributes[0] == self.leaves_out else self._part(int(attributes[0].partition("=")[2].rstrip("-*")))
            )
            self.response = [self._entry(TEAM, values)]
        else:
            entries = [self._entry(TEAM, self._part(0)), self._entry(f"CN=A,{BASE}", {}), self._entry(f"CN=B,{BASE}", {})]
            begin = int(paged_cookie or 0)
            assert paged_size == 2
            self.response = [{"type": "searchResRef"}, *entries[begin : begin + 2]]
            cookie = b"2" if begin == 0 else b""
            self.result["controls"] = {PAGED: {"value": {"cookie": cookie}}}

    def _part(self, begin: int) -> dict[str, list[bytes]]:
        end = begin + 1_000
        last = str(end - 1) if end < len(self.members) else "*"
        return {"member": [], f"member;range={begin}-{last}": self.members[begin:end]}

    def _entry(self, dn: str, values: dict[str, list[bytes]]) -> dict[str, Any]:
        return {"type": "searchResEntry", "dn": dn, "raw_attributes": {"cn": [dn.encode()], **values}}


def session(connection: Connection) -> LdapSession:
    """What asks it."""
    return LdapSession(connection, LdapConfig(url="ldaps://dc.example.test", base=BASE, page_size=2))


def test_pages_and_values_that_are_told_in_parts_are_put_together() -> None:
    connection = Connection()
    pages = list(session(connection).pages("(cn=*)", ["cn", "member"]))
    assert [[entry.dn for entry in page] for page in pages] == [[TEAM, f"CN=A,{BASE}"], [f"CN=B,{BASE}"]]
    team = pages[0][0]
    assert team.attributes["member"] == connection.members
    assert set(team.attributes) == {"cn", "member"}
    assert connection.asked[1:3] == [["member;range=1000-*"], ["member;range=2000-*"]]


@pytest.mark.parametrize("members", [0, 1_000])
def test_values_that_are_told_at_once_are_all(members: int) -> None:
    connection = Connection(members)
    pages = list(session(connection).pages("(cn=*)", ["cn", "member"]))
    assert len(pages[0][0].attributes["member"]) == members
    assert len(connection.asked) == 2


@pytest.mark.parametrize(("how", "problem"), [("fails_at", "busy"), ("leaves_out", "does not tell all values of member")])
def test_some_of_the_members_are_not_taken_for_all(how: str, problem: str) -> None:
    connection = Connection()
    setattr(connection, how, "member;range=2000-*")
    with pytest.raises(LdapError, match=problem):
        list(session(connection).pages("(cn=*)", ["cn", "member"]))


def test_a_page_that_fails_is_not_the_end() -> None:
    connection = Connection()
    pages = session(connection).pages("(cn=*)", ["cn"])
    next(pages)
    connection.fails_at = "cn"
    with pytest.raises(LdapError, match="busy"):
        next(pages)
