"""A provider of OpenID Connect: discovery, keys, and tokens that it signs, over TLS of a CA of its own."""

from __future__ import annotations

import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as ec_key
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as rsa_key
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from parley.platform.tls import DevelopmentCa

AUDIENCE = "parley"
Key = RSAPrivateKey | EllipticCurvePrivateKey


def new_key(kind: str = "RS256", bits: int = 2048) -> Key:
    """A key for an algorithm."""
    return ec_key(SECP256R1()) if kind == "ES256" else rsa_key(65537, bits)


class Issuer:
    """A provider on a port of its own; a context manager."""

    def __init__(self, folder: Path) -> None:
        self.keys: dict[str, Key] = {"first": new_key(), "curve": new_key("ES256")}
        self.requests: list[str] = []
        files = DevelopmentCa(folder).issue("issuer", ["127.0.0.1"])
        self.ca = folder / "ca.pem"
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.requests.append(self.path)
                said = issuer.document() if self.path.endswith("openid-configuration") else issuer.key_set()
                body = json.dumps(said).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        return Handler

    def document(self) -> dict[str, str]:
        """What discovery says."""
        return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}

    def key_set(self) -> dict[str, Any]:
        """The public keys."""
        said = []
        for name, key in self.keys.items():
            if isinstance(key, RSAPrivateKey):
                item = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"alg": "RS256"}
            else:
                item = ECAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"alg": "ES256"}
            said.append({**item, "kid": name, "use": "sig"})
        return {"keys": said}

    def token(self, email: str = "alice@example.test", *, kid: str = "first", key: Key | None = None, **claims: Any) -> str:
        """A token; a claim that is None is left out."""
        key = key or self.keys[kid]
        now = time.time()
        content = {"iss": self.url, "aud": AUDIENCE, "exp": now + 300, "nbf": now - 5, "email": email, **claims}
        algorithm = "RS256" if isinstance(key, RSAPrivateKey) else "ES256"
        kept = {name: value for name, value in content.items() if value is not None}
        return jwt.encode(kept, key, algorithm=algorithm, headers={"kid": kid})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
