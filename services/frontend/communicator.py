"""The dialect of registration that Office Communicator and its kin speak (MS-SIPREGE, MS-SIPRE).

Their parsers compare whole header lines and split lists without blanks, so the headers here are as they are for a reason:
every option tag of Supported on a line of its own, no blank in Allow-Events, Expires as a header, one line for a Contact.
"""

from __future__ import annotations

from collections.abc import Sequence
from secrets import token_bytes
from typing import Final

from parley.proto.registrar.v1.registrar_pb2 import Binding
from parley.sip.diagnostics import ms_diagnostics
from parley.sip.gruu import endpoint_gruu, instance_of_epid
from parley.sip.message import Request
from parley.sip.outbound import option_tags
from parley.sipae.dsk import DskContext
from parley.sipae.negotiation import Server
from services.frontend.config import FrontendConfig
from services.frontend.proxying.wiring import Refusal

CATEGORIES: Final = "msrtc-event-categories"

SUPPORTED: Final = frozenset({"gruu-10", "adhoclist", CATEGORIES, "com.microsoft.msrtc.presence", "ms-forking"})

ALLOW_EVENTS: Final = ",".join(
    (
        "vnd-microsoft-provisioning-v2",
        "vnd-microsoft-roaming-contacts",
        "vnd-microsoft-roaming-self",
        "presence",
        "presence.wpending",
        "vnd-microsoft-roaming-ACL",
        "conference",
    )
)

KEEP_ALIVE: Final = "UAS; tcp=no; hop-hop=yes; end-end=no; timeout={seconds}"


def speaks_it(request: Request) -> bool:
    """Whether a request comes from Communicator or a client like it. Raises SipParseError."""
    return "epid" in request.from_.params or ("Supported" in request and CATEGORIES in option_tags(request, "Supported"))


class CommunicatorDialect:
    """Checks their REGISTER and words the answer."""

    def __init__(self, server_name: str, keep_alive_s: int) -> None:
        """``server_name``: FQDN in diagnostics; ``keep_alive_s``: silence after which the client sends a keep-alive."""
        self._server_name = server_name
        self._keep_alive = KEEP_ALIVE.format(seconds=keep_alive_s)

    def check(self, request: Request) -> Refusal | None:
        """What MS-SIPREGE section 3.1.2.5.1 refuses. Raises SipParseError."""
        event = request.get("Event")
        if event is not None and event.partition(";")[0].strip().lower() != "registration":
            return self._refuse(489, 4055, "The event package is not registration")
        tags = option_tags(request, "Supported") if "Supported" in request else frozenset()
        if CATEGORIES not in tags:
            return None
        if "gruu-10" not in tags:
            return self._refuse(421, 2057, "GRUU support is required", ("Require", "gruu-10"))
        contacts = request.contacts
        named = "epid" in request.from_.params or (
            contacts != "*" and all("+sip.instance" in contact.params for contact in contacts)
        )
        if not named:
            return self._refuse(400, 4010, "The request names no endpoint: neither epid nor +sip.instance")
        return None

    def _refuse(self, status: int, error_id: int, reason: str, *headers: tuple[str, str]) -> Refusal:
        return Refusal(status, None, (*headers, ms_diagnostics(error_id, reason, self._server_name)))

    def ok_headers(
        self, request: Request, aor: str, bindings: Sequence[tuple[Binding, int]], categories: bool
    ) -> list[tuple[str, str]]:
        """Headers of the 200. ``bindings``: each with the seconds it has left; ``categories``: offered by the client."""
        headers: list[tuple[str, str]] = [("ms-keep-alive", self._keep_alive)]
        longest = 0
        for binding, left in bindings:
            longest = max(longest, left)
            instance = binding.instance.lower() or (instance_of_epid(binding.epid) if binding.epid else "")
            value = f"{binding.contact_header};expires={left}"
            if instance and not binding.instance:
                value += f';+sip.instance="<{instance}>"'
            gruu = endpoint_gruu(aor, instance) if instance else None
            headers.append(("Contact", f'{value};gruu="{gruu}"' if gruu else value))
        headers.append(("Expires", str(longest)))
        # What ends a handshake, and nothing later, has the one or the other.
        credentials = request.get("Authorization") or request.get("Proxy-Authorization") or ""
        if "gssapi-data=" in credentials or " version=" in credentials:
            headers.append(("presence-state", 'register-action="added"'))
        headers.append(("Allow-Events", ALLOW_EVENTS))
        headers.append(("Supported", "adhoclist"))
        headers.append(("Server", "RTC/3.5"))
        if categories:
            headers.append(("Supported", CATEGORIES))
        return headers


def sign_in_servers(config: FrontendConfig, kerberos_service: str = "", dsk: DskContext | None = None) -> dict[str, Server]:
    """What this server says of itself in handshakes, by SIP domain.

    ``kerberos_service``: whom tickets are for; ``dsk``: of the handshakes in which clients prove certificates.
    """
    return {
        domain: Server(
            name=config.server_name,
            netbios_domain=domain.partition(".")[0].upper()[:15],
            domain=domain,
            lifetime_s=config.communicator.association_hours * 3600,
            random_bytes=token_bytes,
            schemes=schemes,
            kerberos_service=kerberos_service,
            realms=config.realms,
            dsk=dsk,
            certificate_url=config.certificate_url,
        )
        for domain, schemes in config.signed_schemes.items()
    }
