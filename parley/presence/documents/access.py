"""Requests on containers, subscribers and the own data (MS-PRES sections 2.2.2.3, 2.2.2.6 and 2.2.2.8)."""

from __future__ import annotations

from typing import Final

from parley.presence.documents.reading import integer, read, require, required
from parley.presence.model import bare
from parley.xml import children

CONTAINERS_TYPE: Final = "application/msrtc-setcontainermembers+xml"
SUBSCRIBERS_TYPE: Final = "application/msrtc-presence-setsubscriber+xml"


def parse_set_container_members(body: bytes) -> list[tuple[int, int, list[tuple[str, str, str]]]]:
    """Of each container its id, the version quoted, and (action, type, value) of members. Raises BadDocument."""
    root = read(body, "setContainerMembers")
    changes = []
    for element in children(root, "container"):
        members = [
            (required(member, "action"), required(member, "type"), member.get("value") or "")
            for member in children(element, "member")
        ]
        changes.append((integer(element, "id", 2**31 - 1), integer(element, "version", 2**32 - 1), members))
    require(changes, "the request has no container")
    return changes


def parse_set_subscribers(body: bytes) -> list[tuple[str, bool]]:
    """Of each subscriber the address without "sip:", and whether it is acknowledged. Raises BadDocument."""
    root = read(body, "setSubscribers")
    found = [
        (bare(required(element, "user")), (element.get("acknowledged") or "").lower() == "true")
        for element in children(root, "subscriber")
    ]
    require(found, "the request has no subscriber")
    return found


def parse_roaming_list(body: bytes) -> frozenset[str]:
    """What a client wants of its own data: "categories", "containers", "subscribers". Raises BadDocument."""
    if not body.strip():
        return frozenset({"categories", "containers", "subscribers"})
    root = read(body, "roamingList")
    return frozenset(required(element, "type") for element in children(root, "roaming"))
