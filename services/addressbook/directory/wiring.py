"""Puts the directory together, and does what has to be done at its start."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from parley.addressbook.errors import NumberRuleError
from parley.addressbook.numbers.company_rules import CompanyRules, parse_company_rules
from parley.addressbook.numbers.normalising import Normaliser
from parley.platform.config import ConfigError
from parley.platform.lifecycle import ServiceContext
from parley.platform.store.errors import StoreError
from parley.proto.addressbook.v1.addressbook_pb2 import User
from parley.proto.addressbook.v1.directory_pb2_grpc import add_DirectoryServicer_to_server
from services.addressbook.config import AddressBookConfig
from services.addressbook.credentials import Vault, derive
from services.addressbook.directory.config import NumbersConfig
from services.addressbook.directory.importing import Importer
from services.addressbook.directory.keys import PREFIX
from services.addressbook.directory.ldap.client import LdapClient
from services.addressbook.directory.links import entry_of_user
from services.addressbook.directory.passwords import PasswordChecker
from services.addressbook.directory.rebuilding import Rebuilder
from services.addressbook.directory.repository import EntryRepository
from services.addressbook.directory.searching import DirectoryIndex
from services.addressbook.directory.surface import DirectorySurface, Parts
from services.addressbook.directory.syncing import Syncer
from services.addressbook.repository import UserRepository, with_passwords
from services.addressbook.users import digest_logins

logger = logging.getLogger(__name__)

_RETRY_S: Final = 5.0
_PAGE: Final = 500
_ADOPTED: Final = PREFIX + "adopted"
"""There when every user has had an entry made: users of versions without a directory had none."""


def normaliser_of(config: NumbersConfig) -> Normaliser:
    """Raises ConfigError when the rules of the company cannot be read."""
    company = CompanyRules()
    if config.company_rules is not None:
        where = f"addressbook.directory.numbers.company_rules: {config.company_rules}"
        try:
            company, problems = parse_company_rules(config.company_rules.expanduser().read_bytes())
        except OSError as error:
            raise ConfigError([f"{where}: {error.strerror}"]) from None
        except NumberRuleError as error:
            raise ConfigError([f"{where}: {error}"]) from None
        if problems:
            raise ConfigError([f"{where}: {problem}" for problem in problems])
    return Normaliser(company, config.location())


class Directory:
    """The directory of a process."""

    def __init__(
        self,
        context: ServiceContext,
        config: AddressBookConfig,
        users: UserRepository,
        vault: Vault,
        on_events: Callable[[], None],
    ) -> None:
        """``on_events`` is called when events wait. Raises ConfigError."""
        self._context = context
        self._users = users
        store, clock = context.store, context.clock
        self.entries = EntryRepository(store, clock, config.domains, config.directory.sources, on_events)
        self.index = DirectoryIndex(store, self.entries)
        self._rebuilder = Rebuilder(store, self.entries)
        normaliser = normaliser_of(config.directory.numbers)

        def seal(address: str, password: str) -> bytes:
            realm = address.partition("@")[2]
            logins = digest_logins(User(address=address))
            return vault.seal(derive(password, logins, realm, min_length=config.min_password_length), address)

        clients = {name: LdapClient(name, server) for name, server in config.directory.ldap.items()}
        importer = Importer(
            store, self.entries, clock, normaliser, seal, lambda addresses: with_passwords(users, addresses),
            context.tasks.once,
        )  # fmt: skip
        self._syncer = Syncer(store, self.entries, clock, normaliser, clients, context.tasks.once)
        asked = {client.source: client for client in clients.values() if client.config.passwords}
        passwords = PasswordChecker(users, self.entries, vault, asked)
        parts = Parts(
            store, self.entries, self.index, self._rebuilder, normaliser, importer, self._syncer, passwords
        )  # fmt: skip
        self.surface = DirectorySurface(
            parts, photo_limit=config.directory.photo_limit, group_limit=config.directory.group_limit
        )  # fmt: skip
        context.rpc.add_service(
            add_DirectoryServicer_to_server, self.surface, "parley.addressbook.v1.Directory", context.tracer
        )

    def start(self) -> None:
        """Begins to read the directory servers, and sees to what an upgrade or a crash left to do."""
        self._context.tasks.spawn("directory upgrade", self._upgrade(), vital=False)
        self._context.tasks.spawn("directory index", self._rebuilder.keep(), vital=False)
        for name in self._syncer.names:
            self._context.tasks.spawn(f"directory sync {name}", self._syncer.run(name))

    async def _upgrade(self) -> None:
        while True:
            try:
                await self._adopt()
                return
            except StoreError as error:
                logger.info("the directory is looked through later: %s", error)
                await asyncio.sleep(_RETRY_S)

    async def _adopt(self) -> None:
        """Makes the entries of users who have none."""
        if await self._context.store.execute("EXISTS", _ADOPTED):
            return
        after, made = "", 0
        while users := await self._users.page_of_users(after, _PAGE):
            addresses = [user.address for user in users]
            made += await self.entries.adopt(addresses, users, lambda user: entry_of_user(user, None))
            after = addresses[-1]
        await self._context.store.durable("SET", _ADOPTED, 1)
        if made:
            logger.info("%d users got their entries in the directory", made)
