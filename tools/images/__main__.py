"""``tools/images/build.sh [NAME...]``: builds images that are not built yet, and prints where they are as JSON.

Names are parley, its services, valkey, kafka and jaeger; all of them unless given. The output has for each name its
reference and the archive that it is in, which `tools/cluster/cluster.sh load`, `docker load` and `ctr images import` read.
Archives are kept in the cache by what they are made of.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import sys
from pathlib import Path

from tools.images import archive
from tools.images.buildah import Buildah
from tools.images.groups import Group, all_groups
from tools.images.inputs import cache
from tools.images.shell import ImageError, say


def main() -> int:
    """Builds; 1 with a sentence when it cannot."""
    parser = argparse.ArgumentParser(prog="build.sh", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--keys", action="store_true", help="print what the archives would be called, and build nothing")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # ends what runs for this process as well
    groups = all_groups()
    known = [name for group in groups for name in group.refs]
    unknown = sorted(set(options.names) - set(known))
    if unknown:
        parser.error(f"there is no image {unknown[0]}; there are {', '.join(known)}")
    names = options.names or known
    wanted = [group for group in groups if set(group.refs) & set(names)]
    try:
        result = {group.name: group.key for group in wanted} if options.keys else build(wanted, names)
    except ImageError as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result, indent=2))
    return 0


def build(groups: list[Group], names: list[str]) -> dict[str, dict[str, str]]:
    """Builds what has no archive yet; where each image is. Raises ImageError."""
    folder = cache() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    result = {}
    with (folder / ".lock").open("w") as lock:
        for group in groups:
            path = folder / f"{group.name}-{group.key}.tar"
            if not path.exists():
                fcntl.flock(lock, fcntl.LOCK_EX)  # another may be building the same
            if not path.exists():
                make(group, path)
            os.utime(path)
            archive.prune(folder, group.name)
            result.update({name: {"ref": ref, "tar": str(path)} for name, ref in group.refs.items() if name in names})
    return result


def make(group: Group, path: Path) -> None:
    """Builds a group into an archive."""
    buildah = Buildah()
    buildah.prepare()
    group.build(buildah)
    say(f"writing {path}")
    archive.write(buildah, list(group.refs.values()), path)
    say(f"{group.name} is built: {path.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    sys.exit(main())
