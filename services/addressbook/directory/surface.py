"""The gRPC surface of the directory (proto parley.addressbook.v1.Directory)."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID, uuid4

from grpc import StatusCode

from parley.addressbook.csvfiles import MAX_FILE, CsvFile
from parley.addressbook.entries import Entry, Kind, Photo, normal_address, uuid_of_name
from parley.addressbook.entry_proto import (
    from_proto,
    kind_from_proto,
    result_to_proto,
    to_proto,
    uuid_of,
)
from parley.addressbook.errors import AddressBookError, CsvError, EntryError
from parley.addressbook.numbers.normalising import Normaliser
from parley.addressbook.searching.criteria import Criteria
from parley.addressbook.searching.queries import Query, Question
from parley.platform.rpc.errors import RpcError
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreError
from parley.proto.addressbook.v1 import directory_pb2 as pb
from parley.proto.addressbook.v1.directory_pb2_grpc import DirectoryServicer
from services.addressbook.directory.expanding import expand
from services.addressbook.directory.importing import ImportBusy, Importer
from services.addressbook.directory.keys import BY_ADDRESS, BY_MAIL, BY_NICKNAME, photo_key
from services.addressbook.directory.metrics import EXPANSIONS, SEARCH_SECONDS, SEARCHES
from services.addressbook.directory.passwords import PasswordChecker
from services.addressbook.directory.rebuilding import Rebuilder
from services.addressbook.directory.repository import EntryRepository
from services.addressbook.directory.resolving import find, with_members, without_photo_change
from services.addressbook.directory.searching import DirectoryIndex, Narrowed
from services.addressbook.directory.syncing import SyncBusy, Syncer, UnknownSource
from services.addressbook.directory.writing import EntryConflict, LoginTaken, Taken
from services.addressbook.leases import LeaseLost

logger = logging.getLogger(__name__)

_USUAL_PAGE: Final = 100
_MAX_PAGE: Final = 1_000
_USUAL_RESULTS: Final = 20
_USUAL_MEMBERS: Final = 100
_AT_ONCE: Final = 200
_LISTED_AT_MOST: Final = 5_000
"""Entries that one page of ListEntries looks at."""
_PHOTOS: Final = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"), (b"GIF8", "image/gif"))


@dataclass(frozen=True, slots=True)
class Parts:
    """What the surface stands on."""

    store: Store
    entries: EntryRepository
    index: DirectoryIndex
    rebuilder: Rebuilder
    normaliser: Normaliser
    importer: Importer
    syncer: Syncer
    passwords: PasswordChecker


class DirectorySurface(DirectoryServicer):
    """Entries one by one; searches; imports and syncs."""

    def __init__(self, parts: Parts, *, photo_limit: int, group_limit: int) -> None:
        """``photo_limit``: bytes; ``group_limit``: members."""
        self._parts = parts
        self._entries = parts.entries
        self._photo_limit = photo_limit
        self._group_limit = group_limit

    # Entries

    async def PutEntry(self, request: pb.PutEntryRequest, context: Any) -> pb.PutEntryResponse:
        """Makes or replaces an entry."""
        expect = request.expected_version if request.HasField("expected_version") else None
        with _failures(creating=expect == 0):
            message = pb.Entry()
            message.CopyFrom(request.entry)
            if not message.id:
                message.id = _new_id(message).bytes
            entry = from_proto(message)
            (before,) = await self._entries.as_kept([entry.id])
            self._refuse_foreign(before)
            source = entry.origin.source
            if source.startswith("ldap:") and (before is None or before.origin.source != source):
                raise EntryError("origin", f"entries of {source} come from that server alone")
            entry = await with_members(self._entries, without_photo_change(self._normalised(entry), before))
            return pb.PutEntryResponse(entry=to_proto(await self._entries.put(entry, expect=expect)))

    def _refuse_foreign(self, before: Entry | None) -> None:
        """Refuses changes of what a directory server would put back; one that is not configured any more does not."""
        if before is not None and before.origin.source in self._entries.servers:
            text = f"{before.name} comes from {before.origin.source}; change it there"
            raise RpcError(StatusCode.FAILED_PRECONDITION, text)

    def _normalised(self, entry: Entry) -> Entry:
        """With what numbers mean, where that is not given."""
        normal = self._parts.normaliser.entry(entry)
        pairs = zip(entry.numbers, normal.numbers, strict=True)
        return replace(entry, numbers=tuple(given if given.normalised else found for given, found in pairs))

    async def GetEntry(self, request: pb.GetEntryRequest, context: Any) -> pb.GetEntryResponse:
        """An entry by what it is known by."""
        with _failures():
            match request.WhichOneof("by"):
                case "id":
                    found = await self._entries.get(uuid_of("id", request.id))
                case "address":
                    found = await self._entries.find(BY_ADDRESS, normal_address(request.address))
                case "mail":
                    found = await self._entries.find(BY_MAIL, request.mail.strip().casefold())
                case "mail_nickname":
                    found = await self._entries.find(BY_NICKNAME, request.mail_nickname.strip().casefold())
                case "name":
                    found = await find(self._entries, request.name)
                case _:
                    raise RpcError(StatusCode.INVALID_ARGUMENT, "say which entry: by id, address, mail, nickname or name")
        if found is None:
            raise RpcError(StatusCode.NOT_FOUND, "there is no such entry")
        return pb.GetEntryResponse(entry=to_proto(found))

    async def DeleteEntry(self, request: pb.DeleteEntryRequest, context: Any) -> pb.DeleteEntryResponse:
        """Removes an entry, and the user that belongs to it."""
        with _failures():
            id = uuid_of("id", request.id)
            (before,) = await self._entries.as_kept([id])
            self._refuse_foreign(before)
            expect = request.expected_version if request.HasField("expected_version") else None
            if not await self._entries.delete(id, expect=expect):
                raise RpcError(StatusCode.NOT_FOUND, "there is no such entry")
        return pb.DeleteEntryResponse()

    async def ListEntries(self, request: pb.ListEntriesRequest, context: Any) -> pb.ListEntriesResponse:
        """Entries in the order of their UUIDs."""
        size = min(request.page_size or _USUAL_PAGE, _MAX_PAGE)
        response = pb.ListEntriesResponse()
        with _failures():
            kind = kind_from_proto(request.kind)
            after = _parse_token(request.page_token)
            keep = _keeper(request.domain, kind)
            looked_at = 0
            while looked_at < _LISTED_AT_MOST:
                ids = await self._entries.page(after, size, request.source)
                for entry in await self._entries.get_many(ids):
                    if entry is not None and keep(entry):
                        response.entries.append(to_proto(entry))
                        if len(response.entries) == size:
                            response.next_page_token = entry.id.hex
                            return response
                if len(ids) < size:
                    return response
                after = ids[-1]
                looked_at += len(ids)
            response.next_page_token = after.hex if after is not None else ""
        return response

    async def ExportEntries(self, request: pb.ExportEntriesRequest, context: Any) -> AsyncIterator[pb.ExportEntriesResponse]:
        """All entries."""
        with _failures():
            response = pb.ExportEntriesResponse()
            async for entry in self._entries.export():
                response.entries.append(to_proto(entry))
                if len(response.entries) == _AT_ONCE:
                    yield response
                    response = pb.ExportEntriesResponse()
            if response.entries:
                yield response

    # Search and groups

    async def Search(self, request: pb.SearchRequest, context: Any) -> pb.SearchResponse:
        """Shown entries, best first."""
        begun = time.perf_counter()
        outcome = "error"
        try:
            with _failures():
                question = _question(request)
                search = await self._parts.index.search(question, request.limit or _USUAL_RESULTS, request.token)
            outcome = "found" if search.found else "nothing"
        except RpcError as error:
            outcome = "refused" if error.code is StatusCode.INVALID_ARGUMENT else "error"
            raise
        finally:
            SEARCHES.labels(outcome).inc()
            SEARCH_SECONDS.observe(time.perf_counter() - begun)
        return pb.SearchResponse(entries=map(to_proto, search.entries), token=search.token)

    async def Expand(self, request: pb.ExpandRequest, context: Any) -> pb.ExpandResponse:
        """Who is in a group."""
        with _failures():
            if request.WhichOneof("group") == "name":
                group = await find(self._entries, request.name)
                id = group.id if group is not None else None
            else:
                id = uuid_of("id", request.id)
            if id is None:
                EXPANSIONS.labels("notFound").inc()
                return pb.ExpandResponse(result=pb.EXPAND_RESULT_NOT_FOUND, problem="there is no such group")
            limit = min(request.limit or _USUAL_MEMBERS, self._group_limit)
            found = await expand(self._entries, id, nested=request.nested, limit=limit, reveal=request.reveal)
        EXPANSIONS.labels(found.result.value).inc()
        members = map(to_proto, found.members)
        return pb.ExpandResponse(result=result_to_proto(found.result), members=members, problem=found.problem)

    # Pictures

    async def SetPhoto(self, request: pb.SetPhotoRequest, context: Any) -> pb.SetPhotoResponse:
        """Keeps, changes or removes the picture of an entry."""
        picture = request.picture
        if picture and _type_of(picture) is None:
            raise RpcError(StatusCode.INVALID_ARGUMENT, "this is no picture that can be shown; send JPEG, PNG or GIF")
        if len(picture) > self._photo_limit:
            raise RpcError(StatusCode.INVALID_ARGUMENT, f"a picture has at most {self._photo_limit} bytes; make it smaller")
        with _failures():
            id = uuid_of("id", request.id)
            entry = await self._entries.get(id)
            if entry is None:
                raise RpcError(StatusCode.NOT_FOUND, "there is no such entry")
            expect = request.expected_version if request.HasField("expected_version") else None
            if expect is not None and expect != entry.version:
                raise EntryConflict
            photo = Photo(hashlib.sha256(picture).hexdigest(), len(picture)) if picture else None
            kept = await self._entries.put(replace(entry, photo=photo), expect=entry.version, picture=picture)
        return pb.SetPhotoResponse(entry=to_proto(kept))

    async def GetPhoto(self, request: pb.GetPhotoRequest, context: Any) -> pb.GetPhotoResponse:
        """The picture of an entry."""
        with _failures():
            picture = await self._parts.store.execute("GET", photo_key(uuid_of("id", request.id)))
        if picture is None:
            raise RpcError(StatusCode.NOT_FOUND, "there is no picture")
        photo = pb.PhotoInfo(hash=hashlib.sha256(picture).hexdigest(), size=len(picture))
        return pb.GetPhotoResponse(picture=picture, content_type=_type_of(picture) or "", photo=photo)

    # Imports and syncs

    async def StartImport(self, request: AsyncIterable[pb.StartImportRequest], context: Any) -> pb.StartImportResponse:
        """Takes a file and begins to import it."""
        options, data = pb.ImportOptions(), bytearray()
        async for part in request:
            if part.HasField("options"):
                options.CopyFrom(part.options)
            data += part.data
            if len(data) > MAX_FILE:
                raise RpcError(StatusCode.INVALID_ARGUMENT, f"a file has at most {MAX_FILE // 1024 // 1024} MB; split it")
        with _failures():
            report, task = await self._parts.importer.begin(CsvFile(bytes(data)), options)
        if options.wait or options.dry_run:
            report = await asyncio.shield(task)  # whoever does not wait any more does not break it off
        return pb.StartImportResponse(report=report)

    async def ImportStatus(self, request: pb.ImportStatusRequest, context: Any) -> pb.ImportStatusResponse:
        """How an import goes on."""
        with _failures():
            report = await self._parts.importer.status(request.id)
        if report is None:
            raise RpcError(StatusCode.NOT_FOUND, "there was no such import")
        return pb.ImportStatusResponse(report=report)

    async def SyncNow(self, request: pb.SyncNowRequest, context: Any) -> pb.SyncNowResponse:
        """Reads a directory server at once."""
        with _failures():
            report = await self._parts.syncer.begin(request.source, dry_run=request.dry_run, full=request.full)
        return pb.SyncNowResponse(report=report)

    async def SyncStatus(self, request: pb.SyncStatusRequest, context: Any) -> pb.SyncStatusResponse:
        """How the directory servers were read."""
        with _failures():
            return pb.SyncStatusResponse(reports=await self._parts.syncer.status(request.source))

    async def RebuildIndex(self, request: pb.RebuildIndexRequest, context: Any) -> AsyncIterator[pb.RebuildIndexResponse]:
        """Makes the index anew."""
        with _failures():
            async with self._parts.rebuilder.lease.hold() as held:
                if held is None:
                    raise RpcError(StatusCode.FAILED_PRECONDITION, "the index is being made anew already")
                async for progress in self._parts.rebuilder.run():
                    yield pb.RebuildIndexResponse(indexed=progress.indexed, total=progress.total, done=progress.done)

    async def CheckPassword(self, request: pb.CheckPasswordRequest, context: Any) -> pb.CheckPasswordResponse:
        """Whether a password is a user's."""
        with _failures():
            user = await self._parts.passwords.check(request.login, request.realm, request.password)
        if user is None:
            return pb.CheckPasswordResponse()
        return pb.CheckPasswordResponse(address=user.address, display_name=user.display_name, version=user.version)


