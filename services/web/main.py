"""Wires the HTTP services."""

from __future__ import annotations

import asyncio
import logging
import secrets
from importlib.metadata import version
from pathlib import Path

from aiohttp import web

from parley.ntlm.messages import TargetInfo
from parley.platform.addresses import is_wildcard
from parley.platform.keys import derive_key
from parley.platform.lifecycle import NOTHING, ServiceContext, ShortWorkService
from parley.platform.rpc.batch import BatchClient
from parley.platform.tls import CertificateFiles, DevelopmentCa, ServerTls
from parley.proto.addressbook.v1 import addressbook_pb2 as addressbook
from parley.proto.addressbook.v1.addressbook_pb2_grpc import AddressBookStub
from parley.proto.addressbook.v1.directory_pb2_grpc import DirectoryStub
from parley.proto.avedge.v1.credentials_pb2_grpc import CredentialsStub
from parley.proto.presence.v1.presence_pb2_grpc import PresenceStub
from parley.proto.registrar.v1 import registrar_pb2 as registrar
from parley.proto.registrar.v1.registrar_pb2_grpc import RegistrarStub
from parley.webticket.tickets import Tickets
from services.web.admin import admin_routes
from services.web.api.entries import EntryRoutes
from services.web.api.live import Backends, LiveRoutes
from services.web.api.system import SystemRoutes
from services.web.api.users import UserRoutes
from services.web.book_wiring import book_routes
from services.web.certificates import CertificateService
from services.web.config import WebConfig
from services.web.errors import HttpError
from services.web.guarding import FailureGuard
from services.web.guarding_pages import PageGuard
from services.web.kerberos import acceptor_of, realms_of
from services.web.openapi import document
from services.web.provisioning import Provisioners
from services.web.relays import RelayService
from services.web.routes import (
    CERTIFICATE_ENTRY,
    CERTIFICATES,
    ICE_SERVERS,
    TICKET_ENTRY,
    TICKETS,
    Access,
    Caller,
    Route,
    Urls,
)
from services.web.schemes.bearer import BearerTokens
from services.web.schemes.negotiate import KerberosSignIn
from services.web.schemes.once import Once
from services.web.schemes.sessions import Endings, Sessions
from services.web.scim.routes import ScimRoutes
from services.web.server import HttpsServer
from services.web.signing_in import CredentialsClient, HttpSignIn, Ways
from services.web.tickets import TicketService

logger = logging.getLogger(__name__)

_SWEEP_S = 1.0
_BOOK = "parley.addressbook.v1.AddressBook"
_DIRECTORY = "parley.addressbook.v1.Directory"
_REGISTRAR = "parley.registrar.v1.Registrar"
_EDGE = "avedge"


