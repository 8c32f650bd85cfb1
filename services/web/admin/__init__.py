"""The admin page: files of this package, served as they are. What it shows and does goes through ``/api/v1``.

No script and no style is inline, and the page may load nothing but its own files (Content-Security-Policy).
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Final

from aiohttp import web

from services.web.routes import Route, Style

PAGE: Final = "/admin"
_TYPES: Final = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)


class _File:
    """One file, in memory."""

    def __init__(self, name: str, data: bytes) -> None:
        self._data = data
        self._type = _TYPES[name.rpartition(".")[2]]
        self._etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'

    async def __call__(self, request: web.Request) -> web.Response:
        headers = {"ETag": self._etag, "Cache-Control": "no-cache", "Content-Security-Policy": _POLICY}
        if request.headers.get("If-None-Match", "").removeprefix("W/") == self._etag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=self._data, content_type=self._type, charset="utf-8", headers=headers)


def admin_routes() -> list[Route]:
    """A row for each file; the page itself has two."""
    rows = []
    for item in sorted(files(__package__ or "services.web.admin").joinpath("static").iterdir(), key=lambda item: item.name):
        file = _File(item.name, item.read_bytes())
        paths = [PAGE, f"{PAGE}/"] if item.name == "index.html" else [f"{PAGE}/{item.name}"]
        rows += [Route("GET", path, file, style=Style.PROBLEM) for path in paths]
    return rows
