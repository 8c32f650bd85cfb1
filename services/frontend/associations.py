"""Sign-in of Office Communicator and its kin (MS-SIPAE), and who signed what afterwards.

A REGISTER that names no association goes through the handshake of a scheme that its domain offers. Everything else on a
connection that has one must be signed: a wrong signature ends the connection, a repeated one is dropped, and what is genuine
goes on without its credentials.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from email.utils import formatdate
from functools import partial
from typing import Final

from parley.platform.clock import Clock
from parley.platform.events.api import Event
from parley.platform.rpc.errors import RpcError, sip_status
from parley.platform.telemetry.counters import FastCounter
from parley.proto.addressbook.v1.addressbook_pb2 import Credentials
from parley.proto.events.v1.user_pb2 import UserChanged
from parley.sip.diagnostics import ms_diagnostics
from parley.sip.errors import SipParseError
from parley.sip.message import Request, Response, make_response
from parley.sip.uri import aor
from parley.sipae.acceptor import Established
from parley.sipae.association import Association, Verdict
from parley.sipae.fields import scheme_of
from parley.sipae.negotiation import Challenged, Handshakes, NeedsAccount, NeedsContext, Secret, Server
from parley.sipae.principal import KerberosError
from services.frontend.authentication import Accepted, DigestAuthenticator, Done
from services.frontend.communicator import speaks_it
from services.frontend.credentials import CredentialCache
from services.frontend.flows import Flow, Flows
from services.frontend.guessing import GuessGuard
from services.frontend.kerberos import Contexts
from services.frontend.limits import refused
from services.frontend.proxying.wiring import Identity, Refusal
from services.frontend.sealing import Seal

logger = logging.getLogger(__name__)

_SIGNATURES = FastCounter("parley_frontend_signatures_total", "Signed messages judged, by verdict", ["verdict"])
_SIGN_INS = FastCounter("parley_frontend_sign_ins_total", "Handshakes of Communicator clients, by outcome", ["outcome"])

_NOT_YOURS: Final = 4004
_ENDS: Final = frozenset(
    {
        UserChanged.KIND_PASSWORD_CHANGED, UserChanged.KIND_DISABLED, UserChanged.KIND_DELETED,
        UserChanged.KIND_CERTIFICATES_WITHDRAWN,
    }
)  # fmt: skip


class Gate:
    """Who sends a request, by digest or by signature; see `services.frontend.proxying.wiring.Authenticator`."""

    def __init__(
        self, digest: DigestAuthenticator, *, servers: Mapping[str, Server],
        cache: CredentialCache, guard: GuessGuard, clock: Clock, flows: Flows, contexts: Contexts | None,
    ) -> None:  # fmt: skip
        """``servers``: by SIP domain; ``contexts``: needed when one of them offers Kerberos."""
        self._digest = digest
        self._servers = servers
        self._cache = cache
        self._guard = guard
        self._clock = clock
        self._flows = flows
        self._contexts = contexts
        self._verdicts = {verdict: _SIGNATURES.labels(verdict.value) for verdict in Verdict}

    # Requests that are routed

    def authenticate(self, request: Request, flow: Flow, done: Callable[[Identity | Refusal], None]) -> None:
        """The identity of an association, else digest."""
        association = flow.seal.present if flow.seal is not None else None
        if association is None:
            self._digest.authenticate(request, flow, done)
        else:
            done(self._guard.rate_refusal(association.address) or _identity(association))

    def admit(self, message: Request | Response, flow: Flow) -> bool:
        """Whether a message of a connection with an association goes on; what does not is answered or ends it here."""
        seal = flow.seal
        if seal is None or seal.present is None or (isinstance(message, Request) and message.method == "REGISTER"):
            return True
        verdict = seal.judge(message, self._clock.monotonic())
        self._verdicts[verdict].inc()
        if verdict is Verdict.GENUINE:
            return self._is_own(message, flow, seal)
        if verdict is Verdict.FORGED:
            logger.warning("a wrong signature of %s from %s; the connection is closed", seal.address(), flow.source)
            flow.close()
        elif verdict is Verdict.UNSIGNED and isinstance(message, Request) and message.method not in ("ACK", "CANCEL"):
            headers = self._challenge_headers(seal.handshakes.offer())
            flow.send(bytes(make_response(message, 401, to_tag=flow.new_tag(), headers=headers)))
        return False

    def _is_own(self, message: Request | Response, flow: Flow, seal: Seal) -> bool:
        message.remove("Authorization")
        message.remove("Proxy-Authorization")
        if isinstance(message, Response) or aor(message.from_.uri) == seal.address():
            return True
        if message.method != "ACK":
            name = self._servers[_domain_of(seal.address())].name
            headers = (ms_diagnostics(_NOT_YOURS, "The From URI is not that of the credentials", name),)
            flow.send(bytes(make_response(message, 403, "From Is Not You", to_tag=flow.new_tag(), headers=headers)))
        return False

    # REGISTER

    def judge(self, request: Request, flow: Flow, *, proxy: bool, done: Done, traceparent: str = "") -> None:
        """Calls ``done`` once: a Communicator client by handshake or signature, any other by digest."""
        try:
            domain = request.from_.uri.host.lower()
            takes = flow.reliable and domain in self._servers and (flow.seal is not None or _is_communicator(request))
        except SipParseError as error:
            done(Refusal(error.status, error.reason))
            return
        if not takes:
            self._digest.judge(request, flow, proxy=proxy, done=done, traceparent=traceparent)
            return
        refusal = self._guard.source_refusal(flow.remote[0])
        if refusal is not None:
            done(refusal)
            return
        if flow.seal is None:
            flow.seal = Seal(Handshakes(self._servers[domain]))
            flow.silent = True
        elif flow.seal.handshakes.domain != domain:  # another domain may offer other schemes
            flow.seal.handshakes = Handshakes(self._servers[domain])
        self._register(request, flow, flow.seal, domain, done, traceparent)

    def _register(self, request: Request, flow: Flow, seal: Seal, domain: str, done: Done, traceparent: str) -> None:
        now = self._clock.monotonic()
        if seal.present is not None and seal.judge(request, now) is Verdict.GENUINE:
            self._verdicts[Verdict.GENUINE].inc()
            done(self._guard.rate_refusal(seal.address()) or Accepted(_identity(seal.present)))
            return
        step = seal.handshakes.on_register(request, now)
        if isinstance(step, Challenged):
            if step.failure:
                logger.info("a sign-in from %s failed: %s", flow.source, step.failure)
                self._guard.failed_unnamed(flow.remote[0])
            _SIGN_INS.labels("failed" if step.failure else "challenged").inc()
            done(Refusal(401, None, self._challenge_headers(step)))
            return
        if isinstance(step, NeedsAccount):
            self._look_up(request, flow, seal, step, domain, done, traceparent)
        elif self._contexts is None or not self._contexts.accept(
            step.token, partial(self._on_context, request, flow, seal, step, domain, done, traceparent)
        ):
            refused("kerberos_tokens")
            done(Refusal(503, "Too Many Sign-Ins", (("Retry-After", "5"),), limited=True))

    def _on_context(
        self, request: Request, flow: Flow, seal: Seal, step: NeedsContext, domain: str, done: Done, traceparent: str,
        context: Established | KerberosError | RpcError,
    ) -> None:  # fmt: skip
        if isinstance(context, RpcError):
            done(_backend_away(context))
            return
        try:
            if isinstance(context, KerberosError):
                raise context
            account = step.finish(context)
        except KerberosError as error:
            logger.info("a Kerberos sign-in from %s failed: %s", flow.source, error)
            self._guard.failed_unnamed(flow.remote[0])
            _SIGN_INS.labels("failed").inc()
            done(Refusal(401, None, self._challenge_headers(seal.handshakes.offer())))
            return
        self._look_up(request, flow, seal, account, domain, done, traceparent)

    def _look_up(
        self, request: Request, flow: Flow, seal: Seal, step: NeedsAccount, domain: str, done: Done, traceparent: str
    ) -> None:
        self._cache.get(
            step.login, domain, traceparent, lambda found: self._finish(request, flow, seal, step, domain, found, done),
            step.certificate,
        )  # fmt: skip

    def _finish(
        self, request: Request, flow: Flow, seal: Seal, step: NeedsAccount, domain: str,
        found: Credentials | RpcError | None, done: Done,
    ) -> None:  # fmt: skip
        if isinstance(found, RpcError):
            done(_backend_away(found))
            return
        secret = None
        if found is not None and found.enabled:
            ends_ms = found.certificate_expires_at_ms
            left_s = ends_ms / 1000 - self._clock.wall() if ends_ms else math.inf
            secret = Secret(found.address, found.display_name, found.nt_hash, left_s)
        association = step.finish(secret)
        if association is None:
            _SIGN_INS.labels("failed").inc()
            refusal = Refusal(401, None, self._challenge_headers(seal.handshakes.offer()))
            self._guard.failed(flow.remote[0], step.login, domain, lambda: done(refusal))
            return
        self._guard.succeeded(step.login, domain)
        if aor(request.from_.uri) != association.address:
            _SIGN_INS.labels("not_theirs").inc()
            reason = "The From URI is not that of the credentials"
            done(Refusal(403, "From Is Not You", (ms_diagnostics(_NOT_YOURS, reason, self._servers[domain].name),)))
            return
        _SIGN_INS.labels("ok").inc()
        seal.establish(association)
        done(Accepted(_identity(association)))

    def _challenge_headers(self, challenged: Challenged) -> tuple[tuple[str, str], ...]:
        """With the time, by which a client sees why its own would not do."""
        date = formatdate(self._clock.wall(), usegmt=True)
        return ("Date", date), *(("WWW-Authenticate", value) for value in challenged.values)

    # Changes of users

    async def on_user_changed(self, event: Event) -> None:
        """Ends the connections of who may not sign in as before; handler of the topic ``parley.users``."""
        changed = event.message
        if changed.kind not in _ENDS:
            return
        for flow in self._flows:
            if flow.seal is not None and flow.seal.address() == changed.address:
                flow.close()


def _backend_away(error: RpcError) -> Refusal:
    status, retry_after = sip_status(error.code)
    return Refusal(status, None, (("Retry-After", str(retry_after or 5)),))


def _identity(association: Association) -> Identity:
    return Identity(association.address, association.display_name)


def _is_communicator(request: Request) -> bool:
    value = request.get("Authorization") or request.get("Proxy-Authorization") or ""
    return speaks_it(request) or scheme_of(value) is not None


def _domain_of(address: str) -> str:
    return address.rpartition("@")[2]
