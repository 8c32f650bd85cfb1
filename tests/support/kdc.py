"""An MIT KDC with a realm of its own, and clients with its tickets."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Self

import pytest

from parley.sipae.gss import gssapi_missing
from tests.support.ports import free_port
from tests.support.programs import start, stop

PASSWORD = "Secret-1"
SERVER_NAME = "ocs.example.test"
SERVICE = f"sip/{SERVER_NAME}"
_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/lib/mit/sbin"


def kerberos_missing() -> str | None:
    """Why there can be no KDC or no client of it here; None when there can."""
    for program in ("krb5kdc", "kadmin.local", "kdb5_util", "kinit"):
        if not shutil.which(program, path=_PATH):
            return f"Kerberos: {program} is not installed"
    return gssapi_missing() or None


class Kdc:
    """A KDC on a port of its own, with users and the service of our server."""

    def __init__(self, folder: Path, realm: str = "EXAMPLE.TEST") -> None:
        self.folder = folder
        self.realm = realm
        self.config = folder / "krb5.conf"
        self.log = folder / "kdc.log"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._caches = 0

    @property
    def environment(self) -> dict[str, str]:
        """What programs of Kerberos need to know."""
        return {"PATH": _PATH, "KRB5_CONFIG": str(self.config), "KRB5_KDC_PROFILE": str(self.folder / "kdc.conf")}

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write_config()
        (self.folder / "kdc.conf").write_text(
            f"[kdcdefaults]\n kdc_listen = 127.0.0.1:{self.port}\n kdc_tcp_listen = 127.0.0.1:{self.port}\n"
            f"[realms]\n {self.realm} = {{\n  database_name = {self.folder}/principal\n"
            f"  key_stash_file = {self.folder}/stash\n"
            "  supported_enctypes = aes256-cts-hmac-sha1-96:normal arcfour-hmac:normal\n }\n"
            f"[logging]\n kdc = FILE:{self.log}\n"
        )
        self._run("kdb5_util", "-r", self.realm, "create", "-s", "-P", "master of the test")
        for user in ("alice", "bob", "mallory"):
            self.admin(f"addprinc -pw {PASSWORD} {user}")
        for service in (SERVICE, "sip/other.example.test"):
            self.admin(f"addprinc -randkey {service}")
        with self.log.open("ab") as log:
            self._process = start(
                [self._program("krb5kdc"), "-n", "-r", self.realm, "-P", str(self.folder / "pid")],
                log, env=self.environment,
            )  # fmt: skip
        deadline = time.monotonic() + 10
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    return self
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    self.__exit__()
                    raise AssertionError(self.log.read_text()) from None
                time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            stop(self._process)

    def write_config(self, *defaults: str) -> None:
        """The configuration of clients; ``defaults``: further lines of libdefaults."""
        lines = "".join(f" {line}\n" for line in defaults)
        self.config.write_text(
            f"[libdefaults]\n default_realm = {self.realm}\n dns_lookup_kdc = false\n dns_lookup_realm = false\n"
            f" rdns = false\n dns_canonicalize_hostname = false\n allow_rc4 = true\n{lines}"
            f"[realms]\n {self.realm} = {{\n  kdc = 127.0.0.1:{self.port}\n }}\n"
            f"[domain_realm]\n .example.test = {self.realm}\n example.test = {self.realm}\n"
        )

    @staticmethod
    def _program(name: str) -> str:
        found = shutil.which(name, path=_PATH)
        assert found is not None, name
        return found

    def _run(self, name: str, *arguments: str) -> str:
        done = subprocess.run(
            [self._program(name), *arguments], env=self.environment, capture_output=True, text=True, check=False, timeout=30
        )
        assert done.returncode == 0, f"{name} {arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def admin(self, command: str) -> str:
        """Runs a command of kadmin."""
        return self._run("kadmin.local", "-r", self.realm, "-q", command)

    def keytab(self, principal: str, name: str = "", *, new_key: bool = False) -> Path:
        """A keytab with the key of a principal, added to what the file has; ``new_key``: after a change of the key."""
        path = self.folder / (name or f"{principal.replace('/', '_')}.keytab")
        self.admin(f"ktadd -k {path} {'' if new_key else '-norandkey'} {principal}")
        assert path.exists()
        return path

    def tickets(self, user: str, *options: str) -> Path:
        """A new ticket cache of a user, got with the keytab of that user."""
        self._caches += 1
        cache = self.folder / f"cache{self._caches}"
        self._run("kinit", *options, "-c", f"FILE:{cache}", "-k", "-t", str(self.keytab(user)), f"{user}@{self.realm}")
        return cache

    def initiator(self, user: str, monkeypatch: pytest.MonkeyPatch, *options: str, mutual: bool = False) -> Initiator:
        """Somebody with tickets of a user. ``options``: of kinit. Points this process at our configuration."""
        monkeypatch.setenv("KRB5_CONFIG", str(self.config))
        return Initiator(self, self.tickets(user, *options), mutual=mutual)


class Initiator:
    """A client's side of Kerberos: tickets, and a context once it has a token made."""

    def __init__(self, kdc: Kdc, cache: Path, *, mutual: bool = False) -> None:
        import gssapi

        self._kdc = kdc
        self._gssapi = gssapi
        self._cache = cache
        self._mutual = mutual
        self._context: Any = None

    def token(self, target: str) -> bytes:
        """The token for a service, as "sip/ocs.example.test"; a new context. AssertionError with what the KDC says."""
        gssapi = self._gssapi
        flags = [gssapi.RequirementFlag.integrity]
        if self._mutual:
            flags.append(gssapi.RequirementFlag.mutual_authentication)
        self._context = gssapi.SecurityContext(
            name=gssapi.Name(target, gssapi.NameType.kerberos_principal), usage="initiate", flags=flags,
            mech=gssapi.MechType.kerberos,
            creds=gssapi.Credentials(usage="initiate", store={"ccache": f"FILE:{self._cache}"}),
        )  # fmt: skip
        try:
            token: bytes = self._context.step()
        except gssapi.exceptions.GSSError as error:
            raise AssertionError(f"{error}\n{self._kdc.log.read_text()[-2000:]}") from error
        return token

    def take(self, reply: bytes) -> None:
        """The answer of a server that we asked to prove itself."""
        self._context.step(reply)

    def is_complete(self) -> bool:
        """Whether the context can be used."""
        return bool(self._context.complete)

    def sign(self, text: bytes) -> bytes:
        """Our signature."""
        signature: bytes = self._context.get_signature(text)
        return signature

    def verify(self, text: bytes, signature: bytes) -> bool:
        """Whether the server signed that."""
        try:
            self._context.verify_signature(text, signature)
        except self._gssapi.exceptions.GSSError:
            return False
        return True
