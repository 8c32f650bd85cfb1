"""The API of the cluster that this pod runs in, as its ServiceAccount may use it: Secrets alone.

The address, the token and the authority are where Kubernetes puts them for every pod. What a request failed for is told in
a sentence; what is in a Secret is in none of them. A server that is away or says that it cannot serve now is asked again
until the time is up, as jobs of an installation often run while a cluster settles.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its token, the authority of the API and the name of its namespace."""
_DEFAULT_URL: Final = "https://kubernetes.default.svc"
_AGAIN_S: Final = 1.0
_ONE_REQUEST_S: Final = 10.0


class ApiError(Exception):
    """The API refused, or does not answer; the text says what to do."""


class ApiUnavailable(ApiError):
    """It does not answer, or cannot serve now."""


class Conflict(ApiError):
    """Somebody else was faster: the object exists already, or has changed since it was read."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A Secret as it is in the cluster, or is to be."""

    name: str
    data: Mapping[str, bytes]
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    type: str = "Opaque"
    version: str = ""
    """Its resourceVersion; "" of one that is not there yet."""


@dataclass(frozen=True, slots=True)
class Account:
    """What a pod is given to reach the API with."""

    url: str
    token_file: Path
    ca_file: Path
    namespace: str

    @classmethod
    def of_pod(cls, folder: Path = SERVICE_ACCOUNT, environ: Mapping[str, str] = os.environ) -> Account:
        """Raises ApiError outside of a pod, and in one that mounts no token."""
        token, ca, namespace = (folder / name for name in ("token", "ca.crt", "namespace"))
        if not token.exists() or not ca.exists():
            raise ApiError(
                f"there is no token of a ServiceAccount in {folder}: run this in a pod whose ServiceAccount may get, create "
                "and patch Secrets, with automountServiceAccountToken: true (the chart's Job is one)"
            )
        host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT_HTTPS", "443")
        url = f"https://{f'[{host}]' if ':' in host else host}:{port}" if host else _DEFAULT_URL
        return cls(url, token, ca, namespace.read_text().strip() if namespace.exists() else "")


