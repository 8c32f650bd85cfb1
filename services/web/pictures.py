"""Pictures of people, the same wherever they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from parley.proto.addressbook.v1 import directory_pb2 as pb
from services.web.bodies import has_already
from services.web.errors import HttpError
from services.web.routes import Caller

if TYPE_CHECKING:
    from parley.proto.addressbook.v1.directory_pb2_grpc import DirectoryAsyncStub


def is_shown(entry: pb.Entry, caller: Caller) -> bool:
    """Whether somebody may see an entry: hidden and disabled ones are for administrators, and for whom they are about."""
    return not (entry.hidden or entry.disabled) or caller.is_admin or entry.address == caller.address


async def picture_of(
    entry: pb.Entry, request: web.Request, directory: DirectoryAsyncStub, *, timeout_s: float
) -> web.Response:
    """The picture of an entry that is shown, kept by clients until its hash changes. Raises HttpError, RpcError."""
    if not entry.photo.hash:
        raise HttpError(404, "there is no picture")
    headers = {"ETag": f'"{entry.photo.hash}"', "Cache-Control": "private, no-cache"}
    if has_already(request, headers["ETag"]):
        return web.Response(status=304, headers=headers)
    found = await directory.GetPhoto(pb.GetPhotoRequest(id=entry.id), timeout=timeout_s)
    return web.Response(body=found.picture, content_type=found.content_type, headers=headers)
