"""Queries of the directory by SOAP: SearchAbEntry and QueryDLMembers, and the answers as clients read them."""

from __future__ import annotations

from parley.addressbook.dlx import MembersRequest, MembersResponse
from parley.addressbook.errors import QueryError
from parley.addressbook.queries import FoundEntry, SearchRequest, SearchResponse
from parley.webticket.soap import SoapError


def fuzz_one(data: bytes) -> None:
    """The same bytes as each of the messages."""
    try:
        wanted = SearchRequest.from_bytes(data)
    except SoapError:
        pass
    else:
        assert SearchRequest.from_bytes(bytes(wanted)) == wanted
        try:
            wanted.criteria().stages()
        except QueryError as error:
            assert str(error)
    try:
        found = SearchResponse.from_bytes(data)
    except SoapError:
        pass
    else:
        kept = tuple(
            FoundEntry(tuple((name, values) for name, values in entry.attributes if values)) for entry in found.entries
        )
        assert SearchResponse.from_bytes(bytes(SearchResponse(kept))) == SearchResponse(kept)
    try:
        group = MembersRequest.from_bytes(data)
    except SoapError:
        pass
    else:
        assert MembersRequest.from_bytes(group.to_bytes()) == group
    try:
        members = MembersResponse.from_bytes(data)
    except SoapError:
        return
    assert MembersResponse.from_bytes(members.to_bytes()) == members
