"""Whether the SIPE client of ``tests/interop/sipe`` can be built and run here, and how a scenario of it is run."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

FOLDER = Path(__file__).parents[1] / "interop" / "sipe"
LIBRARIES = ("purple", "json-glib-1.0", "gstreamer-1.0", "gio-unix-2.0", "libxml-2.0")
PLUGINS = (
    "/usr/lib/purple-2/libsipe.so",
    "/usr/lib/*/libfarstream-0.2.so.5",
    "/usr/lib/*/gstreamer-1.0/libgstaudioconvert.so",
    "/usr/lib/*/gstreamer-1.0/libgstrtp.so",
    "/usr/lib/*/gstreamer-1.0/libgstsrtp.so",
    "/usr/lib/*/gstreamer-1.0/libgstnice.so",
)
LOG_TAIL = 6000


def sipe_missing() -> str | None:
    """Why no client can be built or started here; None when it can."""
    for program in ("gcc", "make", "pkg-config"):
        if not shutil.which(program):
            return f"SIPE: {program} is not installed"
    for library in LIBRARIES:
        if subprocess.run(["pkg-config", "--exists", library], check=False).returncode:
            return f"SIPE: the library {library} is not installed"
    for plugin in PLUGINS:
        if not glob.glob(plugin):
            return f"SIPE: {plugin} is not there"
    return None


def run_scenario(
    name: str, server: str, transport: str, folder: Path, options: Sequence[str] = (), env: Mapping[str, str] | None = None
) -> str | None:
    """Runs one scenario against ``host:port``; None when it passed, else its error and the ends of the clients' logs.

    A process of its own: the client's license is not that of the tests. ``env``: further variables.
    """
    logs, junit = folder / "logs", folder / "results.xml"
    command = [sys.executable, str(FOLDER / "acceptance.py"), "--server", server, "--transport", transport]
    command += ["--only", name, "--logs", str(logs), "--junit", str(junit), *options]
    variables = {**os.environ, **(env or {})}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=variables)
    if done.returncode == 0:
        return None
    if not junit.exists():
        return f"{done.stdout}\n{done.stderr}"
    errors = [failure.get("message", "") for failure in ElementTree.parse(junit).iter("failure")]
    tails = [f"--- {path.name}\n{path.read_text(errors='replace')[-LOG_TAIL:]}" for path in sorted(logs.glob("*.log"))]
    return "\n".join([*errors, *tails, done.stderr])
