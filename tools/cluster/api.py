"""A small client of the Kubernetes API, for what runs all the time. Whatever runs once uses kubectl."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any, Final

from tools.cluster.settings import Settings

Resource = dict[str, Any]
"""An object as the API tells it; one that a list tells lacks its kind."""
FAILURES: Final = (OSError, http.client.HTTPException, ValueError)
"""What a request raises when the API cannot be reached, or says no."""


class Api:
    """The API as its administrator sees it."""

    def __init__(self, settings: Settings) -> None:
        self._server = settings.server
        tls = ssl.create_default_context(cafile=settings.pki / "ca.crt")
        tls.load_cert_chain(settings.pki / "admin.crt", settings.pki / "admin.key")
        self._http = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls))

    def list(self, path: str) -> list[Resource]:
        """The objects of a collection. Raises one of FAILURES."""
        items: list[Resource] = self._request("GET", path)["items"]
        return items

    def create(self, path: str, resource: Resource) -> None:
        """Makes an object in a collection; one of that name that is there already stays. Raises one of FAILURES."""
        self._request("POST", path, resource, accepted=409)

    def delete(self, path: str) -> None:
        """Removes an object, when it is there. Raises one of FAILURES."""
        self._request("DELETE", path, accepted=404)

    def changes(self, path: str, seconds: int = 300) -> Iterator[None]:
        """One for each object that is there, then one for each change, for some time. Raises one of FAILURES."""
        request = urllib.request.Request(f"{self._server}{path}?watch=1&timeoutSeconds={seconds}")
        with self._http.open(request, timeout=seconds + 10) as answer:
            for _ in answer:
                yield

    def _request(self, method: str, path: str, body: Resource | None = None, accepted: int = 200) -> Resource:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._server + path, data=data, method=method, headers={"Content-Type": "application/json"}
        )
        try:
            with self._http.open(request, timeout=10) as answer:
                parsed: Resource = json.load(answer)
                return parsed
        except urllib.error.HTTPError as error:
            with error:
                if error.code != accepted:
                    raise
                return {}
