"""Completes the bill of materials of an image: to the Python packages that cyclonedx-py lists come Debian's and Rust's.

``sbom.py --python IN.json --dpkg STATUS --os OS-RELEASE --cargo Cargo.lock OUT.json``. What is written is valid CycloneDX,
or nothing is. Runs where cyclonedx-bom is installed (docker/requirements-build.lock).
"""

import argparse
import json
import platform
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import quote

Component = dict[str, Any]
OWN = ("parley", "parley_relay", "parley-relay")


def paragraphs(text: str) -> list[dict[str, str]]:
    """The fields of each package in dpkg's status file, without continued lines."""
    found = []
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line and not line[0].isspace()]
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        if fields:
            found.append({name: value.strip() for name, value in fields.items()})
    return found


def component(kind: str, name: str, version: str, purl: str, **more: Any) -> Component:
    """One entry of the list; the package URL is also what others refer to it by."""
    return {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl, **more}


def debian_packages(status: str, release: dict[str, str]) -> list[Component]:
    """The installed packages, with the source that each is built from, by which Debian's advisories name it."""
    distribution = f"{release.get('ID', 'debian')}-{release.get('VERSION_ID', '')}"
    found = []
    for fields in paragraphs(status):
        if not fields.get("Status", "").endswith(" installed"):
            continue
        name, version = fields["Package"], fields["Version"]
        purl = (
            f"pkg:deb/{release.get('ID', 'debian')}/{quote(name)}@{quote(version)}"
            f"?arch={fields['Architecture']}&distro={distribution}"
        )
        source = fields.get("Source", name).split(" ")[0]
        properties = [{"name": "parley:debian:source", "value": source}]
        found.append(component("library", name, version, purl, properties=properties))
    return found


def crates(lock: str) -> list[Component]:
    """What is linked into the relay, less the relay itself."""
    packages = [package for package in tomllib.loads(lock)["package"] if "source" in package]
    return [
        component("library", crate["name"], crate["version"], f"pkg:cargo/{crate['name']}@{crate['version']}")
        for crate in packages
    ]


def os_release(text: str) -> dict[str, str]:
    """The variables of /usr/lib/os-release."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {name: value.strip('"') for name, value in pairs}


def complete(bill: dict[str, Any], status: str, release: dict[str, str], lock: str) -> dict[str, Any]:
    """The bill with everything in it."""
    version = platform.python_version()
    added = [
        component(
            "operating-system", release["ID"], release["VERSION_ID"], f"pkg:generic/{release['ID']}@{release['VERSION_ID']}"
        ),
        component("platform", "python", version, f"pkg:generic/python@{version}"),
        *debian_packages(status, release),
        *crates(lock),
    ]
    packages = [_own(package) if package["name"] in OWN else package for package in bill["components"]]
    return bill | {"components": [*packages, *added]}


def _own(package: Component) -> Component:
    """A package of Parley itself, which no index has: whoever looks it up there would find somebody else's."""
    return {name: value for name, value in package.items() if name != "purl"}


def problem_of(text: str, version: str) -> str:
    """What is wrong with a bill by the schema of its version; empty when nothing is."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    problem = JsonStrictValidator(SchemaVersion.from_version(version)).validate_str(text)
    return str(problem) if problem else ""


def main() -> int:
    """Reads, completes, validates, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("python", "dpkg", "os", "cargo"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    release = os_release(options.os.read_text())
    bill = complete(json.loads(options.python.read_text()), options.dpkg.read_text(), release, options.cargo.read_text())
    text = json.dumps(bill, indent=1, sort_keys=True) + "\n"
    problem = problem_of(text, bill["specVersion"])
    if problem:
        print(f"the bill of materials is not valid: {problem}", file=sys.stderr)
        return 1
    options.out.write_text(text)
    print(f"{len(bill['components'])} components")
    return 0


if __name__ == "__main__":
    sys.exit(main())
