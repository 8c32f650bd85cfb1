"""docker/sbom.py: what it adds to a bill of materials."""

import importlib.util
import sys
from types import ModuleType

import pytest

from tests.images.dockerfile import ROOT

STATUS = """Package: libssl3
Status: install ok installed
Architecture: amd64
Source: openssl (3.0.17-1~deb12u2)
Version: 3.0.17-1~deb12u2
Description: Secure Sockets Layer toolkit
 Version: not a field but a continued line
 .

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: libc++1
Status: install ok installed
Architecture: all
Version: 1:14.0+x
"""
LOCK = """
version = 4
[[package]]
name = "libc"
version = "0.2.177"
source = "registry"
[[package]]
name = "parley-relay"
version = "0.1.0"
"""


@pytest.fixture(scope="module")
def sbom() -> ModuleType:
    spec = importlib.util.spec_from_file_location("parley_sbom", ROOT / "docker" / "sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_debian_packages_that_are_installed_are_listed_by_their_urls(sbom: ModuleType) -> None:
    release = {"ID": "debian", "VERSION_ID": "12"}
    found = sbom.debian_packages(STATUS, release)
    assert [(item["name"], item["version"]) for item in found] == [("libssl3", "3.0.17-1~deb12u2"), ("libc++1", "1:14.0+x")]
    assert found[0]["purl"] == "pkg:deb/debian/libssl3@3.0.17-1~deb12u2?arch=amd64&distro=debian-12"
    assert found[1]["purl"] == "pkg:deb/debian/libc%2B%2B1@1%3A14.0%2Bx?arch=all&distro=debian-12"
    assert [item["properties"][0]["value"] for item in found] == ["openssl", "libc++1"]


def test_crates_are_those_that_the_relay_is_linked_with(sbom: ModuleType) -> None:
    assert [item["purl"] for item in sbom.crates(LOCK)] == ["pkg:cargo/libc@0.2.177"]


def test_the_real_lock_is_read(sbom: ModuleType) -> None:
    names = {item["name"] for item in sbom.crates((ROOT / "native" / "relay" / "Cargo.lock").read_text())}
    assert {"pyo3", "libc"} <= names


def test_everything_is_in_the_bill_once(sbom: ModuleType) -> None:
    release = sbom.os_release('ID=debian\nVERSION_ID="12"\n# a comment = nothing\n')
    listed = [{"bom-ref": name, "name": name, "purl": f"pkg:pypi/{name}@1"} for name in ("grpcio", "parley_relay")]
    bill = sbom.complete({"components": listed, "specVersion": "1.6"}, STATUS, release, LOCK)
    refs = [item["bom-ref"] for item in bill["components"]]
    assert refs[:2] == ["grpcio", "parley_relay"]
    assert "pkg:generic/debian@12" in refs
    assert len(refs) == len(set(refs)) == 7
    assert bill["components"][0] == listed[0]
    assert "purl" not in bill["components"][1]  # the index has no such package, or somebody else's
