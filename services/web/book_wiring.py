"""Puts together what clients and devices get of the address book over HTTP."""

from __future__ import annotations

from parley.platform.lifecycle import ServiceContext
from parley.platform.limits import RateLimiter
from parley.proto.addressbook.v1.book_files_pb2_grpc import AddressBookFilesStub
from parley.proto.addressbook.v1.device_updates_pb2_grpc import DeviceUpdatesStub
from parley.proto.addressbook.v1.directory_pb2_grpc import DirectoryStub
from parley.webticket.tickets import Tickets
from services.web.config import WebConfig
from services.web.devices.api import DeviceApi
from services.web.devices.requests import DeviceRoutes
from services.web.downloads.book_files import BookFileRoutes
from services.web.downloads.sending import Downloads
from services.web.expansion.service import ExpansionService
from services.web.routes import Route, Urls
from services.web.signing_in import HttpSignIn

_FILES = "parley.addressbook.v1.AddressBookFiles"
_DEVICES = "parley.addressbook.v1.DeviceUpdates"
_DIRECTORY = "parley.addressbook.v1.Directory"


def book_routes(
    context: ServiceContext, config: WebConfig, sign_in: HttpSignIn, tickets: Tickets, urls: Urls
) -> list[Route]:  # fmt: skip
    """Address-book files, pictures, groups, searches, and updates of devices."""
    timeout_s, limits = config.backend_seconds, config.limits
    downloads = Downloads(most=config.downloads.at_once, most_per_user=config.downloads.per_user)
    directory = context.rpc.channel(_DIRECTORY).stub(DirectoryStub)
    files = context.rpc.channel(_FILES).stub(AddressBookFilesStub)
    expansion = ExpansionService(
        directory, sign_in, tickets, urls, context.clock, config.expansion,
        RateLimiter(limits.user_requests_per_second, limits.user_request_burst), timeout_s=timeout_s,
    )  # fmt: skip
    updates = context.rpc.channel(_DEVICES).stub(DeviceUpdatesStub)
    return [
        *BookFileRoutes(files, directory, downloads, timeout_s=timeout_s).routes(),
        *expansion.routes(),
        *DeviceRoutes(updates, downloads, urls, context.clock, config.devices, timeout_s=timeout_s).routes(),
        *DeviceApi(updates, downloads, config.devices, timeout_s=timeout_s).routes(),
    ]