class WebService(ShortWorkService):
    """See `parley.platform.lifecycle.Service`."""

    name = "web"
    config_model = WebConfig
    needs = NOTHING

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self.config = context.settings.section(self.name, WebConfig)
        self._server: HttpsServer | None = None
        self.url = self.config.url
        """What clients reach it by."""

    def register(self) -> None:
        """It serves no gRPC."""

    async def start(self) -> None:
        """Opens the port. Raises OSError when it is taken."""
        config, context = self.config, self._context
        hosts = config.listen or [context.platform.bind]
        urls = Urls(config.url or _url(hosts[0], config.port, config.domains[0]))
        self._tls = ServerTls(_files(config, context.platform.data_folder, [urls.host, *hosts]))
        self._sign_in = self._make_sign_in(urls)
        self._provisioners = Provisioners(config.scim, self._sign_in)
        routes = self._routes(urls)
        self._server = HttpsServer(
            routes, config.limits, context.clock, context.tracer, self._admit, PageGuard(urls, hsts_days=config.hsts_days)
        )
        await self._server.open(hosts, config.port, self._tls.context)
        urls.base = self.url = config.url or _url(hosts[0], self._server.addresses[0][1], config.domains[0])
        self._system.document = document(routes, base=self.url, version=version("parley"))
        context.tasks.spawn("web sweep", self._sweep())
        self.ready = True
        logger.info("listening for HTTPS on %s", ", ".join(f"{host}:{port}" for host, port in self._server.addresses))

    def _make_sign_in(self, urls: Urls) -> HttpSignIn:
        """All schemes. Raises ConfigError when the keytab cannot be used."""
        config, context = self.config, self._context
        self._tickets = Tickets(derive_key(context.master_key, "web-ticket"), secrets.token_bytes)
        self._sessions = Sessions(derive_key(context.master_key, "web-session"), secrets.token_bytes)
        self._bearer = BearerTokens(config.oidc, context.clock)
        once_client: BatchClient[registrar.OnceItem, registrar.OnceResult] = BatchClient(
            context.rpc.channel(_REGISTRAR), f"/{_REGISTRAR}/TakeOnce", registrar.TakeOnceRequest, registrar.TakeOnceResponse
        )
        once = Once(once_client, timeout_s=config.backend_seconds)
        self._endings = Endings(once)
        self._kerberos: KerberosSignIn | None = None
        acceptor = acceptor_of(config, urls.host, context.platform.data_folder)
        if acceptor is not None:
            self._kerberos = KerberosSignIn(acceptor, realms_of(config), once)
        lookups: CredentialsClient = BatchClient(
            context.rpc.channel(_BOOK), f"/{_BOOK}/GetCredentials", addressbook.GetCredentialsRequest,
            addressbook.GetCredentialsResponse,
        )  # fmt: skip
        ways = Ways(
            domain=config.domains[0], directory=context.rpc.channel(_DIRECTORY).stub(DirectoryStub), kerberos=self._kerberos,
            bearer=self._bearer, sessions=self._sessions, endings=self._endings, tickets=self._tickets,
            administrators=frozenset(config.administrators),
        )  # fmt: skip
        guard = FailureGuard(config.limits, context.clock, domain=config.domains[0])
        return HttpSignIn(
            lookups, guard, context.clock, secrets.token_bytes, _target(config, urls), timeout_s=config.backend_seconds,
            ways=ways,
        )  # fmt: skip

    async def _admit(self, request: web.Request, route: Route) -> Caller:
        """See `services.web.server.Gate`."""
        if route.access is Access.PROVISIONER:
            return await self._provisioners.admit(request)
        caller = await self._sign_in.user(request, audience=route.audience)
        if route.access is Access.ADMIN and not caller.is_admin:
            raise HttpError(403, "only administrators may do this; web.administrators names them")
        return caller

    def _routes(self, urls: Urls) -> list[Route]:
        """The table of everything that is served."""
        config, context, sign_in = self.config, self._context, self._sign_in
        tickets = TicketService(
            sign_in, self._tickets, urls, context.clock, secrets.token_bytes, lifetime_s=config.ticket_hours * 3600,
            domain=config.domains[0],
        )  # fmt: skip
        certificates = CertificateService(
            context.rpc.channel(_BOOK).stub(AddressBookStub), self._tickets, urls, context.clock,
            timeout_s=config.backend_seconds,
        )  # fmt: skip
        return [
            Route("GET", f"{TICKETS}/mex", tickets.metadata),
            Route("POST", TICKET_ENTRY, tickets.issue),
            Route("GET", f"{CERTIFICATES}/mex", certificates.metadata),
            Route("POST", CERTIFICATE_ENTRY, certificates.publish),
            *self._relay_routes(sign_in),
            *self._rest_routes(urls),
            *book_routes(context, config, sign_in, self._tickets, urls),
            *admin_routes(),
        ]

    def _rest_routes(self, urls: Urls) -> list[Route]:
        """The REST interface, and SCIM."""
        config, rpc, timeout_s = self.config, self._context.rpc, self.config.backend_seconds
        book, directory = rpc.channel(_BOOK).stub(AddressBookStub), rpc.channel(_DIRECTORY).stub(DirectoryStub)
        backends = Backends(
            directory, rpc.channel(_REGISTRAR).stub(RegistrarStub),
            rpc.channel("parley.presence.v1.Presence").stub(PresenceStub), rpc,
        )  # fmt: skip
        self._system = SystemRoutes(
            self._sign_in, self._sessions, self._endings, self._context.clock, session_s=config.session_hours * 3600,
            domains=config.domains,
        )  # fmt: skip
        guarded = () if config.scim.administrator_passwords else config.administrators
        return [
            *self._system.routes(),
            *UserRoutes(book, timeout_s=timeout_s).routes(),
            *EntryRoutes(directory, timeout_s=timeout_s, picture_bytes=config.limits.picture_bytes).routes(),
            *LiveRoutes(backends, timeout_s=timeout_s).routes(),
            *ScimRoutes(book, directory, urls, timeout_s=timeout_s, guarded=guarded).routes(),
        ]

    def _relay_routes(self, sign_in: HttpSignIn) -> list[Route]:
        """Credentials of the media relay, where the edge runs here or has an address."""
        config, context = self.config, self._context
        if _EDGE not in context.applications and _EDGE not in context.platform.rpc.targets:
            return []
        credentials = context.rpc.channel("parley.avedge.v1.Credentials").stub(CredentialsStub)
        relays = RelayService(
            sign_in, credentials, context.clock, domain=config.domains[0], timeout_s=config.backend_seconds
        )
        return [Route("POST", ICE_SERVERS, relays.ice_servers)]

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            self._tls.reload_if_changed()
            if self._server is not None:
                self._server.sweep()

    async def stop(self) -> None:
        """Closes the port."""
        await super().stop()
        if self._server is not None:
            await self._server.close()
            await self._bearer.close()
            if self._kerberos is not None:
                self._kerberos.close()


def _files(config: WebConfig, data: Path, hosts: list[str]) -> CertificateFiles:
    """The configured certificate, or one of the development CA."""
    if config.tls.certificate is not None and config.tls.key is not None:
        return CertificateFiles(config.tls.certificate, config.tls.key)
    names = dict.fromkeys([*hosts, *config.domains, "localhost", "127.0.0.1", "::1"])
    return DevelopmentCa(data / "tls").issue("web", [name for name in names if not is_wildcard(name)])


def _url(host: str, port: int, domain: str) -> str:
    """What clients reach it by when nothing is configured."""
    name = host if not is_wildcard(host) else domain
    return f"https://[{name}]:{port}" if ":" in name else f"https://{name}:{port}"


def _target(config: WebConfig, urls: Urls) -> TargetInfo:
    """What NTLM tells clients of this server."""
    domain = config.domains[0].lower()
    return TargetInfo(domain.partition(".")[0].upper()[:15], urls.host.partition(".")[0].upper()[:15], domain, urls.host)
