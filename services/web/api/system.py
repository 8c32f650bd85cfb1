"""Who one is, sessions of the admin page, what runs, and the OpenAPI document."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any, Final

from aiohttp import web

from parley.platform.clock import Clock
from services.web.api.models import API, Me, SignIn, Version
from services.web.bodies import json_answer, read_json
from services.web.errors import HttpError
from services.web.openapi import Operation, rows_of
from services.web.routes import JSON, Access, Caller, Route, caller_of
from services.web.schemes.sessions import COOKIE, Endings, Session, Sessions
from services.web.signing_in import HttpSignIn

DOCUMENT: Final = f"{API}/openapi.json"
HEALTH: Final = "/healthz"


class SystemRoutes:
    """Handlers."""

    def __init__(
        self, sign_in: HttpSignIn, sessions: Sessions, endings: Endings, clock: Clock, *, session_s: float,
        domains: list[str],
    ) -> None:  # fmt: skip
        self._sign_in = sign_in
        self._sessions = sessions
        self._endings = endings
        self._clock = clock
        self._session_s = session_s
        self._domains = domains
        self.document: dict[str, Any] = {}
        """What the OpenAPI document says; set once all routes are known."""

    def routes(self) -> list[Route]:
        """Their rows."""
        row, here = rows_of("system"), f"{API}/session"
        return [
            Route("GET", HEALTH, self.health),
            row("GET", DOCUMENT, self.describe, Operation("This document", result_type=JSON), Access.OPEN),
            row("GET", f"{API}/version", self.version, Operation("What runs", result=Version), Access.USER),
            row("GET", f"{API}/me", self.me, Operation("Who has signed in", result=Me), Access.USER),
            row("GET", here, self.session, Operation("The session, and its token", result=Me), Access.USER),
            row("POST", here, self.begin,
                Operation("Sign in with a password; a cookie is set", body=SignIn, result=Me, status=201,
                          failures=(401, 403, 422)),
                Access.OPEN),
            row("DELETE", here, self.end, Operation("Sign out", status=204, failures=(401, 403)), Access.USER),
        ]  # fmt: skip

    async def health(self, request: web.Request) -> web.Response:
        """That it answers."""
        return web.json_response({"status": "ok"})

    async def describe(self, request: web.Request) -> web.Response:
        """The OpenAPI document."""
        return web.Response(body=json.dumps(self.document).encode(), content_type=JSON)

    async def version(self, request: web.Request) -> web.Response:
        """What runs."""
        return json_answer(Version(version=version("parley"), domains=self._domains))

    async def me(self, request: web.Request) -> web.Response:
        """Who has signed in, by whatever scheme."""
        return json_answer(_me(caller_of(request)))

    async def session(self, request: web.Request) -> web.Response:
        """For a page that was loaded anew."""
        session = self._of(request)
        if session is None:
            raise self._sign_in.unauthorized(request)
        return json_answer(_me(caller_of(request), session))

    def _of(self, request: web.Request) -> Session | None:
        """The session by which the caller is known; None when it is by something else."""
        if caller_of(request).scheme != "session":
            return None
        return self._sessions.open(request.cookies.get(COOKIE, ""), self._clock.wall())

    async def begin(self, request: web.Request) -> web.Response:
        """A session for a password."""
        wanted = await read_json(request, SignIn)
        caller = await self._sign_in.password(request, wanted.login, wanted.password.get_secret_value())
        session = self._sessions.begin(caller.address, caller.version, self._clock.wall() + self._session_s)
        response = json_answer(_me(caller, session), status=201)
        response.set_cookie(
            COOKIE, self._sessions.seal(session), path="/", secure=True, httponly=True, samesite="Strict",
            max_age=round(self._session_s),
        )  # fmt: skip
        return response

    async def end(self, request: web.Request) -> web.Response:
        """It is over everywhere, and the browser forgets it."""
        session = self._of(request)
        if session is None:
            raise HttpError(403, "there is no session to end")
        await self._endings.end(session, self._clock.wall())
        response = web.Response(status=204)
        response.del_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="Strict")
        return response


def _me(caller: Caller, session: Session | None = None) -> Me:
    return Me(
        address=caller.address.removeprefix("sip:"), display_name=caller.display_name, scheme=caller.scheme,
        administrator=caller.is_admin, csrf_token=session.csrf if session is not None else "",
        expires_at_ms=round(session.expires_at * 1000) if session is not None else 0,
    )  # fmt: skip
