"""Kerberos by the system's GSS-API (MIT Kerberos), with the key of our service in a keytab.

No KDC is asked and no name is looked up: a token is decrypted with the key, and its authenticator goes into the replay
cache, a file that is locked while it is written. The keytab is read again for every token, so a changed key is in force at
once. Signatures are pure computation.
"""

from __future__ import annotations

import math
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from parley.sipae.acceptor import Established
from parley.sipae.apreq import authenticator_of
from parley.sipae.principal import KerberosError, Principal

_ERRORS_AT: Final = 16
"""Bits of a major status from here on are errors; those below tell of order and repetition (RFC 2743 section 1.2.1.1)."""


def gssapi_missing() -> str:
    """What to do to have GSS-API; "" when it is there."""
    try:
        import_module("gssapi.raw")
    except ImportError as error:
        return f"Kerberos needs parley[kerberos], and MIT Kerberos with its headers to build that ({error})"
    return ""


class GssAcceptor:
    """See `parley.sipae.acceptor.TokenAcceptor`; may be used from several threads."""

    def __init__(self, keytab: Path, service: Principal, replay_cache: Path) -> None:
        """``replay_cache``: a file, made when it is not there. Raises KerberosError when there is no such key."""
        problem = gssapi_missing()
        if problem:
            raise KerberosError(problem)
        import gssapi
        import gssapi.raw

        self._raw: Any = gssapi.raw
        self._kerberos: Any = gssapi.MechType.kerberos
        try:
            name = self._raw.import_name(str(service).encode(), gssapi.NameType.kerberos_principal)
            store = {b"keytab": f"FILE:{keytab}".encode(), b"rcache": f"file2:{replay_cache}".encode()}
            acquired = self._raw.acquire_cred_from(store, name, mechs=[self._kerberos], usage="accept")
        except gssapi.exceptions.GSSError as error:
            raise KerberosError(f"the key of {service} in {keytab} cannot be used: {_text(error)}") from None
        self._credentials = acquired.creds

    def accept(self, token: bytes) -> Established:
        """Takes the token of a client. Raises KerberosError, for a replayed one too."""
        try:
            result = self._raw.accept_sec_context(token, self._credentials)
            if result.more_steps or result.mech != self._kerberos:
                raise KerberosError("the token is not one that ends a Kerberos exchange at once")
            name = self._raw.display_name(result.initiator_name, name_type=False).name
        except self._raw.misc.GSSError as error:
            raise KerberosError(_text(error)) from None
        lifetime = math.inf if result.lifetime is None else float(result.lifetime)
        return Established(
            Principal.parse(name.decode("utf-8", "replace")), GssCipher(self._raw, result.context),
            sha256(authenticator_of(token)).digest(), lifetime, result.token or b"",
        )  # fmt: skip


class GssCipher:
    """Signatures of a context: GSS_GetMIC and GSS_VerifyMIC (RFC 4121 section 4.2.6.1, RFC 1964 section 1.2.1)."""

    __slots__ = ("_context", "_raw")

    def __init__(self, raw: Any, context: Any) -> None:
        self._raw = raw
        self._context = context

    def sign(self, text: bytes) -> bytes:
        """Our signature; its length depends on the kind of key."""
        signature: bytes = self._raw.get_mic(self._context, text)
        return signature

    def verify(self, text: bytes, signature: bytes) -> bool:
        """Whether the client signed that, in whatever order; messages that repeat are told by their numbers."""
        try:
            self._raw.verify_mic(self._context, text, signature)
        except self._raw.misc.GSSError as told:
            return not told.maj_code >> _ERRORS_AT
        return True


def _text(error: Any) -> str:
    """What a GSSError says, on one line."""
    return " ".join(str(error).split())
