"""Who may provision: whoever shows the static token, or an OIDC token with the scope for it."""

from __future__ import annotations

import hmac
from typing import Final

from aiohttp import web

from services.web.config import ScimConfig
from services.web.errors import HttpError
from services.web.metrics import SIGN_INS
from services.web.routes import Caller
from services.web.schemes.bearer import TokenError
from services.web.signing_in import HttpSignIn

_NOBODY: Final = HttpError(401, "show the token for provisioning", headers=[("WWW-Authenticate", 'Bearer realm="scim"')])


class Provisioners:
    """Judges their tokens."""

    def __init__(self, config: ScimConfig, sign_in: HttpSignIn) -> None:
        self._token = config.token.get_secret_value().encode()
        self._scope = config.scope
        self._sign_in = sign_in

    async def admit(self, request: web.Request) -> Caller:
        """Raises HttpError."""
        self._sign_in.admitted(request)
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and await self._is_good(token.strip()):
            SIGN_INS.labels("provisioner", "ok").inc()
            return Caller("", "provisioning", 0, "provisioner")
        if scheme:
            await self._sign_in.failed(request, "provisioner", "")
        raise HttpError(_NOBODY.status, _NOBODY.text, headers=_NOBODY.headers)

    async def _is_good(self, token: str) -> bool:
        given = token.encode("utf-8", "replace")
        if self._token and hmac.compare_digest(given, self._token):
            return True
        bearer = self._sign_in.ways.bearer
        if not self._scope or not bearer:
            return False
        try:
            return self._scope in (await bearer.verify(token)).scopes
        except TokenError:
            return False
