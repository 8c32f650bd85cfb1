"""Negotiate (RFC 4559): Kerberos or NTLM within SPNEGO, or bare.

Kerberos tokens are accepted away from the event loop, as the library's replay cache is a file whose lock may have to be
waited for; then each is taken at the registrar, so that no other replica accepts it again. How many are under way is
bounded.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from parley.sipae.acceptor import TokenAcceptor
from parley.sipae.principal import KerberosError, login_of
from services.web.errors import HttpError
from services.web.schemes.claims import Ticketed
from services.web.schemes.once import Once

logger = logging.getLogger(__name__)

_THREADS: Final = 2
_WAITING: Final = 200
_REMEMBERED_S: Final = 900.0
"""An authenticator is good while its time is within five minutes of ours, so for ten; and a margin."""


class KerberosSignIn:
    """Accepts tokens, each once."""

    def __init__(self, acceptor: TokenAcceptor, realms: Mapping[str, str], once: Once) -> None:
        """``realms``: SIP domains by realm."""
        self._acceptor = acceptor
        self._realms = realms
        self._once = once
        self._waiting = 0
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="web-kerberos")

    async def accept(self, token: bytes) -> Ticketed | None:
        """Whom a token is from; None for one that is not taken. Raises HttpError 503."""
        if self._waiting >= _WAITING:
            raise HttpError(503, "too many sign-ins at once", headers=[("Retry-After", "5")])
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            established = await loop.run_in_executor(self._threads, self._acceptor.accept, token)
            login = login_of(established.principal, self._realms)
            if not await self._once.take(established.digest, _REMEMBERED_S):
                raise KerberosError("it was shown before")
        except KerberosError as error:
            logger.info("a Kerberos token was not accepted: %s", error)
            return None
        finally:
            self._waiting -= 1
        return Ticketed(login, established)

    def close(self) -> None:
        """Takes no more tokens."""
        self._threads.shutdown(wait=False, cancel_futures=True)
