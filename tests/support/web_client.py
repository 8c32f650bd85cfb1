"""A client of the web services for tests that need to decide every byte: metadata, NTLM and Basic, tickets, certificates."""

from __future__ import annotations

import hmac
import socket
import ssl
import struct
from base64 import b64decode, b64encode
from os import urandom
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from lxml import etree
from yarl import URL

from parley.ntlm.keys import response_key
from parley.ntlm.md4 import nt_hash
from parley.ntlm.messages import OFFERED_ON_CONNECTIONS
from parley.webticket.certificates import CertificateRequest
from parley.webticket.names import SOAP
from parley.webticket.security import add_security
from parley.webticket.soap import envelope
from parley.webticket.trust import TokenRequest, computed_key
from parley.xml import to_bytes
from services.web.routes import CERTIFICATE_ENTRY, TICKET_ENTRY
from tests.support.dsk import certificate_request, rsa_key

DEVICE = "{085e0bd8-031c-5a0d-8d9a-f149aae6954a}"


class Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, text: str, headers: dict[str, list[str]]) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status
        self.text = text
        self.headers = headers


class WebClient:
    """One user's client; a context manager. Its connections are kept."""

    def __init__(
        self, base: str, ca: Path, user: str, password: str = "Secret-1", *, domain: str = "example.test", at: str = ""
    ) -> None:
        """``at``: the IP address of ``base``, where its name is not in DNS."""
        self.base = base
        self.user = user
        self.password = password
        self.domain = domain
        self._ca = ca
        self._at = at

    async def __aenter__(self) -> Self:
        resolver = _Fixed(self._at) if self._at else None
        context = ssl.create_default_context(cafile=str(self._ca))
        connector = aiohttp.TCPConnector(limit=1, ssl=context, resolver=resolver)
        self.session = aiohttp.ClientSession(connector=connector)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.session.close()

    @property
    def address(self) -> str:
        """The user's address of record."""
        return f"sip:{self.user}@{self.domain}"

    async def send(self, method: str, path: str, body: bytes = b"", authorization: str = "") -> bytes:
        """The body of an answer. Raises Refused."""
        headers = {"Content-Type": "text/xml", **({"Authorization": authorization} if authorization else {})}
        url = URL(self.base + path, encoded=True)
        async with self.session.request(method, url, data=body or None, headers=headers) as response:
            data = await response.read()
            if response.status != 200:
                found = {name.lower(): response.headers.getall(name) for name in response.headers}
                raise Refused(response.status, data.decode(), found)
            return data

    async def ticket(
        self, scheme: str = "ntlm", *, claim: str | None = None, applies_to: str = "", login: str = "",
        login_domain: str = "", path: str = TICKET_ENTRY,
    ) -> tuple[etree._Element, bytes]:  # fmt: skip
        """An assertion and the key that it wants proved. Raises Refused."""
        entropy = urandom(32)
        body = bytes(
            TokenRequest(
                "context-1", applies_to or self.base + CERTIFICATE_ENTRY, self.address if claim is None else claim, entropy
            )
        )
        if scheme == "basic":
            authorization = "Basic " + b64encode(f"{login or self.user}:{self.password}".encode()).decode()
        else:
            authorization = await self._ntlm(path, body, login or self.user, login_domain)
        root = etree.fromstring(await self.send("POST", path, body, authorization))
        (assertion,) = root.iter("{*}Assertion")
        secret = next(root.iter("{*}BinarySecret")).text or ""
        return assertion, computed_key(entropy, b64decode(secret))

    async def _ntlm(self, path: str, body: bytes, login: str, domain: str) -> str:
        """What proves the password, after the first two requests."""
        negotiate = b"NTLMSSP\0" + struct.pack("<II", 1, OFFERED_ON_CONNECTIONS) + bytes(16)
        try:
            await self.send("POST", path, body, "NTLM " + b64encode(negotiate).decode())
        except Refused as refused:
            (value,) = refused.headers.get("www-authenticate", [""])
            message = ntlm_answer(b64decode(value.removeprefix("NTLM ")), login, domain, self.password)
            return "NTLM " + b64encode(message).decode()
        raise AssertionError("a password was not asked for")

    async def certificate(
        self, assertion: etree._Element, key: bytes, *, now: float, request: bytes | None = None, entity: str = "",
        device: str = DEVICE, number: int = 0,
    ) -> x509.Certificate:  # fmt: skip
        """A certificate for the key of that ``number``. Raises Refused."""
        root, body = envelope({})
        header = etree.Element(f"{{{SOAP}}}Header")
        root.insert(0, header)
        add_security(header, assertion, key, created_at=now, expires_at=now + 60)
        wanted = request if request is not None else certificate_request(rsa_key(number))
        CertificateRequest(device, entity or self.address.removeprefix("sip:"), wanted, "request-1").add_to(body)
        answer = etree.fromstring(await self.send("POST", CERTIFICATE_ENTRY, to_bytes(root)))
        (token,) = answer.iter("{*}BinarySecurityToken")
        return x509.load_der_x509_certificate(b64decode(token.text or ""))

    async def provision(self, *, now: float, number: int = 0, device: str = DEVICE) -> x509.Certificate:
        """Ticket and certificate. Raises Refused."""
        assertion, key = await self.ticket()
        return await self.certificate(assertion, key, now=now, number=number, device=device)


class _Fixed(AbstractResolver):
    """Every name is one address."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host=self._address, port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        """Nothing is open."""


def ntlm_answer(challenge: bytes, user: str, domain: str, password: str) -> bytes:
    """The AUTHENTICATE message for a challenge, without key exchange."""
    nonce = challenge[24:32]
    length, _, at = struct.unpack_from("<HHI", challenge, 40)
    blob = b"\x01\x01" + bytes(14) + urandom(8) + bytes(4) + challenge[at : at + length] + bytes(4)
    key = response_key(nt_hash(password), user, domain)
    proof = hmac.digest(key, nonce + blob, "md5")
    head, payload = b"NTLMSSP\0" + struct.pack("<I", 3), b""
    names = [text.encode("utf-16-le") for text in (domain, user, "PC")]
    for item in (bytes(24), proof + blob, *names, b""):
        head += struct.pack("<HHI", len(item), len(item), 72 + len(payload))
        payload += item
    return head + struct.pack("<I", OFFERED_ON_CONNECTIONS) + bytes(8) + payload


def basic(login: str, password: str) -> str:
    """The value of an Authorization header."""
    return "Basic " + b64encode(f"{login}:{password}".encode()).decode()
