"""When certificates end, as the metrics tell it."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import pytest
from cryptography import x509
from prometheus_client import REGISTRY, CollectorRegistry

from parley.platform.telemetry.certificates import CertificateEnds
from parley.platform.tls import DevelopmentCa, ServerTls

NAME = "parley_tls_certificate_expires_timestamp_seconds"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def ends(registry: CollectorRegistry) -> CertificateEnds:
    return CertificateEnds(registry)


def told(registry: CollectorRegistry, path: Path) -> float | None:
    return registry.get_sample_value(NAME, {"file": str(path)})


def end_of(pem: bytes) -> float:
    return x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()


def test_a_server_is_told_of_by_its_own_certificate(tmp_path: Path) -> None:
    files = DevelopmentCa(tmp_path).issue("web", ["localhost"])
    ServerTls(files)
    chain = files.certificate.read_bytes()
    assert chain.count(b"BEGIN CERTIFICATE") == 2
    assert told(REGISTRY, files.certificate) == end_of(chain)
    left = datetime.timedelta(seconds=end_of(chain) - datetime.datetime.now(datetime.UTC).timestamp())
    assert datetime.timedelta(days=300) < left < datetime.timedelta(days=400)


def test_of_authorities_the_last_one_counts(tmp_path: Path, registry: CollectorRegistry, ends: CertificateEnds) -> None:
    authority = DevelopmentCa(tmp_path / "ca")
    leaf = (
        authority.issue("web", ["localhost"]).certificate.read_bytes().split(b"-----END")[0] + b"-----END CERTIFICATE-----\n"
    )
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(leaf + authority.certificate.read_bytes())
    ends.watch(bundle, authority=True)
    assert told(registry, bundle) == end_of(authority.certificate.read_bytes()) > end_of(leaf)


def test_a_file_is_read_again_when_it_changes(tmp_path: Path, registry: CollectorRegistry, ends: CertificateEnds) -> None:
    first = DevelopmentCa(tmp_path / "a").issue("web", ["localhost"]).certificate
    second = DevelopmentCa(tmp_path / "b").ensure()
    link = tmp_path / "tls.crt"
    link.symlink_to(first)
    ends.watch(link)
    assert told(registry, link) == end_of(first.read_bytes())
    (tmp_path / "new").symlink_to(second)
    os.replace(tmp_path / "new", link)
    assert told(registry, link) == end_of(second.read_bytes())


def test_a_file_that_is_broken_or_gone_is_not_told_of(
    tmp_path: Path, registry: CollectorRegistry, ends: CertificateEnds
) -> None:
    path = tmp_path / "tls.crt"
    ends.watch(path)
    assert told(registry, path) is None
    path.write_bytes(DevelopmentCa(tmp_path / "a").ensure().read_bytes())
    assert told(registry, path) is not None
    path.write_text("no certificate")
    assert told(registry, path) is None
