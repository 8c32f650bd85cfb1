"""Answers to incoming checks: who may ask, role conflicts, what is not understood (RFC 8445 section 7.3)."""

from __future__ import annotations

from dataclasses import dataclass

from parley.ice.security import Security
from parley.ice.wire import Check, Packet, WireForm, encode_error, encode_success
from parley.stun.addresses import Address
from parley.stun.codes import ErrorCode
from parley.stun.errors import StunParseError


@dataclass(frozen=True, slots=True)
class Role:
    """Ours. ``is_lite``: it never changes."""

    controlling: bool
    tie_breaker: int
    is_lite: bool = False


@dataclass(frozen=True, slots=True)
class Incoming:
    """A check that was right. ``role_changes``: it settles a role conflict against us."""

    check: Check
    form: WireForm
    role_changes: bool


def answer(packet: Packet, source: Address, security: Security, role: Role) -> tuple[bytes, Incoming | None]:
    """The bytes to send back, empty for none, and what the check says if it was right."""
    try:
        username = packet.username
        if not username or not packet.is_protected:
            return encode_error(packet, ErrorCode.BAD_REQUEST), None
        key = security.incoming(username)
        form = None if key is None else packet.form_for(key)
        if key is None or form is None:
            return encode_error(packet, ErrorCode.UNAUTHENTICATED), None
        if packet.unknown_attributes():
            return encode_error(packet, ErrorCode.UNKNOWN_ATTRIBUTE, key, form), None
        check = packet.check()
    except StunParseError:
        return encode_error(packet, ErrorCode.BAD_REQUEST), None
    role_changes = False
    if check.controlling is role.controlling and not role.is_lite:
        # The greater tie breaker controls.
        if (role.tie_breaker >= check.tie_breaker) is role.controlling:
            return encode_error(packet, ErrorCode.ROLE_CONFLICT, key, form), None
        role_changes = True
    return encode_success(packet, source, key, form), Incoming(check, form, role_changes)
