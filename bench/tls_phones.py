"""Thousands of idle phones over TLS in one process: each connects, registers with digest, and stays.

Run as ``python -m bench.tls_phones``; it is driven over its standard input and output, one JSON object a line, so that
its memory and CPU are not those of the benchmark. A phone whose connection closes registers again at the next server.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import re
import resource
import ssl
import sys
import time
from functools import partial
from itertools import count
from typing import cast

import uvloop

_PARAMETER = re.compile(r'(\w+)="?([^",]+)"?')
_call_ids = count()


class Phone(asyncio.Protocol):
    """One connection."""

    def __init__(self, fleet: Fleet, user: str, server: int) -> None:
        self._fleet = fleet
        self._server = server
        self._user = user
        self._cseq = 0
        self._call_id = f"{next(_call_ids)}@phones"
        self._buffer = b""
        self.registered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # that of uvloop over TLS is no subclass
        self._register("")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            text = head.decode()
            if " 401 " in text[:20]:
                self._register(self._credentials(text))
            elif " 200 " in text[:20]:
                if not self.registered:
                    self.registered = True
                    self._fleet.registered[self._server] += 1
            else:
                self._fleet.refused += 1
                self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.registered:
            self._fleet.registered[self._server] -= 1
        self._fleet.lost(self._user)

    def _register(self, credentials: str) -> None:
        self._cseq += 1
        host, port = self._transport.get_extra_info("sockname")[:2]
        contact = f'<sip:{self._user}@{host}:{port};transport=tls>;reg-id=1;+sip.instance="<urn:uuid:{self._user}>"'
        self._transport.write(
            (
                f"REGISTER sip:{self._fleet.domain} SIP/2.0\r\nVia: SIP/2.0/TLS {host}:{port};rport;"
                f"branch=z9hG4bK{self._call_id}{self._cseq}\r\nMax-Forwards: 70\r\n"
                f"From: <sip:{self._user}@{self._fleet.domain}>;tag=a\r\nTo: <sip:{self._user}@{self._fleet.domain}>\r\n"
                f"Call-ID: {self._call_id}\r\nCSeq: {self._cseq} REGISTER\r\nContact: {contact}\r\n"
                f"Supported: outbound, path\r\n{credentials}Expires: 3600\r\nContent-Length: 0\r\n\r\n"
            ).encode()
        )

    def _credentials(self, challenge: str) -> str:
        line = next(line for line in challenge.split("\r\n") if line.lower().startswith("www-authenticate"))
        values = dict(_PARAMETER.findall(line))
        uri = f"sip:{self._fleet.domain}"

        def md5(text: str) -> str:
            return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

        ha1 = md5(f"{self._user}:{values['realm']}:{self._fleet.password}")
        response = md5(f"{ha1}:{values['nonce']}:00000001:c:auth:{md5('REGISTER:' + uri)}")
        return (
            f'Authorization: Digest username="{self._user}", realm="{values["realm"]}", nonce="{values["nonce"]}", '
            f'uri="{uri}", response="{response}", algorithm=MD5, cnonce="c", qop=auth, nc=00000001\r\n'
        )


class Fleet:
    """All phones of the process."""

    def __init__(self, ports: list[int], domain: str, password: str, in_progress: int) -> None:
        self.ports = ports
        self.domain = domain
        self.password = password
        self.registered = [0] * len(ports)
        """By server."""
        self.refused = 0
        self._gate = asyncio.Semaphore(in_progress)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        self._tasks: set[asyncio.Task[None]] = set()
        self._users: dict[str, int] = {}

    def lost(self, user: str) -> None:
        """A connection closed: the phone goes to the next server."""
        self._users[user] = (self._users[user] + 1) % len(self.ports)
        self.connect(user)

    def add(self, user: str) -> None:
        """A further phone; it begins at the first server."""
        self._users[user] = 0
        self.connect(user)

    def connect(self, user: str) -> None:
        """Connects in the background."""
        task = asyncio.get_running_loop().create_task(self._connect(user))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, user: str) -> None:
        loop = asyncio.get_running_loop()
        while True:
            async with self._gate:
                try:
                    server = self._users[user]
                    phone = partial(Phone, self, user, server)
                    await loop.create_connection(phone, "127.0.0.1", self.ports[server], ssl=self._context)
                    return
                except OSError:
                    self._users[user] = (self._users[user] + 1) % len(self.ports)
            await asyncio.sleep(0.2)


async def serve(fleet: Fleet, users: list[str]) -> None:
    """Connects all, then reports how many are registered ten times a second until standard input ends."""
    for user in users:
        fleet.add(user)
    loop = asyncio.get_running_loop()
    ended = loop.run_in_executor(None, sys.stdin.read)
    while not ended.done():
        report = {"registered": fleet.registered, "refused": fleet.refused, "at": time.time()}
        print(json.dumps(report), flush=True)
        await asyncio.sleep(0.1)


def main() -> None:
    """Reads the command line and runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ports", required=True, help="TLS ports on 127.0.0.1, the first one preferred")
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--prefix", default="user")
    parser.add_argument("--domain", default="example.test")
    parser.add_argument("--password", required=True)
    parser.add_argument("--in-progress", type=int, default=64)
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard), hard))
    uvloop.install()

    async def run() -> None:
        ports = [int(port) for port in options.ports.split(",")]
        fleet = Fleet(ports, options.domain, options.password, options.in_progress)
        await serve(fleet, [f"{options.prefix}{index}" for index in range(options.users)])

    asyncio.run(run())


if __name__ == "__main__":
    main()
