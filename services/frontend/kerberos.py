"""Has Kerberos tokens accepted away from the event loop: the replay cache is a file, whose lock may have to be waited for.

How many wait is bounded; what comes then is told to come back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from parley.platform.config import ConfigError
from parley.sipae.acceptor import Established, TokenAcceptor
from parley.sipae.gss import GssAcceptor
from parley.sipae.keytab import service_in
from parley.sipae.principal import KerberosError
from services.frontend.config import FrontendConfig

logger = logging.getLogger(__name__)

_THREADS: Final = 2
"""The replay cache has one lock, so more would only wait for one another."""

_WAITING: Final = 1_000
"""Tokens at a time."""

HEADER_LINE: Final = 24_576
"""Characters of a header with a ticket: some 18 kilobytes, as base64. Active Directory puts the groups of the user in it."""

Done = Callable[[Established | KerberosError], None]


class Contexts:
    """Makes contexts of tokens."""

    def __init__(
        self, acceptor: TokenAcceptor, service: str, loop: asyncio.AbstractEventLoop, *, limit: int = _WAITING
    ) -> None:
        """``service``: the principal whose tickets are accepted, without its realm; ``limit``: tokens at a time."""
        self.service = service
        self._acceptor = acceptor
        self._loop = loop
        self._limit = limit
        self._waiting = 0
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="kerberos")

    def accept(self, token: bytes, done: Done) -> bool:
        """Calls ``done`` on the event loop, later; False, and no call, when too many wait already."""
        if self._waiting >= self._limit:
            return False
        self._waiting += 1
        future = self._loop.run_in_executor(self._threads, self._acceptor.accept, token)
        future.add_done_callback(lambda future: self._finished(future, done))
        return True

    def _finished(self, future: asyncio.Future[Established], done: Done) -> None:
        self._waiting -= 1
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            done(future.result())
            return
        if not isinstance(error, KerberosError):
            logger.error("a Kerberos token could not be dealt with", exc_info=error)
            error = KerberosError("it could not be dealt with")
        done(error)

    def close(self) -> None:
        """Takes no more tokens; those that wait are dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def contexts_of(config: FrontendConfig, data: Path, loop: asyncio.AbstractEventLoop) -> Contexts | None:
    """Who accepts tokens; None when no domain offers Kerberos. Raises ConfigError when that cannot be.

    ``data``: the folder of a replay cache that the configuration does not name.
    """
    kerberos = config.communicator.kerberos
    if not config.kerberos_domains or kerberos.keytab is None:
        return None
    try:
        service = service_in(kerberos.keytab, config.kerberos_service)
        acceptor = GssAcceptor(kerberos.keytab, service, kerberos.replay_cache or data / "kerberos.rcache")
    except KerberosError as error:
        raise ConfigError([f"frontend.communicator.kerberos: {error}"]) from None
    return Contexts(acceptor, service.name, loop)
