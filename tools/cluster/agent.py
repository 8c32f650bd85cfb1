"""The process that keeps NetworkPolicies enforced and volumes made: ``python -m tools.cluster.agent``.

It is woken by changes, then reads everything anew, so that a missed change costs nothing. A change is enforced after some
tenths of a second. It survives an API that is away, and nodes that come and go.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from tools.cluster import namespaces, netpol, volumes
from tools.cluster.api import FAILURES, Api
from tools.cluster.settings import NAME, ClusterError, Settings
from tools.cluster.shell import run

_PODS: Final = "/api/v1/pods"
_NAMESPACES: Final = "/api/v1/namespaces"
_POLICIES: Final = "/apis/networking.k8s.io/v1/networkpolicies"
_WATCHED: Final = (_PODS, _NAMESPACES, _POLICIES, volumes.CLAIMS, volumes.VOLUMES)
_AT_LEAST_EVERY: Final = 2.0
"""Seconds; also after how long a node that came back has its rules."""
_TOGETHER: Final = 0.05
"""Seconds that changes are gathered for."""


class Enforcer:
    """Loads the rules into nodes, when they are not what is there."""

    def __init__(self) -> None:
        self._loaded: dict[str, tuple[int, str]] = {}

    def enforce(self, table: str) -> list[str]:
        """The nodes that got it. Raises ClusterError when one does not take it."""
        changed = []
        for name in namespaces.ours():
            if name == NAME:
                continue
            state = (namespaces.path_of(name).stat().st_ino, table)  # a node that was switched on anew is another file
            if self._loaded.get(name) != state:
                run(*namespaces.inside(name, "nft", "-f", "-"), stdin=table)
                self._loaded[name] = state
                changed.append(name.removeprefix(f"{NAME}-"))
        return changed


def table_of(api: Api) -> str:
    """The rules that the cluster asks for now. Raises one of FAILURES."""
    labels = {item["metadata"]["name"]: item["metadata"].get("labels") or {} for item in api.list(_NAMESPACES)}
    policies = api.list(_POLICIES)
    return netpol.ruleset(netpol.pods_of(api.list(_PODS)), labels, policies)


def _watch(api: Api, path: str, change: threading.Event) -> None:
    while True:
        try:
            for _ in api.changes(path):
                change.set()
        except FAILURES:
            time.sleep(0.5)


def _say(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, flush=True)


def main() -> None:
    """Runs until it is killed."""
    settings = Settings.from_environment()
    api, enforcer, change = Api(settings), Enforcer(), threading.Event()
    for path in _WATCHED:
        threading.Thread(target=_watch, args=(api, path, change), daemon=True).start()
    while True:
        change.wait(_AT_LEAST_EVERY)
        time.sleep(_TOGETHER)
        change.clear()
        try:
            for text in volumes.reconcile(api, settings.state / "volumes"):
                _say(text)
            table = table_of(api)
            if changed := enforcer.enforce(table):
                _say(f"{table.count(' return')} rules on {', '.join(changed)}")
        except (*FAILURES, ClusterError) as error:
            _say(f"not done, and tried again: {error!r}")
            time.sleep(0.5)


if __name__ == "__main__":
    main()
