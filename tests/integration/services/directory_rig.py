"""A directory on a real store, without its tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from parley.addressbook.entries import Entry, Kind, Membership
from parley.addressbook.numbers.locations import Location
from parley.addressbook.numbers.normalising import Normaliser
from parley.addressbook.searching.queries import Query
from parley.platform.clock import FakeClock
from parley.platform.store.client import Store
from parley.platform.telemetry.tracing import NO_TRACER
from parley.proto.addressbook.v1 import addressbook_pb2 as users_pb
from parley.proto.addressbook.v1 import directory_pb2 as pb
from parley.proto.addressbook.v1.addressbook_pb2 import User
from services.addressbook.certificates import CertificateStore, Issuer
from services.addressbook.config import AddressBookConfig
from services.addressbook.credentials import Vault, derive
from services.addressbook.directory.config import LdapConfig
from services.addressbook.directory.importing import Importer
from services.addressbook.directory.ldap.client import LdapClient
from services.addressbook.directory.passwords import PasswordChecker
from services.addressbook.directory.rebuilding import Rebuilder
from services.addressbook.directory.repository import EntryRepository
from services.addressbook.directory.searching import DirectoryIndex
from services.addressbook.directory.surface import DirectorySurface, Parts
from services.addressbook.directory.syncing import Syncer
from services.addressbook.repository import UserRepository, with_passwords
from services.addressbook.service import AddressBookSurface
from services.addressbook.users import digest_logins

PASSWORD = "correct horse"


class Directory:
    """The directory and the users of one process; ``servers``, or ``clients`` of those: by name."""

    def __init__(
        self,
        store: Store,
        clock: FakeClock,
        servers: Mapping[str, LdapConfig] | None = None,
        clients: Mapping[str, LdapClient] | None = None,
        area_code: str = "30",
    ) -> None:
        self.store = store
        self.clock = clock
        self.config = AddressBookConfig(domains=["example.test", "other.test"])
        self.tasks: list[asyncio.Task[Any]] = []
        vault = Vault(b"k" * 32)
        clients = clients or {name: LdapClient(name, server) for name, server in (servers or {}).items()}
        sources = {client.source for client in clients.values()}
        users = UserRepository(store, sources)
        self.entries = EntryRepository(store, clock, self.config.domains, sources)
        self.index = DirectoryIndex(store, self.entries)
        self.rebuilder = Rebuilder(store, self.entries)
        normaliser = Normaliser(location=Location("DE", area_code))
        self.syncer = Syncer(store, self.entries, clock, normaliser, clients, self._spawn)

        def seal(address: str, password: str) -> bytes:
            secrets = derive(password, digest_logins(User(address=address)), address.partition("@")[2], min_length=8)
            return vault.seal(secrets, address)

        importer = Importer(
            store, self.entries, clock, normaliser, seal, lambda addresses: with_passwords(users, addresses), self._spawn
        )
        passwords = PasswordChecker(users, self.entries, vault, {client.source: client for client in clients.values()})
        parts = Parts(store, self.entries, self.index, self.rebuilder, normaliser, importer, self.syncer, passwords)
        self.surface = DirectorySurface(parts, photo_limit=4096, group_limit=500)
        certificates = self.config.certificates
        self.users = AddressBookSurface(
            self.config, users, vault, clock, NO_TRACER, lambda _: None, CertificateStore(store, per_user=2),
            Issuer(certificates, Path("no-data")),
        )  # fmt: skip

    def _spawn(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        self.tasks.append(asyncio.create_task(work, name=name))
        return self.tasks[-1]

    async def done(self) -> None:
        """Waits for what goes on."""
        await asyncio.gather(*self.tasks)

    async def put(self, entry: pb.Entry, **options: Any) -> pb.Entry:
        """PutEntry."""
        return (await self.surface.PutEntry(pb.PutEntryRequest(entry=entry, **options), None)).entry

    async def get(self, name: str) -> pb.Entry:
        """GetEntry by name."""
        return (await self.surface.GetEntry(pb.GetEntryRequest(name=name), None)).entry

    async def found(self, text: str, limit: int = 100) -> list[str]:
        """The names that a search finds, all pages of it."""
        names: list[str] = []
        token = ""
        while True:
            search = await self.index.search(Query.parse(text), limit, token)
            names += [entry.name for entry in search.entries]
            token = search.token
            if not token:
                return names

    async def create_user(self, address: str, name: str = "", *logins: str) -> users_pb.User:
        """A user who signs in with a password."""
        user = users_pb.User(address=address, display_name=name, login_names=logins)
        return (await self.users.CreateUser(users_pb.CreateUserRequest(user=user, password=PASSWORD), None)).user

    async def credentials(self, login: str) -> users_pb.CredentialsResult:
        """What sign-in is told."""
        item = users_pb.CredentialsLookup(id=1, login=login, realm="example.test")
        return (await self.users.get_credentials([item]))[0]

    async def import_csv(self, text: str, *parts: int, **options: Any) -> pb.ImportReport:
        """StartImport, to its end."""

        async def stream() -> Any:
            yield pb.StartImportRequest(options=pb.ImportOptions(name="people.csv", wait=True, **options))
            data = text.encode()
            for begin in range(0, len(data), 1000):
                yield pb.StartImportRequest(data=data[begin : begin + 1000])

        return (await self.surface.StartImport(stream(), None)).report

    async def check(self, login: str, password: str) -> str:
        """The address whose password it is; "" for nobody's."""
        request = pb.CheckPasswordRequest(login=login, realm="example.test", password=password)
        return (await self.surface.CheckPassword(request, None)).address


def group(id: Any, name: str, members: Sequence[Any] = (), **values: Any) -> Entry:
    """A group."""
    return Entry(id, Kind.GROUP, display_name=name, membership=Membership(tuple(members)), **values)
