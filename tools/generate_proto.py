"""Generates the Python code of proto/ into parley/proto (messages, stubs, types).

The generated imports are rewritten from ``parley.<area>.v1`` to ``parley.proto.<area>.v1``, so that generated
code does not mingle with the hand-written packages of the same names.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "parley" / "proto"
# A module of generated code, or a package that is imported from; service paths ("/parley.sip.v1.Edge") stay.
MODULE = re.compile(r"\bparley\.(\w+)\.v1(\.\w+_pb2| import )")


def main() -> int:
    """Regenerates everything; with ``--check`` fails when what is committed differs."""
    with tempfile.TemporaryDirectory() as work:
        sources = sorted((ROOT / "proto").rglob("*.proto"))
        command = [
            sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={ROOT / 'proto'}",
            f"--python_out={work}", f"--mypy_out=quiet:{work}",
            f"--grpc_python_out={work}", f"--mypy_grpc_out=quiet:{work}",
            *map(str, sources),
        ]  # fmt: skip
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        subprocess.run(command, check=True, env={"PATH": path})
        tree = Path(work) / "parley"
        for file in [*tree.rglob("*.py"), *tree.rglob("*.pyi")]:
            if file.name.endswith(("_pb2_grpc.py", "_pb2_grpc.pyi")) and "Stub" not in file.read_text():
                file.unlink()
                continue
            file.write_text(MODULE.sub(r"parley.proto.\1.v1\2", file.read_text()))
        for folder in {
            tree,
            *(f.parent for f in tree.rglob("*.py")),
            *(f.parent.parent for f in tree.rglob("*.py")),
        }:
            (folder / "__init__.py").write_text("")
        if "--check" in sys.argv:
            return subprocess.run(["diff", "-r", "-q", "-x", "__pycache__", str(tree), str(OUT)], check=False).returncode
        shutil.rmtree(OUT, ignore_errors=True)
        shutil.copytree(tree, OUT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
