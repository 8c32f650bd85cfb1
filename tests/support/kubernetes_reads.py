"""GET requests to a Kubernetes API server, without a kubectl for each: tests look again and again while they wait."""

from __future__ import annotations

import base64
import http.client
import ssl
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml


class ReadError(Exception):
    """An answer that is no success."""


class Reader:
    """Reads as the client certificate of a kubeconfig may. Safe to use from several threads."""

    def __init__(self, server: str, context: ssl.SSLContext) -> None:
        self._address = urlsplit(server)
        self._context = context

    def get(self, path: str, timeout: float = 30.0) -> str:
        """The body of an answer to ``/api/...``. Raises ReadError, OSError."""
        host = self._address.hostname or ""
        connection = http.client.HTTPSConnection(host, self._address.port or 443, timeout=timeout, context=self._context)
        try:
            connection.request("GET", self._address.path.rstrip("/") + path, headers={"Accept": "application/json"})
            answer = connection.getresponse()
            body = answer.read().decode(errors="replace")
        except http.client.HTTPException as error:
            raise ReadError(f"{path}: {error!r}") from None
        finally:
            connection.close()
        if answer.status != 200:
            raise ReadError(f"{path} gave {answer.status}: {body[:500]}")
        return body


def reader_of(kubeconfig: Path) -> Reader | None:
    """From the current context of a kubeconfig; None where it signs in by other means than a certificate."""
    content = yaml.safe_load(kubeconfig.read_text())
    contexts = {each["name"]: each["context"] for each in content.get("contexts") or ()}
    chosen = contexts.get(content.get("current-context"))
    if chosen is None:
        return None
    cluster = next(each["cluster"] for each in content["clusters"] if each["name"] == chosen["cluster"])
    user = next(each["user"] for each in content["users"] if each["name"] == chosen["user"])
    authority, certificate, key = (
        _content(kubeconfig.parent, where, name)
        for where, name in ((cluster, "certificate-authority"), (user, "client-certificate"), (user, "client-key"))
    )
    if not certificate or not key or "tls-server-name" in cluster or "proxy-url" in cluster:
        return None
    context = ssl.create_default_context(cadata=authority.decode() if authority else None)
    with tempfile.TemporaryDirectory() as folder:
        pem = Path(folder, "client.pem")
        pem.touch(mode=0o600)
        pem.write_bytes(certificate + b"\n" + key)
        context.load_cert_chain(pem)
    return Reader(str(cluster["server"]), context)


def _content(base: Path, where: dict[str, Any], name: str) -> bytes:
    """What a kubeconfig holds, or names a file of; nothing when it does neither."""
    if f"{name}-data" in where:
        return base64.b64decode(where[f"{name}-data"])
    if name in where:
        return Path(base, str(where[name])).read_bytes()
    return b""
