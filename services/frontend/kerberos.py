"""Has Kerberos tokens accepted, each once.

That is done away from the event loop, as the library's replay cache is a file whose lock may have to be waited for. What it
accepts is then taken at the registrar, so that no other front end accepts it again. How many tokens are under way is
bounded; what comes then is told to come back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol

from grpc import StatusCode

from parley.platform.config import ConfigError
from parley.platform.rpc.errors import RpcError
from parley.proto.registrar.v1.registrar_pb2 import OnceItem, OnceResult
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

_REMEMBERED_MS: Final = 900_000
"""An authenticator is good while its time is within five minutes of ours, so for ten; and a margin."""

HEADER_LINE: Final = 24_576
"""Characters of a header with a ticket: some 18 kilobytes, as base64. Active Directory puts the groups of the user in it."""

Done = Callable[[Established | KerberosError | RpcError], None]


class OnceClient(Protocol):
    """The registrar's TakeOnce; see `parley.platform.rpc.batch.BatchClient`."""

    def submit(self, item: OnceItem, *, timeout: float) -> asyncio.Future[OnceResult]:
        """The result of one item, later."""


class Contexts:
    """Makes contexts of tokens."""

    def __init__(
        self, acceptor: TokenAcceptor, service: str, once: OnceClient, loop: asyncio.AbstractEventLoop, *,
        timeout_s: float = 3.0, limit: int = _WAITING,
    ) -> None:  # fmt: skip
        """``service``: the principal whose tickets are accepted, without its realm; ``limit``: tokens at a time."""
        self.service = service
        self._acceptor = acceptor
        self._once = once
        self._loop = loop
        self._timeout_s = timeout_s
        self._limit = limit
        self._waiting = 0
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="kerberos")

    def accept(self, token: bytes, done: Done) -> bool:
        """Calls ``done`` on the event loop, later; False, and no call, when too many wait already.

        RpcError: the registrar does not answer.
        """
        if self._waiting >= self._limit:
            return False
        self._waiting += 1

        def finish(outcome: Established | KerberosError | RpcError) -> None:
            self._waiting -= 1
            done(outcome)

        future = self._loop.run_in_executor(self._threads, self._acceptor.accept, token)
        future.add_done_callback(lambda future: self._accepted(future, finish))
        return True

    def _accepted(self, future: asyncio.Future[Established], done: Done) -> None:
        if future.cancelled():
            done(RpcError(StatusCode.CANCELLED, "stopped"))
            return
        error = future.exception()
        if error is None:
            context = future.result()
            taking = self._once.submit(OnceItem(digest=context.digest, ttl_ms=_REMEMBERED_MS), timeout=self._timeout_s)
            taking.add_done_callback(lambda taking: done(_first_use(taking, context)))
            return
        if not isinstance(error, KerberosError):
            logger.error("a Kerberos token could not be dealt with", exc_info=error)
            error = KerberosError("it could not be dealt with")
        done(error)

    def close(self) -> None:
        """Takes no more tokens; those that wait are dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _first_use(taking: asyncio.Future[OnceResult], context: Established) -> Established | KerberosError | RpcError:
    if taking.cancelled():
        return RpcError(StatusCode.CANCELLED, "stopped")
    error = taking.exception()
    if error is not None:
        return error if isinstance(error, RpcError) else RpcError(StatusCode.INTERNAL, str(error))
    result = taking.result()
    if result.status.code:
        return RpcError.from_number(result.status.code, result.status.message)
    return context if result.first else KerberosError("Request is a replay of one to another front end")


def acceptor_of(config: FrontendConfig, data: Path) -> tuple[str, TokenAcceptor] | None:
    """The service whose tickets are accepted, and what does it; None when no domain offers Kerberos.

    ``data``: the folder of a replay cache that the configuration does not name. Raises ConfigError when it cannot be.
    """
    kerberos = config.communicator.kerberos
    if not config.kerberos_domains or kerberos.keytab is None:
        return None
    try:
        service = service_in(kerberos.keytab, config.kerberos_service)
        cache = kerberos.replay_cache or data / "kerberos.rcache"
        return service.name, GssAcceptor(kerberos.keytab, service, cache)
    except KerberosError as error:
        raise ConfigError([f"frontend.communicator.kerberos: {error}"]) from None
