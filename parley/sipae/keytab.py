"""Whose keys a keytab holds (the file format of MIT Kerberos, version 2, which Windows' ktpass writes too).

The names alone are read, for what can be said at start; the keys are left to the library that uses them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from parley.sipae.principal import KerberosError, Principal

_VERSION: Final = b"\x05\x02"
_MAX_BYTES: Final = 4 * 1024 * 1024


def principals_of(data: bytes) -> list[Principal]:
    """The owners of the keys, each once, in their order. Raises KerberosError."""
    if data[:2] != _VERSION:
        raise KerberosError("it is no keytab")
    try:
        return list(dict.fromkeys(_entries(data)))
    except (struct.error, UnicodeDecodeError):
        raise KerberosError("the keytab is damaged") from None


def _entries(data: bytes) -> Iterator[Principal]:
    at = len(_VERSION)
    while at + 4 <= len(data):
        (size,) = struct.unpack_from(">i", data, at)
        at += 4
        if size == 0:
            return
        if size > 0:  # below zero it is the length of a hole that a removed key left
            yield _principal(data[at : at + size])
        at += abs(size)


def _principal(entry: bytes) -> Principal:
    (count,) = struct.unpack_from(">H", entry)
    at, texts = 2, []
    for _ in range(count + 1):
        (length,) = struct.unpack_from(">H", entry, at)
        at += 2 + length
        if at > len(entry):
            raise KerberosError("the keytab is damaged")
        texts.append(entry[at - length : at].decode())
    return Principal(tuple(texts[1:]), texts[0])


def service_in(keytab: Path, service: str) -> Principal:
    """The principal in a keytab that is a service, given as "sip/ocs.example.test" or with a realm.

    Raises KerberosError that says what to do.
    """
    try:
        with keytab.open("rb") as file:
            known = principals_of(file.read(_MAX_BYTES))
    except OSError as error:
        raise KerberosError(f"the keytab {keytab} cannot be read: {error.strerror or error}") from None
    except KerberosError as error:
        raise KerberosError(f"{keytab}: {error}") from None
    found = [principal for principal in known if service in (principal.name, str(principal))]
    if not found:
        others = ", ".join(str(principal) for principal in known[:5]) or "no key at all"
        raise KerberosError(
            f"the keytab {keytab} has no key of {service} but of {others}: "
            "make one for it, or set frontend.communicator.kerberos.service_principal"
        )
    if len(found) > 1:
        realms = ", ".join(principal.realm for principal in found)
        raise KerberosError(
            f"the keytab {keytab} has keys of {service} in several realms ({realms}): "
            "set frontend.communicator.kerberos.service_principal with one of them"
        )
    return found[0]
