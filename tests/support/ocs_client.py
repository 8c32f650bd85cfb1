"""A Communicator client for tests that need to decide every byte: sign-in, signed messages, checked answers."""

from __future__ import annotations

import re
import struct
from base64 import b64decode, b64encode
from collections.abc import Iterable
from hmac import digest
from os import urandom
from typing import Protocol, TypeVar

from parley.ntlm.keys import response_key
from parley.ntlm.md4 import nt_hash
from parley.ntlm.messages import OFFERED, Flags
from parley.ntlm.rc4 import rc4
from parley.ntlm.signing import Signer
from parley.sip.message import Request, Response, make_response
from parley.sipae.fields import REALM
from parley.sipae.text import signed_text
from tests.support.sip_client import DOMAIN, SipClient

_FLAGS = (OFFERED | Flags.REQUEST_TARGET) & ~Flags.SEAL
MessageT = TypeVar("MessageT", Request, Response)
_FIELD = re.compile(r'([a-z-]+)="([^"]*)"')


class ClientCipher(Protocol):
    """Signatures as a client makes and checks them."""

    def sign(self, text: bytes) -> bytes:
        """The client's signature."""

    def verify(self, text: bytes, signature: bytes) -> bool:
        """Whether the server signed that."""


class TicketHolder(ClientCipher, Protocol):
    """A client of Kerberos."""

    def token(self, target: str) -> bytes:
        """A token for a service, and a new context."""


class CertificateHolder(ClientCipher, Protocol):
    """A client of TLS-DSK."""

    done: bool

    def step(self, received: bytes = b"") -> bytes:
        """The next flight of the handshake."""


class NtlmClientCipher:
    """The client's side of NTLM signatures."""

    def __init__(self, exported: bytes) -> None:
        self._client = Signer(exported, _FLAGS, server=False)
        self._server = Signer(exported, _FLAGS, server=True)

    def sign(self, text: bytes) -> bytes:
        """The client's signature."""
        return self._client.sign(text)

    def verify(self, text: bytes, signature: bytes) -> bool:
        """Whether the server signed that."""
        return self._server.verify(text, signature)


