"""What the proxy needs from the rest of the front end, as narrow interfaces."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from parley.proto.registrar.v1.registrar_pb2 import Binding
from parley.proto.sip.v1.application_pb2 import Proceed
from parley.sip.flowtoken import FlowToken, FlowTokens
from parley.sip.message import Request
from parley.sip.uri import Uri
from services.frontend.flows import Flow

if TYPE_CHECKING:
    from services.frontend.proxying.context import Plan, ProxiedRequest


@dataclass(frozen=True, slots=True)
class Identity:
    """Who sent a request."""

    aor: str
    """Address of record that authenticated; "" for a trusted peer."""
    display_name: str = ""
    trusted: bool = False


class Authenticator(Protocol):
    """Decides who sends a request."""

    def authenticate(self, request: Request, flow: Flow, done: Callable[[Identity | Refusal], None]) -> None:
        """Calls ``done`` once, at once or later."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not let in: what to answer."""

    status: int
    reason: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    limited: bool = False
    """A limit says so, whatever the request is."""


class Directory(Protocol):
    """Look-ups that the proxy makes."""

    def lookup(self, aor: str, traceparent: str) -> Awaitable[list[Binding]]:
        """Live bindings of an address of record; raises RpcError."""

    def edge_address(self, edge_uid: str, connection_id: int) -> Awaitable[str]:
        """gRPC address of the front end that holds a flow; "" when none does. Raises RpcError."""

    def address_of_issuer(self, issuer: bytes) -> Awaitable[str]:
        """gRPC address of the front end that an `issuer_id` stands for; "" when it is gone. Raises RpcError."""

    def exists(self, aor: str, traceparent: str) -> Awaitable[bool]:
        """Whether there is such a user, enabled; raises RpcError."""


class ApplicationSender(Protocol):
    """Hands requests to SIP applications."""

    def send(
        self, proxied: ProxiedRequest, application: str, who: Identity, proceed: Callable[[Proceed], None],
        *, refused_with: int = 0,
    ) -> Awaitable[None]:  # fmt: skip
        """Sends a request to an application by name and sees to its answers; raises RpcError.

        ``proceed``: told when the application leaves the request to the endpoints of its user; ``refused_with``: what they
        answered then, when it comes back to the application.
        """

    def pass_on(self, ack: Request, flow: Flow, application: str) -> None:
        """Sends an ACK, which has no answer; its sender is known only on a connection with a security association."""


class OutsideSender(Protocol):
    """Sends requests to other domains, where policy allows."""

    def send(self, proxied: ProxiedRequest, who: Identity, plan: Plan) -> Awaitable[None]:
        """Answers the request in any case."""


class Addresses:
    """Under which names clients and other servers reach this front end, and the tokens in our routes."""

    def __init__(
        self,
        advertised: dict[str, tuple[str, int]],
        tokens: FlowTokens,
        edge_uid: str,
        aliases: frozenset[str],
    ) -> None:
        """``advertised``: host and port by transport ("UDP", "TCP", "TLS", "WS", "WSS"), and by "UDP6" and so on where
        clients over IPv6 need another; ``aliases``: further hosts.
        """
        self._advertised = advertised
        self._tokens = tokens
        self._edge_uid = edge_uid
        self.hosts = frozenset({host.lower() for host, _ in advertised.values()} | aliases)

    @property
    def transport(self) -> str:
        """Some transport that there is a listener for, a reliable one if possible."""
        return next((name for name in ("TLS", "TCP", "WSS", "WS") if name in self._advertised), "UDP")

    def sent_by(self, transport: str, flow: Flow | None = None) -> str:
        """Host and port for our Via on that transport, for the side on which a flow is."""
        host, port = self._advertised[transport] if flow is None else self._towards(flow)
        return f"{host}:{port}"

    def _towards(self, flow: Flow) -> tuple[str, int]:
        """Host and port as the client of a flow reaches us: of its own address family."""
        if ":" in flow.local[0]:
            return self._advertised.get(flow.transport + "6") or self._advertised[flow.transport]
        return self._advertised[flow.transport]

    def route(self, flow: Flow) -> str:
        """Our Record-Route URI for the side on which a flow is."""
        host, port = self._towards(flow)
        token = self._tokens.encode(FlowToken(self._edge_uid, flow.connection_id))
        return f"sip:{token}@{host}:{port};transport={flow.transport.lower()};lr"

    def service_route(self, flow: Flow) -> str:
        """Our URI in Service-Route (RFC 3608): requests outside dialogs come here first."""
        host, port = self._towards(flow)
        return f"sip:{host}:{port};transport={flow.transport.lower()};lr"

    def token(self, uri: Uri) -> FlowToken | None:
        """The flow a route URI of ours names; None for any other URI, and for a forged one."""
        if not uri.user or not uri.is_sip:
            return None
        return self._tokens.decode(uri.user)

    def is_own(self, uri: Uri) -> bool:
        """Whether a Route value is one of ours: by its token, or a bare one with our host (Service-Route)."""
        if uri.user:
            return self.token(uri) is not None
        return "lr" in uri.params and uri.host.lower() in self.hosts
