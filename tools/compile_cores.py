"""Compiles the protocol cores and the hot paths of the services with mypyc into a copy of the tree: the same source, faster.

``python tools/compile_cores.py build/compiled`` makes it; run Parley from there (``cd build/compiled && python -m
parley.cli.main run``). Needs a C compiler. The tests pass against either. ``--wheel DIR`` makes a wheel of it instead, which
images install.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORES = (
    "parley/sip/*.py", "parley/sip/transaction/*.py", "parley/sip/proxy/*.py", "parley/ntlm/*.py",
    "parley/platform/telemetry/counters.py",
    # what every message passes
    "parley/platform/rpc/batch.py", "parley/platform/store/link.py", "parley/platform/store/scripts.py",
    "services/frontend/authentication.py", "services/frontend/registration.py", "services/frontend/dispatcher.py",
    "services/frontend/answers.py",
    "parley/platform/limits.py", "services/frontend/credentials.py", "services/frontend/flows.py",
    "services/frontend/responses.py", "services/frontend/transports/udp.py",
    "services/registrar/service.py", "services/registrar/repository.py", "services/registrar/bindings.py",
    "services/registrar/keys.py",
)  # fmt: skip

SETUP = """
from pathlib import Path
from mypyc.build import mypycify
from setuptools import setup
files = [str(p) for pattern in {cores!r} for p in Path().glob(pattern) if p.name != "__init__.py"]
setup({options}ext_modules=mypycify(files, opt_level="3", debug_level="0"))
"""


def copy_tree(out: Path, folders: tuple[str, ...], options: str) -> None:
    """Copies the sources, and writes the script that compiles them there."""
    for folder in folders:
        shutil.copytree(ROOT / folder, out / folder, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, out / name)
    (out / "setup.py").write_text(SETUP.format(cores=CORES, options=options))


def compile_tree(out: Path) -> None:
    """Leaves a tree that runs in place of this one: with the tests and benchmarks, compiled."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    copy_tree(out, ("parley", "services", "bench", "tests"), 'name="parley-cores", packages=[], ')
    subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=out, check=True)
    (out / "setup.py").unlink()


def make_wheel(into: Path) -> None:
    """Writes a wheel for this Python and machine."""
    with tempfile.TemporaryDirectory() as folder:
        copy_tree(Path(folder), ("parley", "services"), "")
        subprocess.run([sys.executable, "setup.py", "-q", "bdist_wheel", "-d", str(into)], cwd=folder, check=True)


def main() -> int:
    """Copies, compiles, and says where the result is."""
    match sys.argv[1:]:
        case ["--wheel", folder]:
            make_wheel(Path(folder).resolve())
        case [folder] if not folder.startswith("-"):
            compile_tree(Path(folder).resolve())
        case _:
            print(__doc__)
            return 2
    print(f"compiled into {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
