"""A Communicator client for tests that need to decide every byte: NTLM sign-in, signed messages, checked answers."""

from __future__ import annotations

import re
import struct
from base64 import b64decode, b64encode
from collections.abc import Iterable
from hmac import digest
from os import urandom

from parley.ntlm.keys import response_key
from parley.ntlm.md4 import nt_hash
from parley.ntlm.messages import OFFERED, Flags
from parley.ntlm.rc4 import rc4
from parley.ntlm.signing import Signer
from parley.sip.message import Request, Response
from parley.sipae.fields import REALM
from parley.sipae.text import signed_text
from tests.support.sip_client import DOMAIN, SipClient

_FLAGS = (OFFERED | Flags.REQUEST_TARGET) & ~Flags.SEAL
_FIELD = re.compile(r'([a-z-]+)="([^"]*)"')


class OcsClient(SipClient):
    """One endpoint of a user, over TCP or TLS."""

    def __init__(self, user: str, password: str = "Secret-1", *, transport: str = "tcp", epid: str = "0123456789ab") -> None:
        super().__init__(user, password, transport=transport)
        self.epid = epid
        self.version = 4
        self._client: Signer | None = None
        self._server: Signer | None = None
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

    def sign(self, request: Request, *, number: int | None = None, wrong: bool = False) -> Request:
        """Puts the next signature on a request; ``number``: another cnum; ``wrong``: a signature of something else."""
        assert self._client is not None
        if number is None:
            self._number += 1
            number = self._number
        fields = self._challenge
        text = signed_text(request, "NTLM", "deadbeef", number, REALM, fields["targetname"], self.version)
        signature = self._client.sign(text + b"!" if wrong else text)
        request.set(
            "Authorization",
            f'NTLM qop="auth", opaque="{fields["opaque"]}", realm="{REALM}", targetname="{fields["targetname"]}", '
            f'crand="deadbeef", cnum="{number}", response="{signature.hex().upper()}"',
        )
        return request

    def is_signed(self, message: Request | Response) -> bool:
        """Whether the server's signature of a message is right."""
        value = message.get("Authentication-Info")
        if value is None or self._server is None:
            return False
        fields = dict(_FIELD.findall(value))
        number, target = int(fields["snum"]), fields["targetname"]
        text = signed_text(message, "NTLM", fields["srand"], number, REALM, target, self.version)
        return self._server.verify(text, bytes.fromhex(fields["rspauth"]))

    async def sign_in(self, *, login: str = "", domain: str = "EXAMPLE") -> Response:
        """The three REGISTERs; the last answer."""
        first = self._register("")
        self.send(bytes(first))
        offered = await self.response()
        if offered.status != 401:
            return offered
        self._challenge = dict(_FIELD.findall(offered.get("WWW-Authenticate") or ""))
        self.send(bytes(self._register(', gssapi-data=""', first.call_id)))
        challenged = await self.response()
        self._challenge = dict(_FIELD.findall(challenged.get("WWW-Authenticate") or ""))
        if "gssapi-data" not in self._challenge:
            return challenged
        message = self._authenticate(b64decode(self._challenge["gssapi-data"]), login or self.user, domain)
        last = self._register("", first.call_id)
        self._number = 0
        self.sign(last)
        last.set("Authorization", f'{last.get("Authorization")}, gssapi-data="{b64encode(message).decode()}", version=4')
        self.send(bytes(last))
        return await self.response()

    def _register(self, extra: str, call_id: str | None = None) -> Request:
        headers = [
            ("Contact", f'<{self.contact}>;methods="INVITE, MESSAGE, NOTIFY, BENOTIFY";proxy=replace'),
            ("Supported", "gruu-10, adhoclist, msrtc-event-categories"), ("Event", "registration"),
            ("ms-keep-alive", "UAC;hop-hop=yes"),
        ]  # fmt: skip
        request = self.ocs_request(
            "REGISTER", f"sip:{DOMAIN}", to=f"sip:{self.user}@{DOMAIN}", headers=headers, call_id=call_id
        )
        if extra:
            target = self._challenge["targetname"]
            value = f'NTLM qop="auth", realm="{REALM}", targetname="{target}"{extra}, version=4'
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
        self._client = Signer(exported, _FLAGS, server=False)
        self._server = Signer(exported, _FLAGS, server=True)
        names = [domain.encode("utf-16-le"), user.encode("utf-16-le"), "PC".encode("utf-16-le")]
        head, payload = b"NTLMSSP\0" + struct.pack("<I", 3), b""
        for item in (bytes(24), proof + blob, *names, sealed):
            head += struct.pack("<HHI", len(item), len(item), 72 + len(payload))
            payload += item
        return head + struct.pack("<I", _FLAGS) + bytes(8) + payload

    async def ask_signed(self, request: Request, timeout: float = 5.0) -> Response:
        """Signs and sends a request; its final response, whose signature is checked."""
        self.send(bytes(self.sign(request)))
        while True:
            response = await self.response(timeout)
            if response.call_id == request.call_id:
                assert self.is_signed(response), f"not signed: {response}"
                return response
