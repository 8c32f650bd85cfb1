"""Why a server could not be reached, in words; with what may be wrong where the error itself says little."""

from __future__ import annotations

import os
import ssl


def reason_of(error: BaseException) -> str:
    """The end of a sentence that begins with what could not be reached."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed (does that port speak TLS, and take our certificate?): {error.reason or error}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:  # asyncio puts words of its own there, so the number counts
        return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
    return " ".join(str(error).split()) or "no answer"
