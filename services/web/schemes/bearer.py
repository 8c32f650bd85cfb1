"""Bearer tokens of OpenID Connect providers (RFC 6750, OIDC Core, RFC 7519).

Which keys sign is found by discovery (OpenID Connect Discovery 1.0) and kept. A key that is not known has them fetched
again, at most once in `_AGAIN_S` seconds for each issuer, whatever clients send. Only RS256 and ES256 are taken, with the
algorithm of the key, never with that of the token alone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from parley.platform.clock import Clock
from services.web.config import OidcConfig
from services.web.errors import HttpError
from services.web.metrics import KEY_FETCHES

logger = logging.getLogger(__name__)

_ALGORITHMS: Final = ("RS256", "ES256")
_MIN_RSA_BITS: Final = 2_048
_MAX_KEYS: Final = 64
_MAX_ANSWER: Final = 262_144
_MAX_TOKEN: Final = 16_384
_FETCH_S: Final = 5.0
_FRESH_S: Final = 3_600.0
_AGAIN_S: Final = 30.0


class TokenError(ValueError):
    """A token that is not taken; the text says why, for logs."""


class _IssuerAway(Exception):
    """The keys cannot be had."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A token that was checked."""

    login: str
    """Who it is about, by the configured claim; "" when it does not say."""
    scopes: frozenset[str]
    """What it allows: ``scope``, ``scp`` and ``roles``."""


class BearerTokens:
    """Checks tokens of all configured issuers."""

    def __init__(self, configs: list[OidcConfig], clock: Clock) -> None:
        self._issuers = {config.issuer: _Issuer(config, clock) for config in configs}
        self._clock = clock

    def __bool__(self) -> bool:
        return bool(self._issuers)

    async def verify(self, token: str) -> Verified:
        """Raises TokenError; HttpError 503 when the keys of the issuer cannot be had."""
        if len(token) > _MAX_TOKEN:
            raise TokenError("it is too long")
        try:
            header = jwt.get_unverified_header(token)
            unverified = jwt.decode(token, options={"verify_signature": False})
        except (jwt.PyJWTError, ValueError) as error:  # ValueError: bytes of a header that are no UTF-8
            raise TokenError(f"it is no token: {error}") from None
        issuer = self._issuers.get(str(unverified.get("iss")))
        if issuer is None:
            raise TokenError("its issuer is not configured")
        if header.get("alg") not in _ALGORITHMS:
            raise TokenError("its algorithm is not taken")
        try:
            key = await issuer.key(header)
        except _IssuerAway as error:
            logger.warning("keys of %s cannot be had: %s", issuer.config.issuer, error)
            raise HttpError(503, "the issuer of the token is away", headers=[("Retry-After", "10")]) from None
        return self._checked(token, issuer.config, key)

    def _checked(self, token: str, config: OidcConfig, key: jwt.PyJWK) -> Verified:
        try:
            # Times are checked against our own clock, which tests can set.
            options: Any = {"require": ["exp", "iss", "aud"], "verify_exp": False, "verify_nbf": False, "verify_iat": False}
            claims = jwt.decode(
                token, key, algorithms=[key.algorithm_name], audience=config.audience, issuer=config.issuer, options=options
            )
        except jwt.PyJWTError as error:
            raise TokenError(str(error)) from None
        now, leeway = self._clock.wall(), config.leeway_seconds
        if now >= _time(claims, "exp") + leeway:
            raise TokenError("it has expired")
        if "nbf" in claims and now < _time(claims, "nbf") - leeway:
            raise TokenError("it is not good yet")
        return Verified(_login(claims, config), _scopes(claims))

    async def close(self) -> None:
        """Ends its connections."""
        for issuer in self._issuers.values():
            await issuer.close()


