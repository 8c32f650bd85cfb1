"""Builds the native packet path of the relay (native/relay) and installs it where this runs.

What is built is kept in the cache under a hash of the sources and the compiler, so a checkout whose sources were built
before is ready at once. Without cargo nothing is built and that is said; the relay then works in Python. When cargo is there
and fails, that is said as well, and with CI=true it is an error. ``--print`` prints the folder, in which are the wheel and
the load generator of the benchmark. ``--pack MODULE.so FOLDER`` packs a module that was compiled elsewhere as a wheel.
"""

import base64
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CRATE = ROOT / "native" / "relay"
MODULE = "parley_relay"
TAG = "cp311-abi3-linux_" + platform.machine()


def cache() -> Path:
    """Where built things are kept between checkouts."""
    own = os.environ.get("PARLEY_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "parley"


def fingerprint() -> str:
    """Names what would be built."""
    digest = hashlib.sha256(subprocess.run(["rustc", "-vV"], check=True, capture_output=True).stdout)
    digest.update(Path(__file__).read_bytes())
    for path in sorted(
        path for path in CRATE.rglob("*") if path.is_file() and "target" not in path.relative_to(CRATE).parts
    ):
        digest.update(f"{path.relative_to(CRATE)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def compile_crate(into: Path, target: Path) -> None:
    """Compiles the module and the load generator, and packs the module as a wheel."""
    build = ["cargo", "build", "--release", "--locked", "--quiet", "--manifest-path", str(CRATE / "Cargo.toml")]
    env = os.environ | {"CARGO_TARGET_DIR": str(target)}
    subprocess.run([*build, "--bins"], check=True, env=env, stdout=sys.stderr)
    subprocess.run([*build, "--lib", "--features", "python"], check=True, env=env, stdout=sys.stderr)
    shutil.copy(target / "release" / "relay-load", into / "relay-load")
    write_wheel(into, (target / "release" / f"lib{MODULE}.so").read_bytes())


def write_wheel(into: Path, module: bytes) -> None:
    """Packs a module as the binary distribution format has it (PEP 427)."""
    version = tomllib.loads((CRATE / "Cargo.toml").read_text())["package"]["version"]
    info = f"{MODULE}-{version}.dist-info"
    files = {
        f"{MODULE}.abi3.so": module,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {MODULE}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: parley\nRoot-Is-Purelib: false\nTag: {TAG}\n".encode(),
    }
    record = ""
    with zipfile.ZipFile(into / f"{MODULE}-{version}-{TAG}.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in files.items():
            wheel.writestr(name, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record += f"{name},sha256={digest},{len(data)}\n"
        wheel.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")


def built() -> Path:
    """The folder with what was built, now or before."""
    folder = cache() / f"relay-{fingerprint()}"
    if folder.is_dir():
        return folder
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "relay.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            part = folder.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            compile_crate(part, cache() / "relay-target")
            part.rename(folder)
    return folder


def install(folder: Path) -> None:
    """Installs the wheel into the environment of this interpreter, unless it is there."""
    stamp = Path(sys.prefix) / ".relay"
    if stamp.is_file() and stamp.read_text() == folder.name:
        return
    wheel = next(folder.glob("*.whl"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--no-index", "--force-reinstall", str(wheel)], check=True, stdout=sys.stderr)
    stamp.write_text(folder.name)


def main() -> int:
    """Builds and installs, or says why not."""
    status = 0
    if sys.argv[1:2] == ["--pack"]:
        write_wheel(Path(sys.argv[3]), Path(sys.argv[2]).read_bytes())
        return 0
    if sys.platform != "linux":
        reason = "it is for Linux"
    elif not shutil.which("cargo"):
        reason = "there is no cargo"
    else:
        try:
            folder = built()
            install(folder)
        except (OSError, subprocess.CalledProcessError) as error:
            reason, status = f"{error}", int(os.environ.get("CI") == "true")
        else:
            if "--print" in sys.argv:
                print(folder)
            return 0
    print(f"the native packet path of the relay is not built ({reason}); the relay works in Python", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
