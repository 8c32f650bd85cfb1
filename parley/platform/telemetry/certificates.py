"""When certificate files end, as a metric: read when somebody asks for the metrics and the file has changed.

Whoever uses a certificate says so once, with `watch_certificate`. Of a chain the first one counts, which is the server's
own; of a file of authorities the one that lasts longest, as one that has expired does not matter beside others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_NAME: Final = "parley_tls_certificate_expires_timestamp_seconds"


@dataclass(slots=True)
class _Watched:
    """A file, and what was last read of it."""

    authority: bool
    stamp: tuple[int, int] = (0, 0)
    ends: float | None = None


class CertificateEnds(Collector):
    """The end of each certificate in seconds since the Unix epoch, by file. A file that cannot be read has none."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._files: dict[Path, _Watched] = {}
        registry.register(self)

    def watch(self, path: Path, *, authority: bool = False) -> None:
        """Tells of this file from now on."""
        self._files.setdefault(path, _Watched(authority))

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The name, for the registry's check against duplicates."""
        yield self._family()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Reads what has changed."""
        family = self._family()
        for path, watched in list(self._files.items()):
            _look(path, watched)
            if watched.ends is not None:
                family.add_metric([str(path)], watched.ends)
        yield family

    @staticmethod
    def _family() -> GaugeMetricFamily:
        return GaugeMetricFamily(_NAME, "When a certificate ends, by its file", labels=["file"])


def _look(path: Path, watched: _Watched) -> None:
    try:
        status = path.stat()
        stamp = (status.st_mtime_ns, status.st_ino)  # a mounted Secret is changed by another link to a new file
        if stamp == watched.stamp:
            return
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        watched.stamp, watched.ends = (0, 0), None
        return
    ends = [certificate.not_valid_after_utc.timestamp() for certificate in found]
    watched.stamp, watched.ends = stamp, max(ends) if watched.authority else ends[0]


CERTIFICATE_ENDS: Final = CertificateEnds()
"""Those of this process."""


def watch_certificate(path: Path, *, authority: bool = False) -> None:
    """Has the metrics of this process tell when the certificate in a file ends. ``authority``: a file of authorities."""
    CERTIFICATE_ENDS.watch(path, authority=authority)
