"""Which targets there are."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parent
TARGETS = (
    "message", "uri", "values", "framing", "digest", "ntlm", "kerberos", "presence", "pidf", "contacts", "webticket", "dsk",
    "messaging", "c3p", "ms_turn", "mras", "ice", "stun", "turn", "book_files", "directory", "directory_queries",
    "http_conditions", "http_sign_in", "scim", "group_expansion", "device_xml",
)  # fmt: skip
DICTIONARY = ROOT / "sip.dict"


def load(name: str) -> Callable[[bytes], None]:
    """The ``fuzz_one`` of a target."""
    return load_module(f"fuzz.{name}")


def load_module(module: str) -> Callable[[bytes], None]:
    """The ``fuzz_one`` of a module."""
    function: Callable[[bytes], None] = import_module(module).fuzz_one
    return function


def seeds(name: str) -> Path:
    """The folder of small hand-made inputs of a target."""
    return ROOT / "seeds" / name
