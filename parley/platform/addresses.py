"""Addresses to listen on, and those that others are told."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address


def is_wildcard(host: str) -> bool:
    """Whether a host to listen on stands for all addresses of the machine, so that nobody can be told to connect to it."""
    try:
        return not host or ip_address(host).is_unspecified
    except ValueError:
        return False


def with_brackets(address: str) -> str:
    """``host:port`` with brackets around a host that is an IPv6 address, as who joins the two may not know which it is."""
    host, colon, port = address.rpartition(":")
    try:
        return f"[{IPv6Address(host)}]{colon}{port}"
    except ValueError:
        return address