@contextmanager
def _failures(*, creating: bool = False) -> Any:
    """Makes answers of what goes wrong."""
    try:
        yield
    except (CsvError, AddressBookError) as error:
        raise RpcError(StatusCode.INVALID_ARGUMENT, str(error)) from None
    except EntryConflict:
        if creating:
            raise RpcError(StatusCode.ALREADY_EXISTS, "there is such an entry already") from None
        raise RpcError(StatusCode.ABORTED, "the entry was changed by somebody else; read it again") from None
    except Taken as error:
        raise RpcError(StatusCode.ALREADY_EXISTS, str(error)) from None
    except LoginTaken as error:
        raise RpcError(StatusCode.ALREADY_EXISTS, f"login {error} belongs to another user") from None
    except UnknownSource as error:
        raise RpcError(StatusCode.NOT_FOUND, str(error)) from None
    except (ImportBusy, SyncBusy):
        raise RpcError(StatusCode.FAILED_PRECONDITION, "it is under way already; wait until it is done") from None
    except LeaseLost as error:
        raise RpcError(StatusCode.ABORTED, str(error)) from None
    except StoreError as error:
        raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None


def _new_id(message: pb.Entry) -> UUID:
    kind = kind_from_proto(message.kind)
    if message.address and kind is Kind.USER:
        return uuid_of_name(kind, normal_address(message.address).removeprefix("sip:"))
    return uuid4()


def _question(request: pb.SearchRequest) -> Question:
    question: Question
    if request.WhichOneof("question") == "criteria":
        pairs = [(item.attribute, item.value) for item in request.criteria.criteria]
        if request.criteria.any:
            question = Criteria.any_of([name for name, _ in pairs], next((value for _, value in pairs if value.strip()), ""))
        else:
            question = Criteria.all_of(pairs)
    else:
        question = Query.parse(request.text)
    kind = kind_from_proto(request.kind)
    if not request.domain and kind is None:
        return question
    return Narrowed(question, _keeper(request.domain, kind), f"{request.domain.lower()} {kind or ''}")


def _keeper(domain: str, kind: Kind | None) -> Callable[[Entry], bool]:
    end = f"@{domain.lower()}"

    def keep(entry: Entry) -> bool:
        return (kind is None or entry.kind is kind) and (not domain or entry.address.endswith(end))

    return keep


def _parse_token(token: str) -> UUID | None:
    if not token:
        return None
    try:
        return UUID(token)
    except ValueError:
        raise EntryError("page_token", "it cannot be read; begin with the first page") from None


def _type_of(picture: bytes) -> str | None:
    return next((name for head, name in _PHOTOS if picture.startswith(head)), None)
