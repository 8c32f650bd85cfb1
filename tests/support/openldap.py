"""OpenLDAP's slapd with a folder, ports and data of its own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import ldap3

from tests.support.ports import free_port
from tests.support.programs import start, stop

BASE = "dc=example,dc=test"
ADMIN = f"cn=admin,{BASE}"
PASSWORD = "Secret-1"
_SCHEMAS = Path("/etc/ldap/schema")
_PATH = "/usr/sbin:/usr/local/sbin:/sbin:/usr/bin:/bin"
_INDICES = ("objectClass eq", "entryUUID eq", "entryCSN eq", "uid eq,sub", "cn eq,sub", "sn eq,sub", "givenName eq,sub",
            "mail eq,sub", "telephoneNumber eq,sub", "displayName eq,sub")  # fmt: skip


def openldap_missing() -> str | None:
    """Why slapd cannot be started here; None when it can."""
    for program in ("slapd", "slapadd"):
        if shutil.which(program, path=_PATH) is None:
            return f"OpenLDAP: {program} is not installed"
    modules = _modules()
    return None if modules is not None and _SCHEMAS.is_dir() else "OpenLDAP: back_mdb or its schemas are missing"


def _modules() -> Path | None:
    return next(
        (path for path in (Path("/usr/lib/ldap"), Path("/usr/lib64/openldap")) if (path / "back_mdb.so").exists()), None
    )


class OpenLdap:
    """A server with people below ``ou=people`` and groups below ``ou=groups``."""

    def __init__(self, folder: Path, *, tls: tuple[Path, Path, Path] | None = None) -> None:
        """``tls``: certificate, key and CA (PEM) for ldaps:// and StartTLS."""
        self.folder = folder
        self.port, self.tls_port = free_port(), free_port()
        self._tls = tls
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Without encryption."""
        return f"ldap://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    @property
    def tls_url(self) -> str:
        """With TLS."""
        return f"ldaps://127.0.0.1:{self.tls_port}"

    def prepare(self) -> None:
        """Writes the configuration and the root of the data."""
        data = self.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        lines = [f"include {_SCHEMAS}/{name}.schema" for name in ("core", "cosine", "inetorgperson", "nis")]
        lines += [f"modulepath {_modules()}", "moduleload back_mdb", f"pidfile {self.folder}/pid", "sizelimit unlimited"]
        if self._tls is not None:
            certificate, key, ca = self._tls
            lines += [f"TLSCertificateFile {certificate}", f"TLSCertificateKeyFile {key}", f"TLSCACertificateFile {ca}"]
        lines += [
            "database mdb", f"directory {data}", "maxsize 4294967296", f'suffix "{BASE}"', f'rootdn "{ADMIN}"',
            f"rootpw {PASSWORD}", "access to * by anonymous auth by users read", "dbnosync",
            *(f"index {index}" for index in _INDICES),
        ]  # fmt: skip
        (self.folder / "slapd.conf").write_text("\n".join(lines) + "\n")
        root = [
            f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: Example\ndc: example",
            *(f"dn: ou={name},{BASE}\nobjectClass: organizationalUnit\nou: {name}" for name in ("people", "groups", "left")),
        ]
        self.load(root)

    def load(self, entries: Iterable[str]) -> None:
        """Adds entries (LDIF) while the server is not running."""
        path = self.folder / "load.ldif"
        path.write_text("\n\n".join(entries) + "\n")
        command = [self._program("slapadd"), "-q", "-f", str(self.folder / "slapd.conf"), "-l", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]

    @staticmethod
    def _program(name: str) -> str:
        found = shutil.which(name, path=_PATH)
        assert found is not None, name
        return found

    def start(self) -> None:
        """Starts it and waits until it answers."""
        urls = f"ldap://127.0.0.1:{self.port}/" + (f" ldaps://127.0.0.1:{self.tls_port}/" if self._tls is not None else "")
        with (self.folder / "slapd.log").open("ab") as log:
            self._process = start(
                [self._program("slapd"), "-f", str(self.folder / "slapd.conf"), "-h", urls, "-d", "0"], log
            )
        deadline = time.monotonic() + 20
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    return
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    self.stop()
                    raise AssertionError((self.folder / "slapd.log").read_text()[-2000:]) from None
                time.sleep(0.05)

    def stop(self) -> None:
        """Ends it."""
        if self._process is not None:
            stop(self._process)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "slapd.conf").exists():
            self.prepare()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # Changes

    @contextmanager
    def connect(self) -> Iterator[Any]:
        """A connection of the administrator."""
        server = ldap3.Server(self.url, get_info=ldap3.NONE)
        connection = ldap3.Connection(server, ADMIN, PASSWORD, auto_bind=True, raise_exceptions=True, check_names=False)
        try:
            yield connection
        finally:
            connection.unbind()

    def add(self, dn: str, classes: Sequence[str], **attributes: Any) -> None:
        """A new entry."""
        with self.connect() as connection:
            connection.add(dn, list(classes), attributes)

    def modify(self, dn: str, **attributes: Any) -> None:
        """Other values of attributes; [] removes one."""
        changes = {
            name: [(ldap3.MODIFY_REPLACE, values if isinstance(values, list) else [values])]
            for name, values in attributes.items()
        }
        with self.connect() as connection:
            connection.modify(dn, changes)

    def move(self, dn: str, rdn: str, parent: str) -> None:
        """Another name, another place."""
        with self.connect() as connection:
            connection.modify_dn(dn, rdn, new_superior=parent)

    def delete(self, dn: str) -> None:
        """One entry less."""
        with self.connect() as connection:
            connection.delete(dn)


def person_dn(uid: str, place: str = "people") -> str:
    """Where a person is."""
    return f"uid={uid},ou={place},{BASE}"


def person_ldif(uid: str, given: str, surname: str, **attributes: str) -> str:
    """A person who can sign in there."""
    lines = [
        f"dn: {person_dn(uid)}", "objectClass: inetOrgPerson", f"uid: {uid}", f"givenName: {given}", f"sn: {surname}",
        f"cn: {given} {surname}", f"mail: {uid}@example.test", f"userPassword: {PASSWORD}-{uid}",
        *(f"{name}: {value}" for name, value in attributes.items()),
    ]  # fmt: skip
    return "\n".join(lines)
