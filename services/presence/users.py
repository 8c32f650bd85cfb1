"""Presentities with the names of their users."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from grpc import StatusCode

from parley.platform.applications.users import UserNames
from parley.platform.rpc.errors import RpcError
from parley.proto.addressbook.v1.addressbook_pb2 import GetUserRequest
from parley.proto.presence.v1 import state_pb2 as pb


class Users(UserNames):
    """The users, as the address book has them."""

    async def find(self, text: str) -> tuple[str, str] | None:
        """Address of record and display name of who is meant by an address or a login name. Raises RpcError."""
        try:
            answer = await self._book.GetUser(GetUserRequest(address=text), timeout=self._timeout_s)
        except RpcError as error:
            if error.code not in (StatusCode.NOT_FOUND, StatusCode.INVALID_ARGUMENT):
                raise
            return None
        return answer.user.address, answer.user.display_name

    async def named(self, states: Sequence[pb.Presentity]) -> list[pb.Presentity]:
        """The same states with display names. Raises RpcError."""
        names = await asyncio.gather(*(self.name_of(state.address) for state in states))
        for state, name in zip(states, names, strict=True):
            state.display_name = name or ""
        return list(states)
