"""The endpoint ``/scim/v2``: Users and Groups, what it says of itself, and no Bulk.

Lists look at the whole directory, as SCIM wants the number of all that match; one resource by ``userName eq`` is looked up.
Writes go by version, so that two provisioners do not overwrite each other; entries of directory servers are only read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from grpc import StatusCode

from parley.addressbook.entries import normal_address
from parley.addressbook.errors import EntryError
from parley.platform.rpc.errors import RpcError
from parley.proto.addressbook.v1 import directory_pb2 as pb
from parley.proto.addressbook.v1.addressbook_pb2 import GetUserRequest, SetPasswordRequest
from services.web.api.conversions import id_of
from services.web.bodies import expected_version, has_already
from services.web.errors import HttpError
from services.web.failures import SCIM_JSON
from services.web.routes import JSON, Access, Handler, Route, Style, Urls, parameter
from services.web.scim.filters import SURROGATE, Filter, Resource, parse_filter, values_at
from services.web.scim.patching import patched
from services.web.scim.resources import entry_of_resource, resource_of
from services.web.scim.schemas import MAX_RESULTS, provider_config, resource_types, schemas

if TYPE_CHECKING:
    from parley.proto.addressbook.v1.addressbook_pb2_grpc import AddressBookAsyncStub
    from parley.proto.addressbook.v1.directory_pb2_grpc import DirectoryAsyncStub

SCIM: Final = "/scim/v2"
_LIST: Final = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
_KINDS: Final = {"Users": pb.ENTRY_KIND_USER, "Groups": pb.ENTRY_KIND_GROUP}
_PAGE: Final = 1_000
_MAX_SCANNED: Final = 200_000
_BODY: Final = 2_097_152
_SECONDS: Final = 60.0


class ScimRoutes:
    """Handlers."""

    def __init__(
        self, addressbook: AddressBookAsyncStub, directory: DirectoryAsyncStub, urls: Urls, *, timeout_s: float,
        guarded: Collection[str],
    ) -> None:  # fmt: skip
        """``guarded``: addresses of record of users whose passwords are not set here."""
        self._guarded = frozenset(guarded)
        self._addressbook = addressbook
        self._directory = directory
        self._urls = urls
        self._timeout_s = timeout_s

    @property
    def _base(self) -> str:
        return self._urls.of(SCIM)

    def routes(self) -> list[Route]:
        """Their rows."""

        def row(method: str, path: str, handler: Handler) -> Route:
            types = (SCIM_JSON, JSON) if method in ("POST", "PUT", "PATCH") else ()
            return Route(method, SCIM + path, handler, Access.PROVISIONER, Style.SCIM, _BODY, types, _SECONDS)

        rows = [
            row("GET", "/ServiceProviderConfig", self.config),
            row("GET", "/ResourceTypes", self.types),
            row("GET", "/ResourceTypes/{id}", self.types),
            row("GET", "/Schemas", self.schemas),
            row("GET", "/Schemas/{id}", self.schemas),
            row("POST", "/Bulk", self.bulk),
        ]
        for kind in _KINDS:
            resources = _Resources(self, _KINDS[kind])
            rows += [
                row("GET", f"/{kind}", resources.query),
                row("POST", f"/{kind}", resources.create),
                row("GET", f"/{kind}/{{id}}", resources.get),
                row("PUT", f"/{kind}/{{id}}", resources.replace),
                row("PATCH", f"/{kind}/{{id}}", resources.patch),
                row("DELETE", f"/{kind}/{{id}}", resources.delete),
            ]
        return rows

    async def config(self, request: web.Request) -> web.Response:
        """ServiceProviderConfig."""
        return _answer(provider_config(self._base))

    async def types(self, request: web.Request) -> web.Response:
        """ResourceTypes, or one."""
        return _said(request, resource_types(self._base))

    async def schemas(self, request: web.Request) -> web.Response:
        """Schemas, or one."""
        return _said(request, schemas(self._base))

    async def bulk(self, request: web.Request) -> web.Response:
        """It is not supported."""
        raise HttpError(501, "bulk operations are not supported; ServiceProviderConfig says so")

    # What resources of both kinds are made of

    async def get(self, id: bytes, kind: pb.EntryKind.ValueType) -> pb.Entry:
        """An entry of a kind. Raises HttpError."""
        try:
            entry = (await self._directory.GetEntry(pb.GetEntryRequest(id=id), timeout=self._timeout_s)).entry
        except RpcError as error:
            raise HttpError.of(error) from None
        if entry.kind != kind:
            raise HttpError(404, "there is no such resource")
        return entry

    async def by_address(self, address: str) -> pb.Entry | None:
        """The entry of an address. Raises HttpError."""
        try:
            return (await self._directory.GetEntry(pb.GetEntryRequest(address=address), timeout=self._timeout_s)).entry
        except RpcError as error:
            if error.code in (StatusCode.NOT_FOUND, StatusCode.INVALID_ARGUMENT):
                return None
            raise HttpError.of(error) from None

    async def page_of(
        self, kind: pb.EntryKind.ValueType, wanted: Filter | None, first: int, count: int
    ) -> tuple[int, list[Resource]]:
        """How many resources of a kind a filter chooses, and ``count`` of them from ``first`` (0: the first).

        Raises HttpError; 400 (tooMany) for more than can be looked at.
        """
        found: list[Resource] = []
        token, seen, total = "", 0, 0
        while True:
            asked = pb.ListEntriesRequest(kind=kind, page_size=_PAGE, page_token=token)
            try:
                page = await self._directory.ListEntries(asked, timeout=self._timeout_s)
            except RpcError as error:
                raise HttpError.of(error) from None
            for entry in page.entries:
                resource = resource_of(entry, self._base)
                if wanted is None or wanted.matches(resource):
                    if first <= total < first + count:
                        found.append(resource)
                    total += 1
            token, seen = page.next_page_token, seen + len(page.entries)
            if not token:
                return total, found
            if seen >= _MAX_SCANNED:
                raise HttpError(400, "there are too many resources; ask for one by userName", kind="tooMany")

    def resource(self, entry: pb.Entry) -> Resource:
        """What is told of an entry."""
        return resource_of(entry, self._base)

    async def put(self, entry: pb.Entry, expected: int, password: str) -> pb.Entry:
        """Keeps an entry, and the password if there is one. Raises HttpError."""
        if password and self._is_guarded(entry.address):
            raise HttpError(403, "the password of an administrator is not set by provisioning")
        asked = pb.PutEntryRequest(entry=entry, expected_version=expected)
        try:
            kept = (await self._directory.PutEntry(asked, timeout=self._timeout_s)).entry
        except RpcError as error:
            raise _told(error) from None
        if password:
            await self._set_password(kept, password, is_new=not expected)
        return kept

    def _is_guarded(self, address: str) -> bool:
        try:
            return normal_address(address) in self._guarded  # however it is written
        except EntryError:
            return False  # the directory says what is wrong with it

    async def _set_password(self, kept: pb.Entry, password: str, *, is_new: bool) -> None:
        """Of a new user whose password is refused nothing is left, so that it can be made again. Raises HttpError."""
        wanted = SetPasswordRequest(address=kept.address, password=password)
        try:
            # An address that is nobody's may still be a login name of somebody else, whose password it is not.
            found = await self._addressbook.GetUser(GetUserRequest(address=kept.address), timeout=self._timeout_s)
            if found.user.address != kept.address:
                raise RpcError(StatusCode.INVALID_ARGUMENT, "nobody signs in with this address")
            await self._addressbook.SetPassword(wanted, timeout=self._timeout_s)
        except RpcError as error:
            if is_new:
                with suppress(HttpError):
                    await self.remove(kept, kept.version)
            raise _told(error) from None

    async def remove(self, entry: pb.Entry, expected: int | None) -> None:
        """Removes an entry. Raises HttpError."""
        asked = pb.DeleteEntryRequest(id=entry.id)
        if expected is not None:
            asked.expected_version = expected
        try:
            await self._directory.DeleteEntry(asked, timeout=self._timeout_s)
        except RpcError as error:
            raise _told(error) from None


class _Resources:
    """Handlers of one kind."""

    def __init__(self, to: ScimRoutes, kind: pb.EntryKind.ValueType) -> None:
        self._to = to
        self._kind = kind

    async def query(self, request: web.Request) -> web.Response:
        """Those that a filter chooses, a page of them."""
        start = max(1, _number(request, "startIndex", 1))
        count = min(MAX_RESULTS, max(0, _number(request, "count", 100)))
        text = request.query.get("filter", "")
        total, page = await self._found(parse_filter(text) if text else None, start - 1, count)
        return _answer(
            {
                "schemas": [_LIST], "totalResults": total, "startIndex": start, "itemsPerPage": len(page),
                "Resources": [_projected(request, resource) for resource in page],
            }
        )  # fmt: skip

    async def _found(self, wanted: Filter | None, first: int, count: int) -> tuple[int, list[Resource]]:
        if wanted is None or wanted.exact is None or wanted.exact[0] != "username":
            return await self._to.page_of(self._kind, wanted, first, count)
        entry = await self._to.by_address(wanted.exact[1])
        found = [self._to.resource(entry)] if entry is not None and entry.kind == self._kind else []
        return len(found), found[first : first + count]

    async def create(self, request: web.Request) -> web.Response:
        """A new one."""
        body = await _body(request)
        entry = await self._to.put(entry_of_resource(body, self._kind, None), 0, _password(body))
        resource = self._to.resource(entry)
        response = _answer(resource, status=201)
        response.headers["Location"] = resource["meta"]["location"]
        return response

    async def get(self, request: web.Request) -> web.Response:
        """One."""
        entry = await self._entry(request)
        resource = self._to.resource(entry)
        if has_already(request, entry.version):
            return web.Response(status=304, headers={"ETag": resource["meta"]["version"]})
        return _answer(_projected(request, resource))

    async def _entry(self, request: web.Request) -> pb.Entry:
        return await self._to.get(id_of(parameter(request, "id")), self._kind)

    async def replace(self, request: web.Request) -> web.Response:
        """Another in its place."""
        body, before = await _body(request), await self._entry(request)
        return await self._keep(request, body, before)

    async def patch(self, request: web.Request) -> web.Response:
        """The same, changed."""
        body, before = await _body(request), await self._entry(request)
        # In a thread: many operations on a group of thousands take seconds.
        return await self._keep(request, await asyncio.to_thread(patched, self._to.resource(before), body), before)

    async def _keep(self, request: web.Request, body: Resource, before: pb.Entry) -> web.Response:
        expected_version(request, before.version)
        entry = entry_of_resource(body, self._kind, before)
        kept = (
            before if entry == before and not _password(body) else await self._to.put(entry, before.version, _password(body))
        )
        return _answer(self._to.resource(kept))

    async def delete(self, request: web.Request) -> web.Response:
        """None any more."""
        entry = await self._entry(request)
        await self._to.remove(entry, expected_version(request, entry.version))
        return web.Response(status=204)


def _number(request: web.Request, name: str, usual: int) -> int:
    text = request.query.get(name, "")
    if not text:
        return usual
    try:
        return int(text) if len(text) < 10 else usual
    except ValueError:
        raise HttpError(400, f"{name} has to be a number", kind="invalidValue") from None


async def _body(request: web.Request) -> Resource:
    try:
        value = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise HttpError(400, "the body is no JSON", kind="invalidSyntax") from None
    if not isinstance(value, dict):
        raise HttpError(400, "the body has to be an object", kind="invalidSyntax")
    return value


def _password(body: Resource) -> str:
    value = next(iter(values_at(body, "password")), "")
    if not isinstance(value, str) or len(value) > 256 or SURROGATE.search(value) is not None:
        raise HttpError(400, "password has to be a text of at most 256 characters", kind="invalidValue")
    return value


def _projected(request: web.Request, resource: Resource) -> Resource:
    """With the attributes that are asked for (RFC 7644 section 3.9), by their first names."""
    wanted = _names(request.query.get("attributes", ""))
    unwanted = _names(request.query.get("excludedAttributes", "")) - {"id", "schemas"}
    if wanted:
        wanted |= {"id", "schemas", "meta"}
    return {
        name: value
        for name, value in resource.items()
        if (not wanted or name.lower() in wanted) and name.lower() not in unwanted
    }


def _names(text: str) -> set[str]:
    return {name.strip().partition(".")[0].lower() for name in text.split(",") if name.strip()}


def _said(request: web.Request, resources: list[dict[str, Any]]) -> web.Response:
    """All of what the endpoint says of itself, or the one of the path."""
    wanted = request.path[len(SCIM) :].strip("/").partition("/")[2]
    if not wanted:
        listed = {"schemas": [_LIST], "totalResults": len(resources), "startIndex": 1, "itemsPerPage": len(resources)}
        return _answer({**listed, "Resources": resources})
    found = next((resource for resource in resources if resource["id"].lower() == wanted.lower()), None)
    if found is None:
        raise HttpError(404, "there is no such resource")
    return _answer(found)


def _answer(value: dict[str, Any], *, status: int = 200) -> web.Response:
    response = web.Response(body=json.dumps(value).encode(), status=status, content_type=SCIM_JSON)
    if "version" in value.get("meta", {}):
        response.headers["ETag"] = value["meta"]["version"]
    return response


def _told(error: RpcError) -> HttpError:
    match error.code:
        case StatusCode.ALREADY_EXISTS:
            return HttpError(409, error.message, kind="uniqueness")
        case StatusCode.ABORTED:
            return HttpError(412, "the resource was changed; read it again")
        case StatusCode.FAILED_PRECONDITION:
            return HttpError(409, error.message, kind="mutability")
        case StatusCode.INVALID_ARGUMENT:
            return HttpError(400, error.message, kind="invalidValue")
    return HttpError.of(error)
