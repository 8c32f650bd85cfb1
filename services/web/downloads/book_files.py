"""Address-book files and pictures of people at the URLs of the original (web-services sheet, sections 0.1, 1.1 and 2.2).

    GET /ABS/int/Handler/F-0B8B.lsabs
    GET /ABS/int/Handler/photos/UUID.jpg

A name that no address-book file can have is not asked for, so nothing but such files is ever named to the address book.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from aiohttp import web

from parley.addressbook.attributes import PHOTO_FOLDER
from parley.addressbook.files.names import BookName
from parley.platform.rpc.errors import RpcError
from parley.proto.addressbook.v1 import book_files_pb2 as pb
from parley.proto.addressbook.v1 import directory_pb2 as directory
from services.web.downloads.conditions import FileInfo
from services.web.downloads.sending import SECONDS, Downloads
from services.web.errors import HttpError
from services.web.pictures import is_shown, picture_of
from services.web.routes import ADDRESS_BOOK, Access, Route, Style, caller_of, parameter

if TYPE_CHECKING:
    from parley.proto.addressbook.v1.book_files_pb2_grpc import AddressBookFilesAsyncStub
    from parley.proto.addressbook.v1.directory_pb2_grpc import DirectoryAsyncStub

HANDLERS: Final = ("/ABS/int/Handler", "/ABS/ext/Handler", "/abs/handler")
_MAX_NAME: Final = 40


class BookFileRoutes:
    """Handlers."""

    def __init__(
        self, files: AddressBookFilesAsyncStub, directory: DirectoryAsyncStub, downloads: Downloads, *, timeout_s: float
    ) -> None:
        self._files = files
        self._directory = directory
        self._downloads = downloads
        self._timeout_s = timeout_s

    def routes(self) -> list[Route]:
        """Their rows."""
        return [
            Route(method, f"{base}{path}", handler, Access.USER, Style.PROBLEM, seconds=SECONDS, audience=ADDRESS_BOOK)
            for base in HANDLERS
            for path, handler in (("/{name}", self.file), (f"/{PHOTO_FOLDER}/{{name}}", self.picture))
            for method in ("GET", "HEAD")
        ]

    async def file(self, request: web.Request) -> web.StreamResponse:
        """A file. Raises HttpError."""
        text = parameter(request, "name")
        name = BookName.parse(text) if len(text) <= _MAX_NAME else None
        if name is None:
            raise HttpError(404, "there is no such file")
        try:
            found = (await self._files.GetFile(pb.GetFileRequest(name=str(name)), timeout=self._timeout_s)).file
            info = FileInfo(found.size, found.sha256.hex(), found.made_at_ms / 1000)

            def read(first: int, count: int) -> object:
                asked = pb.ReadFileRequest(name=found.name, sha256=found.sha256, first=first, count=count)
                return self._files.ReadFile(asked, timeout=SECONDS)

            return await self._downloads.send(request, "addressbook", info, read, name=found.name)
        except RpcError as error:
            raise HttpError.of(error) from None

    async def picture(self, request: web.Request) -> web.StreamResponse:
        """The picture of a person. Raises HttpError."""
        try:
            id = UUID(parameter(request, "name").removesuffix(".jpg"))
        except ValueError:
            raise _no_picture() from None
        try:
            entry = (await self._directory.GetEntry(directory.GetEntryRequest(id=id.bytes), timeout=self._timeout_s)).entry
            if not is_shown(entry, caller_of(request)):
                raise _no_picture()
            return await picture_of(entry, request, self._directory, timeout_s=self._timeout_s)
        except RpcError as error:
            raise HttpError.of(error) from None


def _no_picture() -> HttpError:
    return HttpError(404, "there is no such picture")
