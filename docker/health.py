"""Whether the Parley of this container answers: 0 when it does, 1 with a sentence when it does not.

The file that a process writes once it is up says where its metrics and health are. What only drains answers too.
"""

import ipaddress
import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

TIMEOUT_S = 4.0


def url_of(address: str) -> str:
    """Where to ask a process that listens on an address (host:port)."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return f"http://{host}:{port}/livez"
    if ip.is_unspecified:
        ip = ipaddress.ip_address("127.0.0.1" if ip.version == 4 else "::1")
    return f"http://{f'[{ip}]' if ip.version == 6 else ip}:{port}/livez"


def main() -> int:
    """Asks."""
    path = Path(os.environ.get("PARLEY_DATA", "/var/lib/parley")) / "run.json"
    try:
        url = url_of(json.loads(path.read_text())["metrics"])
    except (OSError, ValueError, KeyError, TypeError):
        print(f"Parley is not up: {path} does not say where it listens")
        return 1
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=TIMEOUT_S) as answer:
            print(answer.read(100).decode(errors="replace").strip())
            return 0
    except (OSError, urllib.error.URLError) as error:
        print(f"{url} does not answer: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
