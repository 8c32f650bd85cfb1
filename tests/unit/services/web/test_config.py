"""What the configuration of the web services refuses."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from services.web.config import WebConfig

PROVIDER = {"issuer": "https://login.example.com", "audience": "parley"}


def test_administrators_are_addresses_of_record() -> None:
    assert WebConfig(administrators=["Alice@Example.COM", "sip:bob@x"]).administrators == [
        "sip:alice@example.com",
        "sip:bob@x",
    ]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"administrators": ["tel:+49"]}, "is no address of a user"),
        ({"administrators": ["sip:alice@x:5060"]}, "is no address of a user"),
        ({"scim": {"token": "short"}}, "at least 24 characters"),
        ({"scim": {"scope": "provision"}}, "names nobody who issues them"),
        ({"oidc": [PROVIDER, PROVIDER]}, "oidc names one issuer twice"),
        ({"oidc": [{**PROVIDER, "issuer": "http://login.example.com"}]}, "issuer"),
        ({"oidc": [{**PROVIDER, "jwks_url": "http://login.example.com/keys"}]}, "jwks_url"),
        ({"oidc": [{**PROVIDER, "audience": ""}]}, "audience"),
        ({"tls": {"certificate": "a.pem"}}, "certificate and key belong together"),
        ({"url": "http://web.example.com"}, "url"),
        ({"url": "https://web.example.com/path"}, "url"),
        ({"administrator": []}, "administrator"),
    ],
)  # fmt: skip
def test_what_is_refused(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        WebConfig(**values)


def test_provisioning_may_go_by_token_or_by_scope() -> None:
    assert WebConfig(scim={"token": "x" * 24}).scim.token.get_secret_value() == "x" * 24
    assert WebConfig(scim={"scope": "p"}, oidc=[PROVIDER]).scim.scope == "p"
    assert not WebConfig().scim.administrator_passwords
