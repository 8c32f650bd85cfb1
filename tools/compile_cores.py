"""Compiles the protocol cores and the hot paths of the services with mypyc into a copy of the tree: the same source, faster.

``python tools/compile_cores.py build/compiled`` makes it; run Parley from there (``cd build/compiled && python -m
parley.cli.main run``). Needs a C compiler. The tests pass against either.
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORES = (
    "parley/sip/*.py", "parley/sip/transaction/*.py", "parley/sip/proxy/*.py", "parley/ntlm/*.py",
    "parley/platform/telemetry/counters.py",
    # what every message passes
    "parley/platform/rpc/batch.py", "parley/platform/store/link.py", "parley/platform/store/scripts.py",
    "services/frontend/authentication.py", "services/frontend/registration.py", "services/frontend/dispatcher.py",
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
setup(name="parley-cores", packages=[], ext_modules=mypycify(files, opt_level="3", debug_level="0"))
"""


def main() -> int:
    """Copies, compiles, and says where the result is."""
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    out = Path(sys.argv[1]).resolve()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for folder in ("parley", "services", "bench", "tests"):
        shutil.copytree(ROOT / folder, out / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, out / name)
    script = out / "setup.py"
    script.write_text(SETUP.format(cores=CORES))
    subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=out, check=True)
    script.unlink()
    print(f"compiled into {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
