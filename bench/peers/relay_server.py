"""A relay with nothing around it: ``python -m bench.peers.relay_server PORT PLANE``, PLANE being native or python.

It is one worker of the edge, without the service's events and telemetry, none of which relayed packets touch.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import tempfile
from pathlib import Path
from typing import Final

import uvloop

from bench.peers.relays import FIRST_PORT, LAST_PORT, PASSWORD, REALM, USER
from parley.platform.clock import SystemClock
from parley.platform.telemetry.tracing import Tracer
from parley.platform.tls import DevelopmentCa
from services.avedge.config import AvEdgeConfig
from services.avedge.sockets import open_sockets
from services.avedge.worker import Keys, Worker, WorkerSettings

HOST: Final = "127.0.0.1"
_MANY: Final = 100_000


async def serve(port: int, plane: str, folder: Path) -> None:
    """Serves until it is asked to end."""
    config = AvEdgeConfig.model_validate(
        {
            "plane": plane,
            "ports": {"udp": port, "tcp": -1, "dtls": -1, "tls": -1},
            "relay": {"first": FIRST_PORT, "last": LAST_PORT},
            "limits": {"allocations_per_user": _MANY, "allocations_per_address": _MANY, "challenges_per_second": _MANY,
                       "challenge_burst": _MANY},
            "credentials": {"realm": REALM, "users": {USER: PASSWORD}},
        }
    )  # fmt: skip
    keys = Keys(bytes(32), b"nobody uses it", {USER: PASSWORD}, bytes(32))
    files = DevelopmentCa(folder).issue("relay", [HOST])
    settings = WorkerSettings(0, 1, config, {HOST: HOST}, keys, files, loopback=True)
    worker = Worker(settings, lambda report: None, SystemClock(), Tracer(None))
    worker.start(open_sockets(config, [HOST]))
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    await worker.stop()


def main() -> None:
    """Reads the command line and serves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("plane", choices=("native", "python"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(serve(options.port, options.plane, Path(folder)))


if __name__ == "__main__":
    main()
