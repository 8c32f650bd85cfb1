"""Asserted identity inside our trust domain (RFC 3325), and credentials that go no further.

What a client claims in P-Asserted-Identity is dropped; what it authenticated as takes its place, unless it asked for
privacy. Credentials for our realm are taken off: the next hop has no use for them.
"""

from __future__ import annotations

from parley.sip.message import Request
from parley.sip.params import quote
from services.frontend.proxying.wiring import Identity


def assert_identity(request: Request, who: Identity) -> None:
    """Changes a request that is about to be routed; a trusted peer's assertions stay as they are."""
    if who.trusted:
        return
    request.remove("P-Asserted-Identity")
    request.remove("P-Preferred-Identity")
    request.remove("Proxy-Authorization")
    if who.aor and not _wants_privacy(request):
        name = f"{quote(who.display_name)} " if who.display_name else ""
        request.add("P-Asserted-Identity", f"{name}<{who.aor}>")


def _wants_privacy(request: Request) -> bool:
    """Whether Privacy asks to withhold the asserted identity (RFC 3325 section 9.3)."""
    value = request.get("Privacy")
    return value is not None and "id" in {part.strip().lower() for part in value.split(";")}
