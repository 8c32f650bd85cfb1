"""What devices do over HTTP: they ask for updates, fetch files and send logs (web-services sheet, sections 0.1 and 5).

    POST /RequestHandlerExt/ucdevice.upx
    GET  /DeviceUpdateFiles_Ext/RULE/VERSION/FILE
    POST /RequestHandlerExt/Logs/NAME

At the external URLs whoever asks has signed in; at the internal ones too, unless devices may be anonymous. How requests and
answers are written is not known for sure: until it is configured that they are answered all the same, each is told that
there is no update, and what came is logged, so that a real device can teach the form.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from aiohttp import web

from parley.addressbook.device_xml import MAX_REQUEST, answer_bytes, parse_request
from parley.addressbook.devices import Device, Module
from parley.addressbook.errors import DeviceError
from parley.platform.clock import Clock
from parley.platform.limits import RateLimiter
from parley.platform.rpc.errors import RpcError
from parley.proto.addressbook.v1 import device_updates_pb2 as pb
from services.web.bodies import json_answer, pieces
from services.web.devices.config import WebDevicesConfig
from services.web.devices.conversions import log_of
from services.web.downloads.conditions import FileInfo
from services.web.downloads.sending import SECONDS, Downloads
from services.web.errors import HttpError
from services.web.metrics import DEVICE_REQUESTS
from services.web.routes import XML, Access, Route, Style, Urls, caller_of, parameter

if TYPE_CHECKING:
    from parley.proto.addressbook.v1.device_updates_pb2_grpc import DeviceUpdatesAsyncStub

logger = logging.getLogger(__name__)

INTERNAL: Final = "/RequestHandler"
EXTERNAL: Final = "/RequestHandlerExt"
FILES: Final = ("/DeviceUpdateFiles_Int", "/DeviceUpdateFiles_Ext")
"""Inside, outside."""
_FILE: Final = "/{rule}/{version}/{file}"
_LOGGED: Final = 4_096
"""Bytes of a request that are logged."""
_LOGGED_PER_S: Final = 1 / 60
_UPLOAD_S: Final = 300.0


class DeviceRoutes:
    """Handlers."""

    def __init__(
        self, updates: DeviceUpdatesAsyncStub, downloads: Downloads, urls: Urls, clock: Clock, config: WebDevicesConfig,
        *, timeout_s: float,
    ) -> None:  # fmt: skip
        self._updates = updates
        self._downloads = downloads
        self._urls = urls
        self._clock = clock
        self._config = config
        self._timeout_s = timeout_s
        self._logged = RateLimiter(_LOGGED_PER_S, 3)

    def routes(self) -> list[Route]:
        """Their rows."""
        rows = []
        for handler, files, access in (
            (INTERNAL, FILES[0], Access.OPEN if self._config.anonymous else Access.USER),
            (EXTERNAL, FILES[1], Access.USER),
        ):
            rows += [
                Route("POST", f"{handler}/ucdevice.upx", self.ask, access, Style.PROBLEM, body_bytes=MAX_REQUEST),
                Route(
                    "POST", f"{handler}/Logs/{{name}}", self.send_log, Access.USER, Style.PROBLEM, self._config.log_bytes,
                    seconds=_UPLOAD_S,
                ),
                *(
                    Route(method, base + _FILE, self.fetch, access, Style.PROBLEM, seconds=SECONDS)
                    for base in (files, f"{handler}/Files")
                    for method in ("GET", "HEAD")
                ),
            ]  # fmt: skip
        return rows

    # Updates

    async def ask(self, request: web.Request) -> web.Response:
        """What the device is to fetch. Raises HttpError."""
        data = await request.read()
        if self._config.answers == "none":
            self._log(request, data)
            DEVICE_REQUESTS.labels("logged").inc()
            return _answer(answer_bytes([]))
        try:
            device = parse_request(data)
            found = await self._decide(request, device)
        except DeviceError as error:
            self._log(request, data)
            DEVICE_REQUESTS.labels("refused").inc()
            raise HttpError(400, str(error)) from None
        except RpcError as error:
            told = HttpError.of(error)
            if told.status < 500:
                self._log(request, data)
            DEVICE_REQUESTS.labels("failed" if told.status >= 500 else "refused").inc()
            raise told from None
        DEVICE_REQUESTS.labels("answered").inc()

        def url_of(file: str, outside: bool) -> str:
            parts = (found.rule, found.version, file)
            return self._urls.of("/".join((FILES[outside], *(quote(part, safe="") for part in parts))))

        modules = [
            Module(
                module.file, module.version, module.timestamp, module.signature, module.size, module.sha256.hex()
            )
            for module in found.modules
        ]  # fmt: skip
        return _answer(answer_bytes(modules, url_of))

    async def _decide(self, request: web.Request, device: Device) -> pb.CheckDeviceResponse:
        message = pb.Device(
            type=device.type, vendor=device.vendor, model=device.model, revision=device.revision, locale=device.locale,
            mac=device.mac, serial=device.serial, user=_signed_in(request) or device.user,
            modules=[
                pb.DeviceModule(file=module.file, version=module.version, timestamp=module.timestamp)
                for module in device.modules
            ],
        )  # fmt: skip
        asked = pb.CheckDeviceRequest(device=message, client=request.remote or "")
        found: pb.CheckDeviceResponse = await self._updates.CheckDevice(asked, timeout=self._timeout_s)
        return found

    def _log(self, request: web.Request, data: bytes) -> None:
        """What could not be read; not too much of it."""
        if self._logged.allow(request.remote or "", self._clock.monotonic()):
            logger.info(
                "a device asked for updates in a form that is not read: %d bytes", len(data),
                extra={"client": request.remote or "", "body": repr(data[:_LOGGED])},
            )  # fmt: skip

    async def fetch(self, request: web.Request) -> web.StreamResponse:
        """A file of an update. Raises HttpError."""
        rule, version, file = (parameter(request, name) for name in ("rule", "version", "file"))
        try:
            asked = pb.GetUpdateFileRequest(rule=rule, version=version, file=file)
            found = await self._updates.GetUpdateFile(asked, timeout=self._timeout_s)

            def read(first: int, count: int) -> object:
                wanted = pb.ReadUpdateFileRequest(sha256=found.sha256, first=first, count=count)
                return self._updates.ReadUpdateFile(wanted, timeout=SECONDS)

            info = FileInfo(found.size, found.sha256.hex(), found.uploaded_at_ms / 1000)
            return await self._downloads.send(request, "devices", info, read)
        except RpcError as error:
            raise HttpError.of(error) from None

    # Logs

    async def send_log(self, request: web.Request) -> web.Response:
        """Keeps a log of a device. Raises HttpError."""
        if request.content_length is None:
            raise HttpError(411, "Content-Length has to tell how large the log is")
        log = pb.DeviceLog(name=parameter(request, "name"), user=_signed_in(request), client=request.remote or "")

        async def parts() -> AsyncIterator[pb.UploadDeviceLogRequest]:
            yield pb.UploadDeviceLogRequest(log=log)
            async for data in pieces(request):
                yield pb.UploadDeviceLogRequest(data=data)

        try:
            with self._downloads.slot(request):
                kept = (await self._updates.UploadDeviceLog(parts(), timeout=_UPLOAD_S)).log
        except RpcError as error:
            raise HttpError.of(error) from None
        return json_answer(log_of(kept), status=201)


def _answer(body: bytes) -> web.Response:
    return web.Response(body=body, content_type=XML, charset="utf-8")


def _signed_in(request: web.Request) -> str:
    """The address of record of who sends a request; "" for nobody."""
    try:
        return caller_of(request).address
    except KeyError:
        return ""
