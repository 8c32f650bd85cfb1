"""Which user name and key a check has, and which candidate it names: per stream, or per candidate in [MS-ICE]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from parley.ice.candidates import Candidate
from parley.ice.credentials import Credentials, candidate_username, decoded, named_candidate, username_of


class Security(Protocol):
    """What both kinds do."""

    @property
    def is_complete(self) -> bool:
        """Whether the credentials of the peer are known."""

    def outgoing(self, local: Candidate, remote: Candidate) -> tuple[bytes, bytes]:
        """User name and key of a check between these."""

    def incoming(self, username: bytes) -> bytes | None:
        """The key of a check with that user name; None when it is for nobody here."""

    def sender(self, username: bytes) -> Candidate | None:
        """The remote candidate that a check names as its own."""


class StreamSecurity:
    """RFC 8445 section 7.2.2. ``previous``: of before a restart, with which checks are still answered."""

    def __init__(self, local: Credentials) -> None:
        self.local = local
        self.remote: Credentials | None = None
        self.previous: Credentials | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the credentials of the peer are known."""
        return self.remote is not None

    def outgoing(self, local: Candidate, remote: Candidate) -> tuple[bytes, bytes]:
        """User name and key of a check between these; only once it is complete."""
        assert self.remote is not None
        return username_of(self.remote, self.local), self.remote.key

    def incoming(self, username: bytes) -> bytes | None:
        """The key of a check with that user name; None when it is for nobody here."""
        for credentials in (self.local, self.previous):
            if credentials is not None and username.startswith(credentials.ufrag.encode() + b":"):
                return credentials.key
        return None

    def is_previous(self, username: bytes) -> bool:
        """Whether a check is of before the restart."""
        return not username.startswith(self.local.ufrag.encode() + b":")

    def sender(self, username: bytes) -> Candidate | None:
        """None: the user name is that of all."""
        return None


class CandidateSecurity:
    """[MS-ICE] 3.1.4.8.2. ``locals_``, ``remotes``: lists that go on growing."""

    def __init__(self, locals_: Sequence[Candidate], remotes: Sequence[Candidate]) -> None:
        self._locals = locals_
        self._remotes = remotes

    @property
    def is_complete(self) -> bool:
        """Whether a candidate of the peer is known."""
        return bool(self._remotes)

    def outgoing(self, local: Candidate, remote: Candidate) -> tuple[bytes, bytes]:
        """User name and key of a check between these."""
        return candidate_username(remote, local), decoded(remote.password)

    def incoming(self, username: bytes) -> bytes | None:
        """The key of a check with that user name; None when it is for nobody here."""
        candidate = named_candidate(username, self._locals)
        return None if candidate is None else decoded(candidate.password)

    def sender(self, username: bytes) -> Candidate | None:
        """The remote candidate whose name the user name ends with."""
        for candidate in self._remotes:
            if username.endswith(decoded(candidate.username) + b":%d" % candidate.component):
                return candidate
        return None
