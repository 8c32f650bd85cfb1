"""Users over REST, with an address book that allows no change: one who belongs to a directory server."""

from __future__ import annotations

from unittest.mock import AsyncMock, Mock

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from grpc import StatusCode

from parley.platform.rpc.errors import RpcError
from parley.proto.addressbook.v1 import addressbook_pb2 as pb
from services.web.api.users import UserRoutes
from services.web.errors import HttpError
from services.web.routes import Caller, note

KEPT = RpcError(StatusCode.FAILED_PRECONDITION, "the user is kept by ldap:corp")
ALICE = pb.User(address="sip:alice@example.test", enabled=True, version=3)


def request(method: str, body: bytes, headers: dict[str, str] | None = None) -> web.Request:
    """By an administrator, about alice."""
    asked: web.Request = make_mocked_request(method, "/", headers)
    asked._read_bytes = body
    note(
        asked, caller=Caller("sip:root@example.test", "", 1, "basic", is_admin=True),
        parameters={"address": "alice@example.test"},
    )  # fmt: skip
    return asked


@pytest.mark.parametrize(
    ("method", "row", "body"),
    [
        ("PATCH", "change", b'{"display_name": "A"}'), ("PATCH", "change", b'{"enabled": false}'), ("DELETE", "delete", b""),
        ("PUT", "set_password", b'{"password": "Secret-22"}'),
    ],
)  # fmt: skip
async def test_a_user_who_is_kept_elsewhere_is_a_conflict(method: str, row: str, body: bytes) -> None:
    book = Mock(GetUser=AsyncMock(return_value=pb.GetUserResponse(user=ALICE)))
    for call in ("UpdateUser", "DeleteUser", "SetPassword"):
        setattr(book, call, AsyncMock(side_effect=KEPT))
    with pytest.raises(HttpError) as refused:
        await getattr(UserRoutes(book, timeout_s=1.0), row)(request(method, body))
    assert (refused.value.status, refused.value.text) == (409, "the user is kept by ldap:corp")


@pytest.mark.parametrize(("method", "row", "body"), [("PATCH", "change", b'{"enabled": false}'), ("DELETE", "delete", b"")])
@pytest.mark.parametrize(("headers", "status"), [({"If-Match": '"3"'}, 412), ({}, 409)])
async def test_somebody_else_is_faster(method: str, row: str, body: bytes, headers: dict[str, str], status: int) -> None:
    """Between what was read and what is written; who names no version is told that it was not done."""
    faster = AsyncMock(side_effect=RpcError(StatusCode.ABORTED, "changed"))
    book = Mock(
        GetUser=AsyncMock(return_value=pb.GetUserResponse(user=ALICE)), UpdateUser=faster, DeleteUser=faster,
    )  # fmt: skip
    with pytest.raises(HttpError) as refused:
        await getattr(UserRoutes(book, timeout_s=1.0), row)(request(method, body, headers))
    assert refused.value.status == status
    (asked,) = faster.await_args_list[0].args
    assert asked.HasField("expected_version") == bool(headers)
    assert asked.expected_version == (3 if headers else 0)


async def test_what_is_so_already_is_not_written() -> None:
    book = Mock(GetUser=AsyncMock(return_value=pb.GetUserResponse(user=ALICE)), UpdateUser=AsyncMock())
    answer = await UserRoutes(book, timeout_s=1.0).change(request("PATCH", b'{"enabled": true, "login_names": []}'))
    assert (answer.status, answer.headers["ETag"]) == (200, '"3"')
    book.UpdateUser.assert_not_awaited()
