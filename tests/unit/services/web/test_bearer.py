"""Bearer tokens of a provider: which are taken, whose keys, and how often they are fetched."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as ec_key
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as rsa_key
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from parley.platform.clock import FakeClock
from services.web.config import OidcConfig
from services.web.errors import HttpError
from services.web.schemes.bearer import BearerTokens, TokenError, Verified
from tests.support.oidc import AUDIENCE, Issuer, new_key


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    with Issuer(tmp_path_factory.mktemp("issuer")) as running:
        yield running


@pytest.fixture
def issuer(provider: Issuer, monkeypatch: pytest.MonkeyPatch) -> Issuer:
    """The provider, with its own keys and nobody who has asked."""
    monkeypatch.setattr(provider, "keys", dict(provider.keys))
    provider.requests.clear()
    return provider


class Rig:
    """What checks tokens, and its clock."""

    def __init__(self, issuer: Issuer, **config: Any) -> None:
        self.clock = FakeClock()
        self.issuer = issuer
        values = {"issuer": issuer.url, "audience": AUDIENCE, "ca": issuer.ca, "leeway_seconds": 10, **config}
        self.tokens = BearerTokens([OidcConfig(**values)], self.clock)

    def token(self, *, lasts: float = 300, **claims: Any) -> str:
        """A token by the rig's clock."""
        now = self.clock.wall()
        return self.issuer.token(**{"exp": now + lasts, "nbf": now - 5, **claims})

    async def problem(self, token: str) -> str:
        """Why a token is not taken."""
        with pytest.raises(TokenError) as refused:
            await self.tokens.verify(token)
        return str(refused.value)


@pytest.fixture
async def rig(issuer: Issuer) -> AsyncIterator[Rig]:
    made = Rig(issuer)
    yield made
    await made.tokens.close()


async def test_who_it_is_about_and_what_it_allows(rig: Rig) -> None:
    token = rig.token(email="sip:ada@example.test", scope="openid mail", scp=["one", 2], roles=["two"])
    assert await rig.tokens.verify(token) == Verified("ada@example.test", frozenset({"openid", "mail", "one", "two"}))
    assert (await rig.tokens.verify(rig.token(kid="curve"))).login == "alice@example.test"
    assert rig.issuer.requests == ["/.well-known/openid-configuration", "/keys"]


@pytest.mark.parametrize(
    ("claim", "login"), [("ada", "ada@corp.test"), ("ada@x", "ada@x"), ("", ""), (7, ""), ("a" * 321, "")]
)
async def test_another_claim_may_name_the_user(issuer: Issuer, claim: object, login: str) -> None:
    rig = Rig(issuer, address_claim="preferred_username", domain="corp.test")
    try:
        assert (await rig.tokens.verify(rig.token(preferred_username=claim))).login == login
    finally:
        await rig.tokens.close()


async def test_times_are_those_of_our_clock_with_some_leeway(rig: Rig) -> None:
    token = rig.token(lasts=100)
    rig.clock.advance(109)
    await rig.tokens.verify(token)
    rig.clock.advance(2)
    assert await rig.problem(token) == "it has expired"
    ahead = rig.clock.wall() + 9
    await rig.tokens.verify(rig.token(nbf=ahead))
    assert await rig.problem(rig.token(nbf=ahead + 2)) == "it is not good yet"
    assert await rig.problem(rig.token(nbf="soon")) == "nbf is no time"
    assert await rig.problem(rig.token(exp=True)) == "exp is no time"


async def test_a_key_is_for_its_own_algorithm(rig: Rig) -> None:
    assert await rig.problem(rig.token(kid="first", key=new_key("ES256"))) == "its algorithm is not that of its key"
    forged = jwt.encode(
        {"iss": rig.issuer.url, "aud": AUDIENCE, "exp": 9e9}, "secret" * 8, "HS256", headers={"kid": "first"}
    )
    assert await rig.problem(forged) == "its algorithm is not taken"


async def test_without_a_key_id_the_only_key_is_meant(rig: Rig) -> None:
    key = rig.issuer.keys["first"]
    now = rig.clock.wall()
    token = jwt.encode({"iss": rig.issuer.url, "aud": AUDIENCE, "exp": now + 60, "email": "a@b"}, key, "RS256")
    assert await rig.problem(token) == "its key is not one of the issuer's"
    del rig.issuer.keys["curve"]
    rig.clock.advance(31)
    assert (await rig.tokens.verify(token)).login == "a@b"


