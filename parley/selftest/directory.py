"""What the self-test asks of services over gRPC: two users for a while, where they are registered, relay credentials."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from secrets import token_hex, token_urlsafe
from typing import TYPE_CHECKING

from grpc import StatusCode

from parley.platform.rpc.errors import RpcError
from parley.platform.rpc.host import RpcHost
from parley.proto.addressbook.v1 import addressbook_pb2 as book_pb
from parley.proto.addressbook.v1.addressbook_pb2_grpc import AddressBookStub
from parley.proto.avedge.v1.credentials_pb2 import IceServer, IssueIceServersRequest
from parley.proto.avedge.v1.credentials_pb2_grpc import CredentialsStub
from parley.proto.registrar.v1.registrar_pb2 import ListBindingsRequest
from parley.proto.registrar.v1.registrar_pb2_grpc import RegistrarStub
from parley.selftest.agent import Identity
from parley.selftest.report import StepFailed, expecting

if TYPE_CHECKING:
    from parley.proto.addressbook.v1.addressbook_pb2_grpc import AddressBookAsyncStub
    from parley.proto.avedge.v1.credentials_pb2_grpc import CredentialsAsyncStub
    from parley.proto.registrar.v1.registrar_pb2_grpc import RegistrarAsyncStub

_CREDENTIAL_S = 600
_PAUSE_S = 1.0
"""Before what could not be done now is tried again."""


@dataclass
class Directory:
    """The services, as the configuration or the running process says where they are."""

    host: RpcHost
    target: str | None
    domain: str
    patience_s: float = 10.0
    """Longest wait for an answer."""
    users: list[Identity] = field(default_factory=list)
    """Those that were made and not removed."""

    async def create_users(self) -> str:
        """Two, with passwords that nobody else learns."""
        mark = token_hex(4)
        book = self._book()
        with expecting(
            f"the address book to make two users of {self.domain}",
            "is the address book running, and reached (platform.rpc.targets.addressbook)? is the domain one of "
            "addressbook.domains (--domain)?",
        ):
            for name in ("a", "b"):
                identity = Identity(f"selftest-{mark}-{name}@{self.domain}", token_urlsafe(24))
                user = book_pb.User(address=identity.address, display_name="Self-test")
                self.users.append(identity)  # before the answer, which may be lost
                await self._create(book, book_pb.CreateUserRequest(user=user, password=identity.password))
        return ", ".join(identity.address for identity in self.users)

    async def _create(self, book: AddressBookAsyncStub, request: book_pb.CreateUserRequest) -> None:
        """Makes a user, also when the store has to be waited for. Raises RpcError."""
        again = False
        async with asyncio.timeout(self.patience_s) as patience:
            while True:
                try:
                    await book.CreateUser(request, timeout=self.patience_s)
                except RpcError as error:
                    if again and error.code is StatusCode.ALREADY_EXISTS:
                        return  # nobody else has that name: it was made, and not confirmed
                    late = asyncio.get_running_loop().time() + _PAUSE_S > (patience.when() or 0)
                    if error.code is not StatusCode.UNAVAILABLE or late:
                        raise
                    again = True
                    await asyncio.sleep(_PAUSE_S)
                else:
                    return

    async def remove_users(self) -> str:
        """All that were made; those that are left are named when it fails."""
        book, removed = self._book(), []
        for identity in list(self.users):
            left = ", ".join(user.address for user in self.users)
            with expecting("the address book to remove the users", f"`parley user delete` removes what is left: {left}"):
                try:
                    await book.DeleteUser(book_pb.DeleteUserRequest(address=identity.address), timeout=self.patience_s)
                except RpcError as error:
                    if error.code is not StatusCode.NOT_FOUND:
                        raise
            self.users.remove(identity)
            removed.append(identity.address)
        return f"{len(removed)} users"

    async def edge_of(self, identity: Identity) -> str:
        """The front end that holds the connection of who is registered once."""
        registrar: RegistrarAsyncStub = self.host.channel("parley.registrar.v1.Registrar", self.target).stub(RegistrarStub)
        with expecting(
            "the registrar to know where a user is registered",
            "is the registrar reached (platform.rpc.targets.registrar)?",
        ):
            request = ListBindingsRequest(aor=f"sip:{identity.address}")
            entries = (await registrar.ListBindings(request, timeout=self.patience_s)).entries
            if len(entries) != 1:
                raise StepFailed("one registration", f"{len(entries)} of {identity.address}", "see the registrar's log")
            return entries[0].binding.flow.edge_uid

    async def relay_servers(self, identity: Identity) -> list[IceServer]:
        """Servers and credentials for a user, as a browser would get them."""
        stub: CredentialsAsyncStub = self.host.channel("parley.avedge.v1.Credentials", self.target).stub(CredentialsStub)
        with expecting(
            "the A/V edge to issue credentials",
            "is the A/V edge running, and reached (platform.rpc.targets.avedge)? `parley edge credentials` asks the same",
        ):
            request = IssueIceServersRequest(user=f"sip:{identity.address}", seconds=_CREDENTIAL_S)
            answer = await stub.IssueIceServers(request, timeout=self.patience_s)
        servers = [server for server in answer.ice_servers if server.username]
        if not servers:
            raise StepFailed(
                "credentials for a TURN server", "only servers without any", "does the A/V edge have an address? see its log"
            )
        return servers

    def _book(self) -> AddressBookAsyncStub:
        stub: AddressBookAsyncStub = self.host.channel("parley.addressbook.v1.AddressBook", self.target).stub(
            AddressBookStub
        )
        return stub
