"""Checks who imports whom: the library never a service, no service another, protocol cores no I/O."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IO_MODULES = {"asyncio", "socket", "ssl", "selectors", "threading", "aiohttp", "uvloop", "grpc", "redis"}


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of every module that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module


def problem(relative: Path, name: str) -> str:
    """What is wrong with an import in a file; "" when nothing is."""
    parts = relative.parts
    if parts[0] == "parley" and name.split(".", maxsplit=1)[0] == "services":
        return "the library must not import a service"
    if parts[0] == "services" and name.startswith("services.") and name.split(".")[1] != parts[1]:
        return "a service must not import another service"
    if parts[:2] in (("parley", "sip"), ("parley", "ntlm")) and name.split(".", maxsplit=1)[0] in IO_MODULES:
        return "a protocol core does no I/O"
    if parts[:2] == ("parley", "sip") and name.startswith("parley.platform"):
        return "a protocol core must not know the platform"
    return ""


def main() -> int:
    """Prints every import that breaks a rule."""
    found = 0
    for folder in ("parley", "services"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            relative = path.relative_to(ROOT)
            if relative.parts[:2] == ("parley", "proto"):
                continue
            for line, name in imports_of(path):
                text = problem(relative, name)
                if text:
                    found += 1
                    print(f"{relative}:{line}: imports {name}: {text}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