async def test_unknown_keys_have_them_fetched_again_but_seldom(rig: Rig) -> None:
    await rig.tokens.verify(rig.token())
    fresh = new_key()
    for _ in range(20):
        assert await rig.problem(rig.token(kid="fresh", key=fresh)) == "its key is not one of the issuer's"
    assert rig.issuer.requests.count("/keys") == 1
    rig.issuer.keys["fresh"] = fresh
    rig.clock.advance(31)
    await rig.tokens.verify(rig.token(kid="fresh"))
    assert rig.issuer.requests.count("/keys") == 2


async def test_a_key_that_is_withdrawn_is_no_longer_taken_after_an_hour(rig: Rig) -> None:
    await rig.tokens.verify(rig.token())
    old = rig.issuer.keys.pop("first")
    rig.clock.advance(3_601)
    assert await rig.problem(rig.token(kid="first", key=old)) == "its key is not one of the issuer's"


async def test_known_keys_are_good_while_the_provider_is_away(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.tokens.verify(rig.token())
    monkeypatch.setattr(rig.issuer, "key_set", lambda: {"keys": "none"})
    rig.clock.advance(3_601)
    await rig.tokens.verify(rig.token())


@pytest.mark.parametrize(
    "broken",
    [
        {"document": lambda: {"issuer": "https://evil.example", "jwks_uri": "https://127.0.0.1:1/"}},
        {"document": lambda: {"issuer": "", "jwks_uri": "http://127.0.0.1:1/"}}, {"document": list},
        {"key_set": dict}, {"key_set": lambda: {"keys": ["x", {}, {"kty": "oct", "k": "AAAA"}]}},
        {"key_set": lambda: {"keys": [{"kty": "RSA", "n": "AAAA" * 100_000, "e": "AQAB"}]}},
    ],
)  # fmt: skip
async def test_without_keys_the_provider_is_away(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, broken: dict[str, object]
) -> None:
    for name, value in broken.items():
        monkeypatch.setattr(rig.issuer, name, value)
    for _ in range(3):
        with pytest.raises(HttpError) as refused:
            await rig.tokens.verify(rig.token())
        assert (refused.value.status, dict(refused.value.headers)) == (503, {"Retry-After": "10"})
    assert rig.issuer.requests.count("/.well-known/openid-configuration") == 1


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_weak_keys_and_those_for_other_ends_are_no_keys(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    weak, other = rsa_key(65537, 1024), ec_key(SECP384R1())
    (good,) = [item for item in rig.issuer.key_set()["keys"] if item["kid"] == "first"]
    keys = [
        {**RSAAlgorithm.to_jwk(weak.public_key(), as_dict=True), "kid": "weak"},
        {**ECAlgorithm.to_jwk(other.public_key(), as_dict=True), "kid": "P-384"},
        {**good, "kid": "for encryption", "use": "enc"}, {**good, "kid": "RS512", "alg": "RS512"}, {**good, "kid": "first"},
    ]  # fmt: skip
    monkeypatch.setattr(rig.issuer, "key_set", lambda: {"keys": keys})
    await rig.tokens.verify(rig.token())
    for kid, key in (("weak", weak), ("for encryption", None), ("RS512", None)):
        token = rig.token(kid=kid, key=key or rig.issuer.keys["first"])
        assert await rig.problem(token) == "its key is not one of the issuer's"


@pytest.mark.parametrize(
    "token",
    [
        "", ".", "a.b.c", "\udcff.e30.AAAA", "." * 100, "x" * 16_385,
        ".".join([urlsafe_b64encode(b'{"alg":"RS256"}').decode(), urlsafe_b64encode(b"[" * 9_000).decode(), "AAAA"]),
        ".".join([urlsafe_b64encode(b"[" * 9_000).decode(), "e30", "AAAA"]),
        ".".join([urlsafe_b64encode(b'{"alg":"RS256","kid":7}').decode(), "e30", "AAAA"]),
    ],
)  # fmt: skip
async def test_what_is_no_token_asks_nobody(rig: Rig, token: str) -> None:
    assert await rig.problem(token)
    assert rig.issuer.requests == []


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda data: f"{urlsafe_b64encode(data).decode()}.e30.AAAA"))
async def test_no_text_does_more_than_be_refused(token: str) -> None:
    with pytest.raises(TokenError):
        await BearerTokens([], FakeClock()).verify(token)
