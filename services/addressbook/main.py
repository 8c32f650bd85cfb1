"""Wires the address book."""

from __future__ import annotations

import asyncio
from typing import Final

from parley.platform.keys import derive_key, parse_master_key
from parley.platform.lifecycle import ServiceContext, ShortWorkService
from parley.platform.outbox import OutboxRelay
from parley.proto.addressbook.v1.addressbook_pb2_grpc import add_AddressBookServicer_to_server
from services.addressbook.certificates import CertificateStore, Issuer
from services.addressbook.config import AddressBookConfig
from services.addressbook.credentials import Vault
from services.addressbook.demo import demo_password, ensure_demo_users
from services.addressbook.devices.wiring import add_device_updates
from services.addressbook.directory.keys import OUTBOX as DIRECTORY_OUTBOX
from services.addressbook.directory.wiring import Directory
from services.addressbook.files.wiring import add_book_files
from services.addressbook.repository import OUTBOX, UserRepository, decode_event
from services.addressbook.sealing import Sealer
from services.addressbook.search import DirectorySearch
from services.addressbook.service import AddressBookSurface

_PURPOSE: Final = "credentials"
_DEMO_WAIT_S: Final = 10.0


class AddressBookService(ShortWorkService):
    """See `parley.platform.lifecycle.Service`."""

    name = "addressbook"
    config_model = AddressBookConfig

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self.config = context.settings.section(self.name, AddressBookConfig)

    def register(self) -> None:
        """Puts the gRPC surface up."""
        context = self._context
        previous = self.config.previous_master_key.get_secret_value()
        vault = Vault(
            derive_key(context.master_key, _PURPOSE),
            [derive_key(parse_master_key(previous), _PURPOSE)] if previous else (),
        )
        self._relay = OutboxRelay(self.name, context.store, context.events, [OUTBOX, DIRECTORY_OUTBOX], decode_event)
        repository = UserRepository(context.store, self.config.directory.sources)
        self._sealer = Sealer(repository, vault, context.clock, self._wake)
        self._directory = Directory(context, self.config, repository, vault, self._wake)
        context.applications.add("search", DirectorySearch(self._directory.index), context.tracer)
        self._file_runs = add_book_files(context, self.config.files, self._directory.entries)
        self._devices = add_device_updates(context, self.config.devices)
        issuer = Issuer(self.config.certificates, context.platform.data_folder)
        issuer.load()
        certificates = CertificateStore(context.store, per_user=self.config.certificates.per_user)
        self._surface = AddressBookSurface(
            self.config, repository, vault, context.clock, context.tracer, lambda _: self._wake(), certificates, issuer
        )
        context.rpc.add_service(
            add_AddressBookServicer_to_server, self._surface, "parley.addressbook.v1.AddressBook", context.tracer
        )

    def _wake(self) -> None:
        """A change may have left events of users, of entries, or of both."""
        self._relay.wake(OUTBOX)
        self._relay.wake(DIRECTORY_OUTBOX)

    async def start(self) -> None:
        """Begins to relay events, and makes the demo users if wanted."""
        self._context.tasks.spawn("addressbook outbox", self._relay.run())
        self._directory.start()
        self._context.tasks.spawn("addressbook devices", self._devices.run())
        if self.config.previous_master_key.get_secret_value():
            self._context.tasks.spawn("addressbook seal anew", self._sealer.run(), vital=False)
        if self.config.demo:
            # Without a store nobody waits for the demo users: they are made when it is there.
            making = self._context.tasks.spawn("addressbook demo users", self._make_demo_users(), vital=False)
            await asyncio.wait([making], timeout=_DEMO_WAIT_S)
            if making.done():
                making.result()
        if self._file_runs is not None:  # the demo users are in the first of them
            self._context.tasks.spawn("addressbook files", self._file_runs.run())
        self.ready = True

    async def _make_demo_users(self) -> None:
        folder = self._context.platform.data_folder
        password, changed = demo_password(folder, self.config.demo_password.get_secret_value())
        await ensure_demo_users(self._surface, self.config.domains[0], password, changed=changed)
