"""Addresses to listen on."""

from __future__ import annotations

from ipaddress import ip_address


def is_wildcard(host: str) -> bool:
    """Whether a host to listen on stands for all addresses of the machine, so that nobody can be told to connect to it."""
    try:
        return not host or ip_address(host).is_unspecified
    except ValueError:
        return False
