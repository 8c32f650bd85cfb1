"""Loop detection (RFC 3261 section 16.3 item 4, RFC 5393 section 4.2) and Max-Breadth (RFC 5393 section 5).

The branch a proxy puts into its Via ends in a keyed hash over everything its routing depends on. A request
that comes back with that same hash has looped; one that comes back changed (another Request-URI after a
redirection of the user's, say) merely spirals and goes on. The method is not part of the hash, so CANCEL and
ACK agree with INVITE.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2s

from parley.sip.message import Request
from parley.sip.proxy.errors import ProxyError
from parley.sip.transaction.keys import MAGIC_COOKIE
from parley.sip.via import Via

DEFAULT_MAX_BREADTH = 60
"""What a request without a Max-Breadth header may be spread to (RFC 5393 section 5.3.3.1)."""

_HASHED_HEADERS = ("Route", "Proxy-Require", "Proxy-Authorization", "To", "From", "Call-ID", "CSeq")
_DIGEST_SIZE = 9


class LoopDetector:
    """Makes branches with the hash in them, and recognises requests that come round unchanged.

    ``is_own`` tells whether a Via was put on by this element (all instances that share ``secret`` may count
    as one).
    """

    __slots__ = ("_is_own", "_secret")

    def __init__(self, secret: bytes, is_own: Callable[[Via], bool]) -> None:
        self._secret: bytes = secret[:32]
        self._is_own: Callable[[Via], bool] = is_own

    def fingerprint(self, request: Request) -> str:
        """The hash over what routing depends on, of the request as it was received."""
        digest = blake2s(key=self._secret, digest_size=_DIGEST_SIZE)
        parts = [request.uri_text]
        for name in _HASHED_HEADERS:
            if name == "CSeq":
                parts.append(str(request.cseq.number))
            elif name == "To":
                parts.append(request.to_tag or "")
            elif name == "From":
                parts.append(request.from_tag or "")
            else:
                parts.extend(request.get_all(name))
            parts.append("\n")
        digest.update("\0".join(parts).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def branch(self, unique: str, fingerprint: str) -> str:
        """The branch of one forwarded copy: the cookie, a token that is unique to it, and the fingerprint."""
        return f"{MAGIC_COOKIE}{unique}.{fingerprint}"

    def looped(self, request: Request) -> bool:
        """Whether this request passed here before and comes back with nothing changed that matters."""
        own = [branch for via in request.vias if (branch := via.branch) is not None and self._is_own(via)]
        if not own:
            return False
        suffix = "." + self.fingerprint(request)
        return any(branch.endswith(suffix) for branch in own)


def max_breadth(request: Request) -> int:
    """The Max-Breadth of a request, or the default (also for an unreadable value)."""
    text = request.get("Max-Breadth")
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 9:
        return DEFAULT_MAX_BREADTH
    return int(text)


def share_breadth(available: int, branches: int) -> list[int]:
    """Divide ``available`` among branches that are pending at the same time (RFC 5393 section 5.3.3).

    Raises ProxyError 440 when there are more branches than breadth.
    """
    if branches > available:
        raise ProxyError(440)
    if branches == 0:
        return []
    share, rest = divmod(available, branches)
    return [share + (1 if index < rest else 0) for index in range(branches)]
