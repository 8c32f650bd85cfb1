"""The Secrets of a Kubernetes API, as a test needs them: real HTTPS, tokens, conflicts, refusals and outages."""

from __future__ import annotations

import asyncio
import base64
import copy
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from parley.platform.authority import Authority

TOKEN = "a-token-of-a-service-account"


class KubernetesApi:
    """A server with Secrets, and the folder that it gives to pods."""

    def __init__(self, folder: Path, *, namespace: str = "telephony") -> None:
        self.account = folder / "serviceaccount"
        self.namespace = namespace
        self.secrets: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, str]] = []
        """Method and name, in order."""
        self.refuse: Callable[[str, str], web.Response | None] = lambda method, name: None
        """Asked before each request; what it gives back is the answer."""
        self.before_write: Callable[[str, str], None] = lambda method, name: None
        """Called before a write takes effect, to be faster than the client."""
        self.port = 0
        self._folder = folder
        self._writes = 0
        self._runner: web.AppRunner | None = None

    @property
    def environ(self) -> dict[str, str]:
        """What Kubernetes sets in pods."""
        return {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT_HTTPS": str(self.port)}

    def data(self, name: str) -> dict[str, bytes]:
        """What a Secret holds."""
        return {key: base64.b64decode(value) for key, value in self.secrets[name]["data"].items()}

    def put(self, name: str, data: dict[str, bytes], *, ours: bool = False, kind: str = "Opaque") -> None:
        """A Secret that is there already."""
        labels = {"app.kubernetes.io/managed-by": "parley-init"} if ours else {}
        self.secrets[name] = {
            "kind": "Secret", "type": kind, "metadata": {"name": name, "labels": labels},
            "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
        }  # fmt: skip
        self._stamp(name)

    def snapshot(self) -> dict[str, Any]:
        """All Secrets as they are now."""
        return copy.deepcopy(self.secrets)

    async def __aenter__(self) -> Self:
        self.account.mkdir(parents=True)
        authority = Authority.make("A cluster's authority")
        (self.account / "ca.crt").write_text(authority.pair.certificate)
        (self.account / "token").write_text(TOKEN + "\n")
        (self.account / "namespace").write_text(self.namespace)
        issued = authority.issue(["127.0.0.1"])
        (self._folder / "api.pem").write_text(issued.certificate + issued.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._folder / "api.pem")
        app = web.Application()
        base = f"/api/v1/namespaces/{self.namespace}/secrets"
        app.router.add_get(base + "/{name}", self._get)
        app.router.add_post(base, self._create)
        app.router.add_patch(base + "/{name}", self._patch)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def _stamp(self, name: str) -> None:
        self._writes += 1
        self.secrets[name]["metadata"]["resourceVersion"] = str(self._writes)

    def _asked(self, request: web.Request, name: str) -> web.Response | None:
        self.asked.append((request.method, name))
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return status(401, "Unauthorized", "Unauthorized")
        return self.refuse(request.method, name)

    async def _get(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        refusal = self._asked(request, name)
        if refusal is not None:
            return refusal
        if name not in self.secrets:
            return status(404, "NotFound", f'secrets "{name}" not found', name)
        return web.json_response(self.secrets[name])

    async def _create(self, request: web.Request) -> web.Response:
        secret = await request.json()
        name = secret["metadata"]["name"]
        refusal = self._asked(request, name)
        if refusal is not None:
            return refusal
        self.before_write("POST", name)
        await asyncio.sleep(0)
        if name in self.secrets:
            return status(409, "AlreadyExists", f'secrets "{name}" already exists', name)
        self.secrets[name] = secret
        self._stamp(name)
        return web.json_response(secret, status=201)

    async def _patch(self, request: web.Request) -> web.Response:
        assert request.headers["Content-Type"] == "application/merge-patch+json"
        name = request.match_info["name"]
        refusal = self._asked(request, name)
        if refusal is not None:
            return refusal
        self.before_write("PATCH", name)
        patch = await request.json()
        secret = self.secrets[name]
        if patch["metadata"]["resourceVersion"] != secret["metadata"]["resourceVersion"]:
            return status(409, "Conflict", "the object has been modified", name)
        secret["data"] |= patch["data"]
        self._stamp(name)
        return web.json_response(secret)


def status(code: int, reason: str, message: str, name: str = "", **details: Any) -> web.Response:
    """An error as Kubernetes tells it."""
    about = {"name": name, "kind": "secrets", **details}
    return web.json_response(
        {"kind": "Status", "status": "Failure", "message": message, "reason": reason, "details": about, "code": code},
        status=code,
    )