class OcsClient(SipClient):
    """One endpoint of a user, over TCP or TLS."""

    def __init__(self, user: str, password: str = "Secret-1", *, transport: str = "tcp", epid: str = "0123456789ab") -> None:
        super().__init__(user, password, transport=transport)
        self.epid = epid
        self.version = 4
        self.scheme = "NTLM"
        self._cipher: ClientCipher | None = None
        self._challenge: dict[str, str] = {}
        self._number = 0

    def ocs_request(
        self, method: str, uri: str, *, headers: Iterable[tuple[str, str]] = (), body: bytes = b"", to: str | None = None,
        to_tag: str | None = None, call_id: str | None = None,
    ) -> Request:  # fmt: skip
        """A request with our epid, not signed yet."""
        request = self.request(method, uri, headers=headers, body=body, to=to, to_tag=to_tag, call_id=call_id)
        request.set("From", f"{request.get('From')};epid={self.epid}")
        return request

    def sign(self, request: MessageT, *, number: int | None = None, wrong: bool = False) -> MessageT:
        """Puts the next signature on a message; ``number``: another cnum; ``wrong``: a signature of something else."""
        assert self._cipher is not None
        if number is None:
            self._number += 1
            number = self._number
        fields = self._challenge
        text = signed_text(request, self.scheme, "deadbeef", number, REALM, fields["targetname"], self.version)
        signature = self._cipher.sign(text + b"!" if wrong else text)
        opaque = f'opaque="{fields["opaque"]}", ' if "opaque" in fields else ""
        request.set(
            "Authorization",
            f'{self.scheme} qop="auth", {opaque}realm="{REALM}", targetname="{fields["targetname"]}", '
            f'crand="deadbeef", cnum="{number}", response="{signature.hex().upper()}"',
        )
        return request

    def is_signed(self, message: Request | Response) -> bool:
        """Whether the server's signature of a message is right."""
        value = message.get("Authentication-Info")
        if value is None or self._cipher is None:
            return False
        fields = dict(_FIELD.findall(value))
        number, target = int(fields["snum"]), fields["targetname"]
        text = signed_text(message, self.scheme, fields["srand"], number, REALM, target, self.version)
        return self._cipher.verify(text, bytes.fromhex(fields["rspauth"]))

    async def sign_in(self, *, login: str = "", domain: str = "EXAMPLE") -> Response:
        """The three REGISTERs; the last answer."""
        first = self._register("")
        self.send(bytes(first))
        offered = await self.response()
        if offered.status != 401:
            return offered
        self.scheme = "NTLM"
        self._challenge = _challenge_of(offered, "NTLM")
        self.send(bytes(self._register(', gssapi-data=""', first.call_id)))
        challenged = await self.response()
        self._challenge = _challenge_of(challenged, "NTLM")
        if "gssapi-data" not in self._challenge:
            return challenged
        message = self._authenticate(b64decode(self._challenge["gssapi-data"]), login or self.user, domain)
        last = self._register("", first.call_id)
        self._number = 0
        self.sign(last)
        last.set("Authorization", f'{last.get("Authorization")}, gssapi-data="{b64encode(message).decode()}", version=4')
        self.send(bytes(last))
        return await self.response()

    async def sign_in_with_ticket(self, holder: TicketHolder, *, target: str = "") -> Response:
        """The two REGISTERs of Kerberos; the last answer. ``target``: the service of the ticket, where it is another."""
        first = self._register("")
        self.send(bytes(first))
        offered = await self.response()
        self._challenge = _challenge_of(offered, "Kerberos")
        self.send(bytes(self.ticket_register(holder, first.call_id, target=target)))
        answer = await self.response()
        info = dict(_FIELD.findall(answer.get("Authentication-Info") or ""))
        if "opaque" in info:
            self._challenge["opaque"] = info["opaque"]
        return answer

    async def sign_in_with_certificate(self, holder: CertificateHolder) -> Response:
        """The four REGISTERs of TLS-DSK; the last answer, or the first that goes no further."""
        first = self._register("")
        self.send(bytes(first))
        answer = await self.response()
        self._challenge = _challenge_of(answer, "TLS-DSK")
        self.scheme, self._cipher, self._number = "TLS-DSK", holder, 0
        flight = holder.step()
        while not holder.done:
            fields = f', gssapi-data="{b64encode(flight).decode()}"'
            if "opaque" in self._challenge:
                fields += f', opaque="{self._challenge["opaque"]}"'
            self.send(bytes(self._register(fields, first.call_id)))
            answer = await self.response()
            challenge = _challenge_of(answer, "TLS-DSK")
            if "gssapi-data" not in challenge:
                return answer
            self._challenge = challenge
            flight = holder.step(b64decode(challenge["gssapi-data"]))
        return await self.finish_with_certificate(first.call_id)

    async def finish_with_certificate(self, call_id: str) -> Response:
        """The REGISTER after a handshake, which shows nothing but that its keys are known; the answer."""
        last = self.sign(self._register("", call_id))
        last.set("Authorization", f"{last.get('Authorization')}, version=4")
        self.send(bytes(last))
        return await self.response()

    def ticket_register(self, holder: TicketHolder, call_id: str, *, target: str = "") -> Request:
        """The REGISTER that brings a ticket; signed as well with version 4."""
        self.scheme, self._cipher, self._number = "Kerberos", holder, 0
        self._challenge.pop("opaque", None)
        offered = self._challenge["targetname"]
        token = b64encode(holder.token(target or offered)).decode()
        request = self._register("", call_id)
        if self.version >= 4:
            value = self.sign(request).get("Authorization") or ""
        else:
            value = f'Kerberos qop="auth", realm="{REALM}", targetname="{offered}"'
        request.set("Authorization", f'{value}, gssapi-data="{token}", version={self.version}')
        return request

    def register_bare(self) -> Request:
        """A REGISTER without credentials."""
        return self._register("")

    def _register(self, extra: str, call_id: str | None = None) -> Request:
        headers = [
            ("Contact", f'<{self.contact}>;methods="INVITE, MESSAGE, OPTIONS, NOTIFY, BENOTIFY";proxy=replace'),
            ("Supported", "gruu-10, adhoclist, msrtc-event-categories"), ("Event", "registration"),
            ("ms-keep-alive", "UAC;hop-hop=yes"),
        ]  # fmt: skip
        request = self.ocs_request(
            "REGISTER", f"sip:{DOMAIN}", to=f"sip:{self.user}@{DOMAIN}", headers=headers, call_id=call_id
        )
        if extra:
            target = self._challenge["targetname"]
            value = f'{self.scheme} qop="auth", realm="{REALM}", targetname="{target}"{extra}, version=4'
            request.set("Authorization", value)
        return request

    def _authenticate(self, challenge: bytes, user: str, domain: str) -> bytes:
        nonce = challenge[24:32]
        length, _, at = struct.unpack_from("<HHI", challenge, 40)
        blob = b"\x01\x01" + bytes(6) + bytes(8) + urandom(8) + bytes(4) + challenge[at : at + length] + bytes(4)
        key = response_key(nt_hash(self.password), user, domain)
        proof = digest(key, nonce + blob, "md5")
        exported = urandom(16)
        sealed = rc4(digest(key, proof, "md5"), exported)
        self._cipher = NtlmClientCipher(exported)
        names = [domain.encode("utf-16-le"), user.encode("utf-16-le"), "PC".encode("utf-16-le")]
        head, payload = b"NTLMSSP\0" + struct.pack("<I", 3), b""
        for item in (bytes(24), proof + blob, *names, sealed):
            head += struct.pack("<HHI", len(item), len(item), 72 + len(payload))
            payload += item
        return head + struct.pack("<I", _FLAGS) + bytes(8) + payload

    def answer(
        self, request: Request, status: int, *, to_tag: str = "t", headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> None:
        """Answers a request, signed once signed in."""
        extra = list(headers)
        if 100 < status < 300 and request.method == "INVITE":
            extra.append(("Contact", f"<{self.contact}>"))
        response = make_response(request, status, to_tag=to_tag, headers=extra, body=body, record_route=True)
        self.send(bytes(self.sign(response) if self._cipher is not None else response))

    async def ask_signed(self, request: Request, timeout: float = 5.0) -> Response:
        """Signs and sends a request; its final response, whose signature is checked."""
        self.send(bytes(self.sign(request)))
        while True:
            response = await self.response(timeout)
            if response.call_id == request.call_id:
                assert self.is_signed(response), f"not signed: {response}"
                return response


def _challenge_of(response: Response, scheme: str) -> dict[str, str]:
    """The parameters of the challenge of a scheme."""
    values = [value for value in response.get_all("WWW-Authenticate") if value.startswith(f"{scheme} ")]
    assert values, f"{scheme} is not offered: {response}"
    return dict(_FIELD.findall(values[0]))
