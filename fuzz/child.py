"""One target under atheris, in a process of its own: ``python -m fuzz.child MODULE`` and options of libFuzzer."""

from __future__ import annotations

import sys

import atheris

from fuzz.targets import load_module


def main() -> None:
    """Fuzzes until something is found or the time is over."""
    module = sys.argv.pop(1)
    parsers = [
        "parley.addressbook", "parley.ntlm", "parley.presence", "parley.sip", "parley.sipae", "parley.webticket",
        "parley.xml", "services.web",
    ]  # fmt: skip
    with atheris.instrument_imports(include=parsers):
        target = load_module(module)
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
