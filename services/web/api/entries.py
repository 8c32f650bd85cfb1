"""The directory over REST: entries and groups, search, members, pictures.

People find what is shown to them; hidden and disabled entries, and members of groups that hide them, are for administrators.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web
from grpc import StatusCode

from parley.platform.rpc.errors import RpcError
from parley.proto.addressbook.v1 import directory_pb2 as pb
from services.web.api.conversions import entry_of, id_of, id_text, kind_of, message_of
from services.web.api.models import (
    API,
    Entries,
    EntriesQuery,
    Entry,
    EntryFields,
    Members,
    MembersQuery,
    SearchQuery,
)
from services.web.bodies import expected_version, has_already, json_answer, read_json, read_query
from services.web.errors import HttpError
from services.web.openapi import IF_MATCH, Operation, rows_of
from services.web.pictures import is_shown, picture_of
from services.web.routes import Access, Route, caller_of, parameter

if TYPE_CHECKING:
    from parley.proto.addressbook.v1.directory_pb2_grpc import DirectoryAsyncStub

_ENTRIES = f"{API}/directory/entries"
_ENTRY = f"{_ENTRIES}/{{id}}"
_PHOTO = f"{_ENTRY}/photo"
_BODY: Final = 2_097_152
"""A group with as many members as it may have is larger than what is usual."""
_PICTURES: Final = {"image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG\r\n\x1a\n", "image/gif": b"GIF8"}


class EntryRoutes:
    """Handlers."""

    def __init__(self, directory: DirectoryAsyncStub, *, timeout_s: float, picture_bytes: int) -> None:
        self._directory = directory
        self._timeout_s = timeout_s
        self._picture_bytes = picture_bytes

    def routes(self) -> list[Route]:
        """Their rows."""
        row, user = rows_of("directory"), Access.USER
        return [
            row("GET", f"{API}/directory/search", self.search,
                Operation("Entries that are meant, the best first", SearchQuery, result=Entries), user),
            row("GET", _ENTRIES, self.list, Operation("All entries, hidden ones too", EntriesQuery, result=Entries)),
            row("POST", _ENTRIES, self.create,
                Operation("Make an entry", body=EntryFields, result=Entry, status=201, failures=(409, 422)),
                body_bytes=_BODY),
            row("GET", _ENTRY, self.get, Operation("An entry", result=Entry, failures=(304, 404)), user),
            row("PUT", _ENTRY, self.replace,
                Operation("Replace an entry", body=EntryFields, result=Entry, failures=(404, 409, 412, 422),
                          headers=IF_MATCH), body_bytes=_BODY),
            row("DELETE", _ENTRY, self.delete,
                Operation("Remove an entry, and the user that belongs to it", status=204, failures=(404, 409, 412),
                          headers=IF_MATCH)),
            row("GET", f"{API}/directory/groups/{{id}}/members", self.members,
                Operation("Who is in a group", MembersQuery, result=Members, failures=(404, 409)), user),
            row("GET", _PHOTO, self.photo, Operation("The picture of an entry", result_type="image/*", failures=(304, 404)),
                user),
            row("PUT", _PHOTO, self.set_photo,
                Operation("Set the picture; everybody may set their own", result=Entry, failures=(404, 412, 422),
                          headers=IF_MATCH),
                user, body_bytes=self._picture_bytes, content_types=tuple(_PICTURES)),
            row("DELETE", _PHOTO, self.remove_photo,
                Operation("Remove the picture", status=204, failures=(404, 412), headers=IF_MATCH), user),
        ]  # fmt: skip

    async def search(self, request: web.Request) -> web.Response:
        """What people type."""
        query = read_query(request, SearchQuery)
        asked = pb.SearchRequest(text=query.q, limit=query.limit, token=query.page_token, kind=kind_of(query.kind))
        try:
            found = await self._directory.Search(asked, timeout=self._timeout_s)
        except RpcError as error:
            raise HttpError.of(error) from None
        reveal = caller_of(request).is_admin
        entries = [entry_of(entry, reveal=reveal) for entry in found.entries]
        return json_answer(Entries(entries=entries, next_page_token=found.token))

    async def list(self, request: web.Request) -> web.Response:
        """A page of all."""
        query = read_query(request, EntriesQuery)
        asked = pb.ListEntriesRequest(
            kind=kind_of(query.kind), domain=query.domain, source=query.source, page_size=query.page_size,
            page_token=query.page_token,
        )  # fmt: skip
        try:
            page = await self._directory.ListEntries(asked, timeout=self._timeout_s)
        except RpcError as error:
            raise HttpError.of(error) from None
        entries = [entry_of(entry, reveal=True) for entry in page.entries]
        return json_answer(Entries(entries=entries, next_page_token=page.next_page_token))

    async def create(self, request: web.Request) -> web.Response:
        """A new entry."""
        message = message_of(await read_json(request, EntryFields))
        entry = await self._put(pb.PutEntryRequest(entry=message, expected_version=0))
        response = json_answer(entry_of(entry, reveal=True), status=201, version=entry.version)
        response.headers["Location"] = f"{_ENTRIES}/{id_text(entry.id)}"
        return response

    async def _put(self, asked: pb.PutEntryRequest) -> pb.Entry:
        try:
            return (await self._directory.PutEntry(asked, timeout=self._timeout_s)).entry
        except RpcError as error:
            raise _told(error, asked.HasField("expected_version") and asked.expected_version > 0) from None

    async def _get(self, request: web.Request) -> pb.Entry:
        """The entry that the path names, if the caller may see it."""
        asked = pb.GetEntryRequest(id=id_of(parameter(request, "id")))
        try:
            entry = (await self._directory.GetEntry(asked, timeout=self._timeout_s)).entry
        except RpcError as error:
            raise HttpError.of(error) from None
        if not is_shown(entry, caller_of(request)):
            raise HttpError(404, "there is no such entry")
        return entry

    async def get(self, request: web.Request) -> web.Response:
        """An entry."""
        entry = await self._get(request)
        if has_already(request, entry.version):
            return web.Response(status=304, headers={"ETag": f'"{entry.version}"'})
        return json_answer(entry_of(entry, reveal=caller_of(request).is_admin), version=entry.version)

    async def replace(self, request: web.Request) -> web.Response:
        """Another entry with the same id."""
        message = message_of(await read_json(request, EntryFields))
        before = await self._get(request)
        expected_version(request, before.version)
        message.id = before.id
        message.origin.CopyFrom(before.origin)
        # What was read is what is replaced, also for who named no version.
        entry = await self._put(pb.PutEntryRequest(entry=message, expected_version=before.version))
        return json_answer(entry_of(entry, reveal=True), version=entry.version)

    async def delete(self, request: web.Request) -> web.Response:
        """No entry any more."""
        entry = await self._get(request)
        expected = expected_version(request, entry.version)
        if entry.address and entry.address == caller_of(request).address:
            raise HttpError(409, "nobody can remove themselves")
        asked = pb.DeleteEntryRequest(id=entry.id)
        if expected is not None:
            asked.expected_version = expected
        try:
            await self._directory.DeleteEntry(asked, timeout=self._timeout_s)
        except RpcError as error:
            raise _told(error, expected is not None) from None
        return web.Response(status=204)

    async def members(self, request: web.Request) -> web.Response:
        """Who is in a group."""
        query = read_query(request, MembersQuery)
        reveal = caller_of(request).is_admin
        asked = pb.ExpandRequest(
            id=id_of(parameter(request, "id")), nested=query.nested, limit=query.limit, reveal=reveal
        )  # fmt: skip
        try:
            found = await self._directory.Expand(asked, timeout=self._timeout_s)
        except RpcError as error:
            raise HttpError.of(error) from None
        match found.result:
            case pb.EXPAND_RESULT_OK:
                return json_answer(Members(members=[entry_of(entry, reveal=reveal) for entry in found.members]))
            case pb.EXPAND_RESULT_TOO_LARGE:
                raise HttpError(409, found.problem or "the group is too large; ask with a larger limit")
            case pb.EXPAND_RESULT_NOT_ALLOWED:
                raise HttpError(403, found.problem or "nobody is shown who is in this group")
        raise HttpError(404, found.problem or "there is no such group")

    async def photo(self, request: web.Request) -> web.Response:
        """A picture, kept by clients until its hash changes."""
        entry = await self._get(request)
        try:
            return await picture_of(entry, request, self._directory, timeout_s=self._timeout_s)
        except RpcError as error:
            raise HttpError.of(error) from None

    async def set_photo(self, request: web.Request) -> web.Response:
        """A picture whose bytes are of the type that is said."""
        picture = await request.read()
        begin = _PICTURES.get(request.content_type)  # of what has no body, the type was not looked at
        if begin is None or not picture.startswith(begin):
            raise HttpError(422, f"this is no {request.content_type}")
        entry = await self._set_photo(request, picture)
        return json_answer(entry_of(entry, reveal=caller_of(request).is_admin), version=entry.version)

    async def remove_photo(self, request: web.Request) -> web.Response:
        """No picture."""
        await self._set_photo(request, b"")
        return web.Response(status=204)

    async def _set_photo(self, request: web.Request, picture: bytes) -> pb.Entry:
        entry, caller = await self._get(request), caller_of(request)
        if not caller.is_admin and entry.address != caller.address:
            raise HttpError(403, "only administrators may change the pictures of others")
        expected = expected_version(request, entry.version)
        asked = pb.SetPhotoRequest(id=entry.id, picture=picture)
        if expected is not None:
            asked.expected_version = expected
        try:
            return (await self._directory.SetPhoto(asked, timeout=self._timeout_s)).entry
        except RpcError as error:
            raise _told(error, expected is not None) from None


def _changed() -> HttpError:
    return HttpError(412, "the entry was changed by somebody else; read it again")


def _told(error: RpcError, conditional: bool) -> HttpError:
    """``conditional``: the client named a version."""
    if error.code is StatusCode.ABORTED and conditional:
        return _changed()
    return HttpError.of_values(error)
