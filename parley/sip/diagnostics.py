"""The ms-diagnostics header: why a request was refused, in numbers that Communicator knows (MS-OCER section 2.2.1)."""

from __future__ import annotations

from parley.sip.params import quote


def ms_diagnostics(error_id: int, reason: str, source: str = "") -> tuple[str, str]:
    """Name and value of the header; without a ``source`` the form for receivers outside, which names no server."""
    if not source:
        return "ms-diagnostics-public", f"{error_id};reason={quote(reason)}"
    return "ms-diagnostics", f"{error_id};reason={quote(reason)};source={quote(source)}"