class SecretsApi:
    """The Secrets of one namespace. An asynchronous context manager."""

    def __init__(self, account: Account, namespace: str, *, patience_s: float = 60.0) -> None:
        """``patience_s``: how long a server that is away is waited for, for each request."""
        self._account = account
        self._base = f"{account.url}/api/v1/namespaces/{namespace}/secrets"
        self.namespace = namespace
        self._patience_s = patience_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        try:
            context = ssl.create_default_context(cafile=str(self._account.ca_file))
        except (OSError, ssl.SSLError) as error:
            raise ApiError(f"{self._account.ca_file} holds no authority to check the API by: {error}") from None
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context), timeout=aiohttp.ClientTimeout(total=_ONE_REQUEST_S)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, name: str) -> Secret | None:
        """A Secret; None when there is none. Raises ApiError."""
        status, content = await self._ask("GET", f"{self._base}/{name}")
        if status == HTTPStatus.NOT_FOUND and _reason_names(content, "secrets"):
            return None
        self._check(status, content, "get", name)
        return _secret(content)

    async def create(self, secret: Secret) -> None:
        """Makes a Secret. Raises Conflict when it exists, ApiError."""
        body = {
            "apiVersion": "v1", "kind": "Secret", "type": secret.type, "data": _encoded(secret.data),
            "metadata": {"name": secret.name, "labels": dict(secret.labels), "annotations": dict(secret.annotations)},
        }  # fmt: skip
        status, content = await self._ask("POST", self._base, body)
        self._check(status, content, "create", secret.name)

    async def put_keys(self, secret: Secret, data: Mapping[str, bytes]) -> None:
        """Sets keys of a Secret that was read. Raises Conflict when it has changed since, ApiError."""
        body = {"metadata": {"resourceVersion": secret.version}, "data": _encoded(data)}
        status, content = await self._ask("PATCH", f"{self._base}/{secret.name}", body)
        self._check(status, content, "patch", secret.name)

    async def _ask(self, method: str, url: str, body: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        """Status and answer; asks again while the server is away. Raises ApiUnavailable when it stays away."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience_s
        while True:
            try:
                return await self._ask_once(method, url, body)
            except ApiUnavailable:
                if loop.time() + _AGAIN_S > deadline:
                    raise
            await asyncio.sleep(_AGAIN_S)

    async def _ask_once(self, method: str, url: str, body: Mapping[str, Any] | None) -> tuple[int, Any]:
        assert self._session is not None
        headers = {"Authorization": f"Bearer {self._token()}", "Accept": "application/json"}
        if method == "PATCH":
            headers["Content-Type"] = "application/merge-patch+json"
        where = self._account.url
        try:
            async with self._session.request(method, url, json=body, headers=headers) as answer:
                content = await answer.json(content_type=None)
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError) as error:
            raise ApiError(f"{where} is not trusted by {self._account.ca_file}: {error}") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiUnavailable(
                f"the Kubernetes API at {where} does not answer ({str(error) or 'no answer in time'}): does a NetworkPolicy "
                "keep this pod from it?"
            ) from None
        except ValueError:
            raise ApiUnavailable(f"what answers at {where} is no Kubernetes API, or in trouble: no JSON came") from None
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise ApiUnavailable(f"the Kubernetes API at {where} cannot serve now: {answer.status} {answer.reason}")
        return answer.status, content

    def _token(self) -> str:
        """The token, read each time: Kubernetes puts another there before it ends."""
        try:
            return self._account.token_file.read_text().strip()
        except OSError as error:
            raise ApiError(f"cannot read {self._account.token_file}: {error.strerror or error}") from None

    def _check(self, status: int, content: Any, verb: str, name: str) -> None:
        """Raises what a refusal means."""
        if status < HTTPStatus.BAD_REQUEST:
            return
        what = f"the Secret {self.namespace}/{name}"
        if status == HTTPStatus.CONFLICT:
            raise Conflict(f"{what} was changed by somebody else meanwhile")
        if status == HTTPStatus.UNAUTHORIZED:
            raise ApiError(
                "the Kubernetes API does not take the token of this pod's ServiceAccount: was the account removed?"
            )
        if status == HTTPStatus.FORBIDDEN:
            raise ApiError(
                f"this pod's ServiceAccount may not {verb} {what}: give it a Role with get, create and patch on secrets "
                f"in the namespace {self.namespace}, or make the Secret yourself. {_message(content)}".rstrip()
            )
        if status == HTTPStatus.NOT_FOUND:
            raise ApiError(f"cannot {verb} {what}: {_message(content) or f'is there a namespace {self.namespace}?'}")
        # Messages of these may quote what was sent.
        fields = ", ".join(_fields(content))
        hint = " (is it immutable? then delete it, and it is made anew)" if verb == "patch" else ""
        raise ApiError(f"cannot {verb} {what}: {status}{f', because of {fields}' if fields else ''}{hint}")


def _encoded(data: Mapping[str, bytes]) -> dict[str, str]:
    return {key: base64.b64encode(value).decode() for key, value in data.items()}


def _secret(content: Any) -> Secret:
    """Raises ApiError for what is no Secret."""
    try:
        metadata = content["metadata"]
        return Secret(
            name=metadata["name"],
            data={key: base64.b64decode(value, validate=True) for key, value in (content.get("data") or {}).items()},
            labels=metadata.get("labels") or {},
            annotations=metadata.get("annotations") or {},
            type=content.get("type") or "Opaque",
            version=metadata.get("resourceVersion") or "",
        )
    except (KeyError, TypeError, AttributeError, binascii.Error):
        raise ApiError("the Kubernetes API answered with something that is no Secret") from None


def _reason_names(content: Any, kind: str) -> bool:
    """Whether a 404 is about an object of that kind, and not about its namespace or the path."""
    details = content.get("details") if isinstance(content, dict) else None
    return isinstance(details, dict) and details.get("kind") == kind


def _message(content: Any) -> str:
    message = content.get("message") if isinstance(content, dict) else None
    return message if isinstance(message, str) else ""


def _fields(content: Any) -> list[str]:
    """Names of the fields that the API found wrong."""
    details = content.get("details") if isinstance(content, dict) else None
    causes = details.get("causes") if isinstance(details, dict) else None
    return [str(cause["field"]) for cause in causes or [] if isinstance(cause, dict) and "field" in cause]
