"""Bindings: their identity, their expiry, and how they are kept (RFC 3261 section 10.3, RFC 5626 section 6).

A binding is known by its instance and reg-id (RFC 5626), else by the endpoint id of Office Communicator, else by its
contact URI compared as RFC 3261 section 19.1.4 wants. Here is policy only; the change itself is one script.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final
from urllib.parse import quote

from parley.proto.registrar.v1.registrar_pb2 import Binding, BindingUpdate, ContactUpdate
from parley.sip.errors import SipParseError
from parley.sip.uri import escape_user, parse_uri, unescape
from services.registrar.config import RegistrarConfig

_ALWAYS_COMPARED: Final = frozenset({"transport", "maddr", "user", "ttl", "method"})
_HELD_KEYS: Final = 16_384


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


@lru_cache(maxsize=_HELD_KEYS)
def contact_key(text: str) -> str:
    """A form in which equal contact URIs are equal text, but for parameters that only one of them has.

    First comes what must be the same, then, after a tab, those parameters that must agree if the other URI has them too;
    with these update.lua compares. Anything but sip and sips is compared as it stands.
    """
    try:
        uri = parse_uri(text)
    except SipParseError:
        return text
    if not uri.is_sip:
        return text
    params = sorted((_plain(name), _plain(value or "")) for name, value in uri.params)
    same = "".join(f";{name}={value}" for name, value in params if name in _ALWAYS_COMPARED)
    rest = "".join(f";{name}={value}" for name, value in params if name not in _ALWAYS_COMPARED)
    user = f"{escape_user(unescape(uri.user))}" if uri.user is not None else ""
    password = f":{escape_user(unescape(uri.password))}" if uri.password is not None else ""
    host = f"[{IPv6Address(uri.host[1:-1])}]" if uri.host.startswith("[") else uri.host.lower()
    port = f":{uri.port}" if uri.port is not None else ""
    headers = "?" + "&".join(sorted(_header(part) for part in uri.headers.split("&"))) if uri.headers else ""
    key = f"{uri.scheme}:{user}{password}@{host}{port}{same}{headers}"
    return f"{key}\t{rest}" if rest else key


def _plain(text: str) -> str:
    """A parameter's name or value, as it is compared: unescaped, in lower case, and without what separates."""
    return quote(unescape(text).lower(), safe="", errors="surrogateescape")


def _header(part: str) -> str:
    name, _, value = part.partition("=")
    return f"{_plain(name)}={quote(unescape(value), safe='', errors='surrogateescape')}"


def mark(contact: ContactUpdate) -> str:
    """Tells a contact of a REGISTER that is sent again from another one; equal for equal contacts."""
    return f"{zlib.crc32(contact.SerializeToString()):x}"


def lifetime(contact: ContactUpdate, config: RegistrarConfig) -> int | None:
    """Seconds a contact is registered for; 0 removes it; None: too brief, answer 423 (RFC 3261 section 10.3 item 7)."""
    if not contact.HasField("expires"):
        return min(config.default_expires, config.max_expires)
    asked = contact.expires
    if asked == 0:
        return 0
    if asked < config.min_expires and asked < 3600:
        return None
    return min(asked, config.max_expires)


def make_binding(update: BindingUpdate, contact: ContactUpdate, expires_at_ms: int) -> Binding:
    """The binding of one contact of a REGISTER; since when there is such a binding only the store knows, see `unpack`."""
    binding = Binding()
    binding.CopyFrom(update.common)
    binding.call_id = update.call_id
    binding.cseq = update.cseq
    binding.contact = contact.contact
    binding.contact_header = contact.contact_header
    binding.instance = contact.instance
    binding.reg_id = contact.reg_id
    binding.epid = contact.epid
    binding.q_milli = contact.q_milli
    binding.methods = contact.methods
    binding.expires_at_ms = expires_at_ms
    return binding


def unpack(field: bytes) -> StoredBinding:
    """A field of the bindings hash; see update.lua for its form."""
    deadline, _, _, _, _, registered, _, packed = field.split(b"\n", 7)
    binding = Binding.FromString(packed)
    binding.registered_at_ms = int(registered)
    return StoredBinding(int(deadline), binding)


def by_preference(bindings: list[Binding]) -> list[Binding]:
    """Highest q first, then what was registered last, then what was refreshed last."""
    bindings.sort(key=_preference, reverse=True)
    return bindings


def _preference(binding: Binding) -> tuple[int, int, int]:
    return binding.q_milli, binding.registered_at_ms, binding.expires_at_ms
