"""Whether a password is a user's: by what is kept here, else by the directory server that the user comes from.

An unknown user, a wrong password and a user who is kept out look the same, in content and, as far as can be, in time: for a
user whom nobody knows the same question goes to a directory server, if any is asked at all.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import unicodedata
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from grpc import StatusCode

from parley.ntlm.md4 import nt_hash
from parley.platform.rpc.errors import RpcError
from parley.proto.addressbook.v1.addressbook_pb2 import User
from services.addressbook.credentials import Vault
from services.addressbook.directory.keys import BY_ADDRESS
from services.addressbook.directory.ldap.client import LdapClient, LdapError
from services.addressbook.directory.metrics import PASSWORDS
from services.addressbook.directory.repository import EntryRepository
from services.addressbook.repository import StoredUser, UserRepository
from services.addressbook.users import login_key

logger = logging.getLogger(__name__)

_MAX_PASSWORD: Final = 256
_AT_ONCE: Final = 8
"""Questions to one directory server."""
_WAITING: Final = 64
"""Questions that wait for their turn."""


class _Asked:
    """A directory server that is asked about passwords.

    It may be silent for as long as its timeout, and a thread that waits for it cannot be stopped. So it has threads of its
    own, which nobody else waits for, and a question is handed to them only when one is free: one that nobody wants an answer
    to any more is given up while it waits, and keeps its place while it is asked.
    """

    def __init__(self, client: LdapClient) -> None:
        self.client = client
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix=f"passwords {client.name}")

    async def ask(self, name: str, password: str) -> bool:
        """Whether it is the password of that name. Raises LdapError; RpcError when too many wait."""
        if self._waiting >= _WAITING:
            raise RpcError(StatusCode.UNAVAILABLE, "the directory server is asked too much")
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        loop = asyncio.get_running_loop()

        def over(_: Future[bool]) -> None:
            with suppress(RuntimeError):  # the process has ended its loop
                loop.call_soon_threadsafe(self._turns.release)

        asking = self._threads.submit(self.client.check_password, name, password)
        asking.add_done_callback(over)
        return await asyncio.wrap_future(asking)


class PasswordChecker:
    """Checks passwords that came in plain over an encrypted way."""

    def __init__(
        self, users: UserRepository, entries: EntryRepository, vault: Vault, servers: Mapping[str, LdapClient]
    ) -> None:
        """``servers``: those that may be asked, by source ("ldap:name")."""
        self._users = users
        self._entries = entries
        self._vault = vault
        self._servers = {source: _Asked(client) for source, client in servers.items()}

    async def check(self, login: str, realm: str, password: str) -> User | None:
        """The user. Raises StoreError; RpcError when the directory server that knows is away."""
        text = unicodedata.normalize("NFC", password)
        if not text or len(text) > _MAX_PASSWORD or "\0" in text:
            return None
        stored = await self._find(login, realm)
        if stored is not None and stored.credentials:
            against, proved = "own", self._is_own(stored, text)
        else:
            against, proved = "directory server", await self._is_servers(stored, text)
        ok = stored is not None and proved and stored.user.enabled
        PASSWORDS.labels(against, "ok" if ok else "failed").inc()
        return stored.user if ok and stored is not None else None

    async def _find(self, login: str, realm: str) -> StoredUser | None:
        (address,) = await self._users.addresses_of([login_key(login, realm)])
        return await self._users.get(address) if address is not None else None

    def _is_own(self, stored: StoredUser, password: str) -> bool:
        try:
            known = self._vault.open(stored.credentials, stored.user.address).nt_hash
        except ValueError as error:
            raise RpcError(StatusCode.FAILED_PRECONDITION, f"credentials cannot be read: {error}") from None
        return hmac.compare_digest(nt_hash(password), known)

    async def _is_servers(self, stored: StoredUser | None, password: str) -> bool:
        """Asks a directory server, also about nobody; what is proved about nobody does not count."""
        hmac.compare_digest(nt_hash(password), os.urandom(16))
        entry = await self._entries.find(BY_ADDRESS, stored.user.address) if stored is not None else None
        asked = self._servers.get(entry.origin.source) if entry is not None else next(iter(self._servers.values()), None)
        if asked is None:
            return False
        name = entry.origin.key if entry is not None else asked.client.nobody
        try:
            proved = await asked.ask(name, password)
        except LdapError as error:
            logger.warning("%s cannot be asked about a password: %s", asked.client.name, error)
            raise RpcError(StatusCode.UNAVAILABLE, "the directory server is away") from None
        return proved and entry is not None
