"""Bindings: their identity, their expiry, and how they are kept (RFC 3261 section 10.3, RFC 5626 section 6).

A binding is known by its instance and reg-id (RFC 5626), else by the endpoint id of Office Communicator, else by its
contact URI compared as RFC 3261 section 19.1.4 wants. Here is policy only; the change itself is one script.
"""

from __future__ import annotations

from dataclasses import dataclass

from parley.proto.registrar.v1.registrar_pb2 import Binding, BindingUpdate, ContactUpdate
from parley.sip.errors import SipParseError
from parley.sip.uri import parse_uri, unescape
from services.registrar.config import RegistrarConfig

_ALWAYS_COMPARED = ("transport", "maddr", "user", "ttl", "method")


@dataclass(frozen=True, slots=True)
class StoredBinding:
    """A binding as it lies in the store."""

    deadline_ms: int
    binding: Binding


def binding_id(contact: ContactUpdate) -> str:
    """What the binding of a contact is known by; a second contact with the same id replaces it."""
    if contact.instance and contact.reg_id:
        return f"i:{contact.instance}:{contact.reg_id}"
    if contact.epid:
        return f"e:{contact.epid}"
    return f"c:{contact_key(contact.contact)}"


def contact_key(text: str) -> str:
    """A form in which equal contact URIs are equal text."""
    try:
        uri = parse_uri(text)
    except SipParseError:
        return text
    if not uri.is_sip:
        return text
    kept = sorted((name.lower(), (value or "").lower()) for name, value in uri.params if name.lower() in _ALWAYS_COMPARED)
    port = f":{uri.port}" if uri.port is not None else ""
    params = "".join(f";{name}={value}" for name, value in kept)
    return f"{uri.scheme}:{unescape(uri.user or '')}@{uri.host.lower()}{port}{params}"


def lifetime(contact: ContactUpdate, config: RegistrarConfig) -> int | None:
    """Seconds a contact is registered for; 0 removes it; None: too brief, answer 423 (RFC 3261 section 10.3 item 7)."""
    if not contact.HasField("expires"):
        return config.default_expires
    asked = contact.expires
    if asked == 0:
        return 0
    if asked < config.min_expires and asked < 3600:
        return None
    return min(asked, config.max_expires)


def make_binding(update: BindingUpdate, contact: ContactUpdate, expires_at_ms: int, now_ms: int) -> Binding:
    """The binding of one contact of a REGISTER."""
    binding = Binding()
    binding.CopyFrom(update.common)
    binding.contact = contact.contact
    binding.contact_header = contact.contact_header
    binding.instance = contact.instance
    binding.reg_id = contact.reg_id
    binding.epid = contact.epid
    binding.q_milli = contact.q_milli
    binding.methods = contact.methods
    binding.expires_at_ms = expires_at_ms
    binding.registered_at_ms = now_ms
    return binding


def unpack(field: bytes) -> StoredBinding:
    """A field of the bindings hash; see update.lua for its form."""
    deadline, _, _, _, _, packed = field.split(b"\n", 5)
    return StoredBinding(int(deadline), Binding.FromString(packed))


def by_preference(bindings: list[Binding]) -> list[Binding]:
    """Highest q first, then the newest."""
    bindings.sort(key=lambda binding: (binding.q_milli, binding.expires_at_ms), reverse=True)
    return bindings
