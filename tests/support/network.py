"""A small internet of network namespaces: hosts with addresses of their own, and homes behind NAT.

Everything is inside the namespaces, so runs side by side do not meet. A namespace is named after the process that made it;
what a killed process left is removed by the next one.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path
from typing import Final, Self

_CLONE_NEWNET: Final = 0x40000000
_FOLDER: Final = Path("/run/netns")
PUBLIC: Final = "203.0.113"


class Nat(Enum):
    """How a home's router treats UDP (RFC 3489 section 5 names them so)."""

    FULL_CONE = "full cone"
    """The phone's port is the same to everybody, and everybody may send to it."""
    SYMMETRIC = "symmetric"
    """Every destination sees another port, and it alone may answer to it."""


def network_missing() -> str | None:
    """Why no namespaces can be made here; None when they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need root on Linux"
    for program in ("ip", "nft"):
        if not shutil.which(program):
            return f"{program} is not installed"
    return None


class Host:
    """A namespace with one address."""

    def __init__(self, namespace: str, address: str) -> None:
        self.namespace = namespace
        self.address = address

    @property
    def prefix(self) -> tuple[str, ...]:
        """What to put before a command to run it there."""
        return ("ip", "netns", "exec", self.namespace)

    def run(self, *command: str, stdin: str | None = None) -> str:
        """Runs a command there; what it printed."""
        done = subprocess.run([*self.prefix, *command], input=stdin, capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}{done.stdout}"
        return done.stdout

    def open_socket(self, kind: socket.SocketKind, port: int = 0) -> socket.socket:
        """A socket made and bound there, for use anywhere. Raises OSError."""
        with ThreadPoolExecutor(1) as thread:  # a thread of its own, as it moves to the namespace
            return thread.submit(self._socket, kind, port).result()

    def connect(self, host: str, port: int) -> socket.socket:
        """A TCP connection made there, for use anywhere. Raises OSError."""
        connection = self.open_socket(socket.SOCK_STREAM)
        try:
            connection.settimeout(5)
            connection.connect((host, port))
        except OSError:
            connection.close()
            raise
        return connection

    def _socket(self, kind: socket.SocketKind, port: int) -> socket.socket:
        with (_FOLDER / self.namespace).open() as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"cannot enter {self.namespace}")
        made = socket.socket(socket.AF_INET, kind)
        try:
            made.bind(("", port))
        except OSError:
            made.close()
            raise
        return made


class Internet:
    """A public network; with ``with``, gone at the end."""

    def __init__(self) -> None:
        self._prefix = f"parley-{os.getpid()}-"
        self._count = 0

    def __enter__(self) -> Self:
        _remove_what_the_dead_left()
        self._middle = self._namespace("net")
        self._run(self._middle, "ip", "link", "add", "net", "type", "bridge")
        self._run(self._middle, "ip", "link", "set", "net", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for path in sorted(_FOLDER.glob(f"{self._prefix}*")):
            subprocess.run(["ip", "netns", "del", path.name], check=False)

    def host(self) -> Host:
        """A host with a public address."""
        self._count += 1
        host = Host(self._namespace(f"host{self._count}"), f"{PUBLIC}.{self._count}")
        self._plug(host.namespace, self._middle, "net", f"{host.address}/24")
        return host

    def home(self, nat: Nat) -> Host:
        """A host with a private address, behind a router of that kind."""
        router = self.host()
        home = Host(self._namespace(f"home{self._count}"), "192.168.1.2")
        self._run(router.namespace, "ip", "link", "add", "home", "type", "bridge")
        self._run(router.namespace, "ip", "addr", "add", "192.168.1.1/24", "dev", "home")
        self._run(router.namespace, "ip", "link", "set", "home", "up")
        self._plug(home.namespace, router.namespace, "home", f"{home.address}/24")
        home.run("ip", "route", "add", "default", "via", "192.168.1.1")
        router.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        router.run("nft", "-f", "-", stdin=_ruleset(nat, router.address, home.address))
        return home

    def _namespace(self, name: str) -> str:
        namespace = f"{self._prefix}{name}"
        subprocess.run(["ip", "netns", "add", namespace], check=True)
        self._run(namespace, "ip", "link", "set", "lo", "up")
        return namespace

    def _plug(self, namespace: str, switch: str, bridge: str, address: str) -> None:
        """A cable from a host to the bridge of another namespace."""
        port = f"p{namespace.rpartition('-')[2]}"
        self._run(namespace, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", switch)
        self._run(namespace, "ip", "addr", "add", address, "dev", "eth0")
        self._run(namespace, "ip", "link", "set", "eth0", "up")
        self._run(switch, "ip", "link", "set", port, "master", bridge, "up")

    @staticmethod
    def _run(namespace: str, *command: str) -> None:
        Host(namespace, "").run(*command)


def _ruleset(nat: Nat, public: str, private: str) -> str:
    if nat is Nat.FULL_CONE:
        return f"""
table ip nat {{
    chain prerouting {{ type nat hook prerouting priority dstnat; iifname eth0 meta l4proto udp dnat to {private}; }}
    chain postrouting {{ type nat hook postrouting priority srcnat; oifname eth0 snat to {public}; }}
}}
"""
    return """
table ip nat {
    chain postrouting { type nat hook postrouting priority srcnat; oifname eth0 masquerade fully-random; }
}
table ip filter {
    chain forward {
        type filter hook forward priority filter; policy drop;
        iifname home accept
        ct state established,related accept
    }
}
"""


def _remove_what_the_dead_left() -> None:
    for path in _FOLDER.glob("parley-*") if _FOLDER.exists() else ():
        found = re.match(r"parley-(\d+)-", path.name)
        if found and not Path(f"/proc/{found[1]}").exists():
            subprocess.run(["ip", "netns", "del", path.name], check=False)
