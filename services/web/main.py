"""Wires the HTTP services."""

from __future__ import annotations

import asyncio
import logging
import secrets
from pathlib import Path

from parley.ntlm.messages import TargetInfo
from parley.platform.addresses import is_wildcard
from parley.platform.keys import derive_key
from parley.platform.lifecycle import ServiceContext, ShortWorkService
from parley.platform.rpc.batch import BatchClient
from parley.platform.tls import CertificateFiles, DevelopmentCa, ServerTls
from parley.proto.addressbook.v1 import addressbook_pb2 as addressbook
from parley.proto.addressbook.v1.addressbook_pb2_grpc import AddressBookStub
from parley.proto.avedge.v1.credentials_pb2_grpc import CredentialsStub
from parley.webticket.tickets import Tickets
from services.web.certificates import CertificateService
from services.web.config import WebConfig
from services.web.guarding import FailureGuard
from services.web.relays import RelayService
from services.web.routes import CERTIFICATE_ENTRY, CERTIFICATES, ICE_SERVERS, TICKET_ENTRY, TICKETS, Route, Urls
from services.web.server import HttpsServer
from services.web.signing_in import CredentialsClient, HttpSignIn
from services.web.tickets import TicketService

logger = logging.getLogger(__name__)

_SWEEP_S = 1.0
_BOOK = "parley.addressbook.v1.AddressBook"
_EDGE = "avedge"


class WebService(ShortWorkService):
    """See `parley.platform.lifecycle.Service`."""

    name = "web"
    config_model = WebConfig

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
        self._server = HttpsServer(self._routes(urls), config.limits, context.clock, context.tracer)
        await self._server.open(hosts, config.port, self._tls.context)
        urls.base = self.url = config.url or _url(hosts[0], self._server.addresses[0][1], config.domains[0])
        context.tasks.spawn("web sweep", self._sweep())
        self.ready = True
        logger.info("listening for HTTPS on %s", ", ".join(f"{host}:{port}" for host, port in self._server.addresses))

    def _routes(self, urls: Urls) -> list[Route]:
        """The table of everything that is served."""
        config, context = self.config, self._context
        book = context.rpc.channel(_BOOK)
        lookups: CredentialsClient = BatchClient(
            book, f"/{_BOOK}/GetCredentials", addressbook.GetCredentialsRequest, addressbook.GetCredentialsResponse
        )
        guard = FailureGuard(config.limits, context.clock)
        sign_in = HttpSignIn(
            lookups, guard, context.clock, secrets.token_bytes, _target(config, urls), timeout_s=config.backend_seconds
        )
        sealed = Tickets(derive_key(context.master_key, "web-ticket"), secrets.token_bytes)
        tickets = TicketService(
            sign_in, sealed, urls, context.clock, secrets.token_bytes, lifetime_s=config.ticket_hours * 3600,
            domain=config.domains[0],
        )  # fmt: skip
        certificates = CertificateService(
            book.stub(AddressBookStub), sealed, urls, context.clock, timeout_s=config.backend_seconds
        )
        return [
            Route("GET", f"{TICKETS}/mex", tickets.metadata),
            Route("POST", TICKET_ENTRY, tickets.issue),
            Route("GET", f"{CERTIFICATES}/mex", certificates.metadata),
            Route("POST", CERTIFICATE_ENTRY, certificates.publish),
            *self._relay_routes(sign_in),
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
