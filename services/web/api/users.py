"""Users over REST: what `parley user` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from grpc import StatusCode

from parley.platform.rpc.errors import RpcError
from parley.proto.addressbook.v1 import addressbook_pb2 as pb
from services.web.api.conversions import user_of
from services.web.api.models import API, NewPassword, NewUser, User, UserChange, Users, UsersQuery
from services.web.bodies import expected_version, json_answer, read_json, read_query
from services.web.errors import HttpError
from services.web.openapi import IF_MATCH, Operation, rows_of
from services.web.routes import Access, Route, caller_of, parameter

if TYPE_CHECKING:
    from parley.proto.addressbook.v1.addressbook_pb2_grpc import AddressBookAsyncStub

_USERS = f"{API}/users"
_USER = f"{_USERS}/{{address}}"


class UserRoutes:
    """Handlers."""

    def __init__(self, addressbook: AddressBookAsyncStub, *, timeout_s: float) -> None:
        self._addressbook = addressbook
        self._timeout_s = timeout_s

    def routes(self) -> list[Route]:
        """Their rows."""

        row = rows_of("users")
        return [
            row("GET", _USERS, self.list, Operation("Users, by address", UsersQuery, result=Users)),
            row("POST", _USERS, self.create,
                Operation("Make a user", body=NewUser, result=User, status=201, failures=(409, 422))),
            row("GET", _USER, self.get, Operation("A user; everybody may read their own", result=User, failures=(404,)),
                Access.USER),
            row("PATCH", _USER, self.change,
                Operation("Change, disable or enable a user", body=UserChange, result=User, failures=(404, 409, 412, 422),
                          headers=IF_MATCH)),
            row("DELETE", _USER, self.delete,
                Operation("Remove a user", status=204, failures=(404, 409, 412), headers=IF_MATCH)),
            row("PUT", f"{_USER}/password", self.set_password,
                Operation("Set a password", body=NewPassword, status=204, failures=(404, 409, 422))),
        ]  # fmt: skip

    async def list(self, request: web.Request) -> web.Response:
        """A page of users."""
        query = read_query(request, UsersQuery)
        asked = pb.ListUsersRequest(domain=query.domain, page_size=query.page_size, page_token=query.page_token)
        try:
            page = await self._addressbook.ListUsers(asked, timeout=self._timeout_s)
        except RpcError as error:
            raise HttpError.of(error) from None
        return json_answer(Users(users=[user_of(user) for user in page.users], next_page_token=page.next_page_token))

    async def create(self, request: web.Request) -> web.Response:
        """A new user."""
        wanted = await read_json(request, NewUser)
        user = pb.User(address=wanted.address, display_name=wanted.display_name, login_names=wanted.login_names)
        asked = pb.CreateUserRequest(user=user, password=wanted.password.get_secret_value())
        try:
            made = (await self._addressbook.CreateUser(asked, timeout=self._timeout_s)).user
        except RpcError as error:
            raise HttpError.of_values(error) from None
        response = json_answer(user_of(made), status=201, version=made.version)
        response.headers["Location"] = f"{_USERS}/{made.address.removeprefix('sip:')}"
        return response

    async def get(self, request: web.Request) -> web.Response:
        """A user, to administrators and to that user."""
        caller = caller_of(request)
        if not caller.is_admin and _address(request).lower() != caller.address:
            raise HttpError(403, "only administrators may read other users")
        user = await self._get(request)
        return json_answer(user_of(user), version=user.version)

    async def _get(self, request: web.Request) -> pb.User:
        try:
            found = await self._addressbook.GetUser(pb.GetUserRequest(address=_address(request)), timeout=self._timeout_s)
        except RpcError as error:
            raise HttpError.of(error) from None
        return found.user

    async def change(self, request: web.Request) -> web.Response:
        """Names, and whether the user may sign in."""
        wanted = await read_json(request, UserChange)
        user = await self._get(request)
        expected = expected_version(request, user.version)
        if wanted.enabled is False and user.address == caller_of(request).address:
            raise HttpError(409, "nobody can disable themselves")
        asked = _update(user, wanted)
        if asked.ByteSize():
            asked.address = user.address
            if expected is not None:
                asked.expected_version = expected
            try:
                user = (await self._addressbook.UpdateUser(asked, timeout=self._timeout_s)).user
            except RpcError as error:
                raise _told(error, expected) from None
        return json_answer(user_of(user), version=user.version)

    async def delete(self, request: web.Request) -> web.Response:
        """Removes a user."""
        user = await self._get(request)
        expected = expected_version(request, user.version)
        if user.address == caller_of(request).address:
            raise HttpError(409, "nobody can remove themselves")
        asked = pb.DeleteUserRequest(address=user.address, expected_version=expected)
        try:
            await self._addressbook.DeleteUser(asked, timeout=self._timeout_s)
        except RpcError as error:
            raise _told(error, expected) from None
        return web.Response(status=204)

    async def set_password(self, request: web.Request) -> web.Response:
        """Another password; it ends the sessions, tickets and certificates of the user."""
        wanted = await read_json(request, NewPassword)
        asked = pb.SetPasswordRequest(address=_address(request), password=wanted.password.get_secret_value())
        try:
            await self._addressbook.SetPassword(asked, timeout=self._timeout_s)
        except RpcError as error:
            raise HttpError.of_values(error) from None
        return web.Response(status=204)


def _address(request: web.Request) -> str:
    text = parameter(request, "address")
    return text if text.lower().startswith("sip:") else f"sip:{text}"


def _update(user: pb.User, wanted: UserChange) -> pb.UpdateUserRequest:
    """The change that comes to what is wanted; nothing is set in it when all is so."""
    asked = pb.UpdateUserRequest()
    if wanted.display_name is not None:
        asked.display_name = wanted.display_name
    if wanted.login_names is not None:
        asked.remove_login_names.extend(name for name in user.login_names if name not in wanted.login_names)
        asked.add_login_names.extend(name for name in wanted.login_names if name not in user.login_names)
    if wanted.enabled is not None and wanted.enabled != user.enabled:
        asked.enabled = wanted.enabled
    return asked


def _told(error: RpcError, expected: int | None) -> HttpError:
    """``expected``: the version that the client named."""
    if error.code is StatusCode.ABORTED and expected is not None:
        return HttpError(412, error.message)
    return HttpError.of_values(error)