def _time(claims: dict[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenError(f"{name} is no time")
    return float(value)


def _login(claims: dict[str, Any], config: OidcConfig) -> str:
    value = claims.get(config.address_claim)
    if not isinstance(value, str) or not value or len(value) > 320:
        return ""
    if config.address_claim == "email" and claims.get("email_verified") is False:
        raise TokenError("its mail address is not verified")
    text = value.removeprefix("sip:")
    return text if "@" in text or not config.domain else f"{text}@{config.domain}"


def _scopes(claims: dict[str, Any]) -> frozenset[str]:
    found: set[str] = set()
    for name in ("scope", "scp", "roles"):
        value = claims.get(name)
        if isinstance(value, str):
            found.update(value.split())
        elif isinstance(value, list):
            found.update(item for item in value if isinstance(item, str))
    return frozenset(found)


class _Issuer:
    """The keys of one issuer."""

    def __init__(self, config: OidcConfig, clock: Clock) -> None:
        self.config = config
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = -_FRESH_S
        self._tried_at = -_AGAIN_S
        self._lock = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None

    async def key(self, header: dict[str, Any]) -> jwt.PyJWK:
        """The key that a token names; the only one when it names none. Raises TokenError, _IssuerAway."""
        kid = header.get("kid")
        found = self._find(kid)
        if found is None or self._clock.monotonic() - self._fetched_at > _FRESH_S:
            await self._refresh(kid)
            found = self._find(kid)
        if found is None:
            raise TokenError("its key is not one of the issuer's")
        if found.algorithm_name != header["alg"]:
            raise TokenError("its algorithm is not that of its key")
        return found

    def _find(self, kid: object) -> jwt.PyJWK | None:
        if isinstance(kid, str):
            return self._keys.get(kid)
        return next(iter(self._keys.values())) if kid is None and len(self._keys) == 1 else None

    async def _refresh(self, kid: object) -> None:
        async with self._lock:
            now = self._clock.monotonic()
            stale = now - self._fetched_at > _FRESH_S
            if not stale and self._find(kid) is not None:
                return  # another request had them fetched
            if now - self._tried_at < _AGAIN_S:
                if not self._keys:
                    raise _IssuerAway("they were asked for a moment ago")
                return
            self._tried_at = now
            try:
                self._keys = await self._fetch()
                self._fetched_at = now
                KEY_FETCHES.labels("ok").inc()
            except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as error:
                KEY_FETCHES.labels("failed").inc()
                if not self._keys:
                    raise _IssuerAway(str(error) or type(error).__name__) from None
                logger.warning("keys of %s are not read anew: %s", self.config.issuer, error)

    async def _fetch(self) -> dict[str, jwt.PyJWK]:
        url = self.config.jwks_url
        if not url:
            said = await self._get(self.config.issuer.rstrip("/") + "/.well-known/openid-configuration")
            if said.get("issuer") != self.config.issuer:
                raise ValueError("its discovery document names another issuer")
            url = str(said.get("jwks_uri", ""))
            if not url.startswith("https://"):
                raise ValueError("its jwks_uri is not https")
        keys = (await self._get(url)).get("keys")
        if not isinstance(keys, list):
            raise ValueError("its key set has no keys")
        found: dict[str, jwt.PyJWK] = {}
        for number, item in enumerate(keys[:_MAX_KEYS]):
            key = _usable(item)
            if key is not None:
                found[key.key_id or f"number {number}"] = key
        if not found:
            raise ValueError("its key set has no key for RS256 or ES256")
        return found

    async def _get(self, url: str) -> dict[str, Any]:
        if self._session is None:
            context = ssl.create_default_context(cafile=str(self.config.ca) if self.config.ca is not None else None)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context, limit=2), timeout=aiohttp.ClientTimeout(total=_FETCH_S)
            )
        async with self._session.get(url, allow_redirects=False) as response:
            if response.status != 200:
                raise ValueError(f"{url} answers {response.status}")
            data = await response.content.read(_MAX_ANSWER + 1)
            while len(data) <= _MAX_ANSWER and (more := await response.content.read(_MAX_ANSWER)):
                data += more
        if len(data) > _MAX_ANSWER:
            raise ValueError(f"{url} answers too much")
        said = json.loads(data)
        if not isinstance(said, dict):
            raise ValueError(f"{url} answers no object")
        return said

    async def close(self) -> None:
        """Ends its connections."""
        if self._session is not None:
            await self._session.close()


def _usable(item: Any) -> jwt.PyJWK | None:
    """A key that may sign tokens; None for any other."""
    if not isinstance(item, dict) or item.get("use", "sig") != "sig":
        return None
    wanted = {"RSA": "RS256", "EC": "ES256"}.get(str(item.get("kty")))
    if wanted is None or item.get("alg", wanted) != wanted or (wanted == "ES256" and item.get("crv") != "P-256"):
        return None
    try:
        key = jwt.PyJWK(item, algorithm=wanted)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key.key, RSAPublicKey):
        return key if key.key.key_size >= _MIN_RSA_BITS else None
    return key if isinstance(key.key, EllipticCurvePublicKey) else None
