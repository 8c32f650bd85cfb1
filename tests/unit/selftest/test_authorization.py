"""The client's side of digest authentication."""

from __future__ import annotations

import pytest

from parley.selftest.authorization import authorize
from parley.sip.digest import MD5, SHA256, challenges, ha1, parse_credentials, verify
from parley.sip.errors import SipParseError
from parley.sip.message import Request, Response

URI = "sip:example.test"


def register() -> Request:
    return Request.create("REGISTER", URI, headers=[("CSeq", "1 REGISTER")])


def challenge(*values: str, status: int = 401) -> Response:
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    return Response.create(status, headers=[(name, value) for value in values])


@pytest.mark.parametrize("algorithm", [SHA256, MD5])
@pytest.mark.parametrize("status", [401, 407])
def test_a_server_takes_the_answer(algorithm: str, status: int) -> None:
    request = register()
    authorize(request, challenge(*challenges("example.test", "n", [algorithm]), status=status), 'al"ice', "pass\\word")
    value = request.get("Authorization" if status == 401 else "Proxy-Authorization")
    credentials = parse_credentials(value or "")
    assert (credentials.algorithm, credentials.username, credentials.uri) == (algorithm, 'al"ice', URI)
    assert verify(credentials, "REGISTER", ha1(algorithm, 'al"ice', "example.test", "pass\\word"))
    assert not verify(credentials, "REGISTER", ha1(algorithm, 'al"ice', "example.test", "another"))


def test_what_the_server_prefers_is_answered_and_the_opaque_given_back() -> None:
    request = register()
    values = [value + ', opaque="o"' for value in challenges("example.test", "n")]
    authorize(
        request, challenge('NTLM realm="x"', 'Digest realm="r", nonce="n", algorithm=X-9, qop="auth"', *values), "a", "b"
    )
    credentials = parse_credentials(request.get("Authorization") or "")
    assert (credentials.algorithm, credentials.opaque, credentials.realm) == (SHA256, "o", "example.test")


def test_a_second_answer_takes_the_place_of_the_first() -> None:
    request = register()
    for nonce in ("one", "two"):
        authorize(request, challenge(*challenges("example.test", nonce)), "a", "b")
    assert [parse_credentials(value).nonce for value in request.get_all("Authorization")] == ["two"]


@pytest.mark.parametrize(
    "values",
    [
        (),
        ('NTLM realm="example.test"',),
        ('Digest realm="example.test", nonce="n"',),
        ('Digest realm="example.test", nonce="n", qop="auth-int"',),
        ('Digest nonce="n", qop="auth"',),
        ('Digest realm="example.test", qop="auth"',),
        ('Digest realm="example.test" nonce',),
    ],
)
def test_challenges_that_cannot_be_answered(values: tuple[str, ...]) -> None:
    with pytest.raises(SipParseError):
        authorize(register(), challenge(*values), "a", "b")
