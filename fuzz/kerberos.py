"""Names of Kerberos: as text, as logins, and as the owners of keys in a keytab; and tokens."""

from __future__ import annotations

from contextlib import suppress

from fuzz.common import same, text_of
from parley.sipae.apreq import authenticator_of
from parley.sipae.keytab import principals_of
from parley.sipae.principal import KerberosError, Principal, login_of


def fuzz_one(data: bytes) -> None:
    """The same bytes as a token, as a name, and as a keytab with and without its first bytes."""
    with suppress(KerberosError):
        assert authenticator_of(data) in data
    with suppress(KerberosError):
        principal = Principal.parse(text_of(data))
        same(principal, Principal.parse(str(principal)))
        login = login_of(principal, {principal.realm: "example.test"})
        assert login == f"{principal.components[0]}@example.test"
        assert login.count("@") == 1
    for content in (data, b"\x05\x02" + data):
        with suppress(KerberosError):
            assert len(principals_of(content)) <= len(data) // 4
