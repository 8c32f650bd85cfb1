"""What browsers are told with every answer, and what is not taken from pages of other sites.

A browser sends what it knows of a user (a cookie, a password, a Kerberos ticket) with the requests of any page, so a request
that changes something is refused when the browser says that a page of another origin made it (Fetch Metadata; Origin,
RFC 6454). Programs that are no browsers send neither header.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final
from uuid import uuid4

from aiohttp import web

from services.web.errors import HttpError
from services.web.metrics import refused
from services.web.routes import Urls

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN: Final = frozenset({"same-origin", "none"})
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MIN_COMPRESSED: Final = 1_024
_MAX_COMPRESSED: Final = 4_194_304
_TEXT: Final = re.compile(r"text/.*|application/(.*\+)?(json|xml)|application/javascript")
_NO_WEIGHT: Final = re.compile(r"q=0(\.0{0,3})?")
_NOTHING: Final = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _NOTHING,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class PageGuard:
    """Keeps other sites out."""

    def __init__(self, urls: Urls, *, hsts_days: int) -> None:
        """``hsts_days``: 0, no Strict-Transport-Security."""
        self._urls = urls
        self._hsts_days = hsts_days

    def refuse_other_sites(self, request: web.Request) -> None:
        """Raises HttpError 403."""
        if request.method in _SAFE:
            return
        site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
        if site is not None:
            own = site in _OWN
        else:
            own = origin is None or origin.lower() in (self._urls.base.lower(), f"https://{request.host}".lower())
        if not own:
            refused("other_site")
            raise HttpError(403, "not from a page of another site")

    def add_headers(self, response: web.StreamResponse) -> None:
        """Those that the handler did not set itself."""
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers["Server"] = "Parley"
        if self._hsts_days and _is_name(self._urls.host):
            response.headers["Strict-Transport-Security"] = f"max-age={self._hsts_days * 86_400}"


def _is_name(host: str) -> bool:
    """Whether it is a name that is only ours: others of this machine may want to be reached without TLS."""
    if not host or host == "localhost":
        return False
    try:
        ip_address(host)
    except ValueError:
        return True
    return False


def request_id_of(request: web.Request) -> str:
    """The X-Request-Id of who asks, where it is a sane one; else a new one."""
    given = request.headers.get("X-Request-Id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid4().hex


def compress(request: web.Request, response: web.Response) -> None:
    """Large text goes by gzip to who takes it."""
    body = response.body
    if not isinstance(body, bytes) or not _MIN_COMPRESSED <= len(body) <= _MAX_COMPRESSED:
        return
    if "Content-Encoding" in response.headers or "Content-Range" in response.headers:
        return
    if _TEXT.fullmatch(response.content_type):
        response.headers["Vary"] = "Accept-Encoding"
        if _takes_gzip(request.headers.get("Accept-Encoding", "")):
            response.enable_compression(web.ContentCoding.gzip)
            etag = response.headers.get("ETag", "")
            if etag.startswith('"'):  # other bytes than those without
                response.headers["ETag"] = f"W/{etag}"


def _takes_gzip(accepted: str) -> bool:
    """Whether Accept-Encoding has it (RFC 9110 section 12.5.3), with a weight that is not 0."""
    weights: dict[str, bool] = {}
    for item in accepted.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        weights[name] = not any(_NO_WEIGHT.fullmatch(part) for part in parameters)
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", False)))
