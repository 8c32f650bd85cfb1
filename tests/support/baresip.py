"""baresip as a real phone: configuration, process, its JSON control port, and what it recorded.

One phone is one process with a folder of its own. Every phone plays a sine tone and records what it hears (module
``sndfile`` writes the decoded audio), so a test can look for the tone of the other side.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.network import Host
from tests.support.ports import free_port

MODULES = Path("/usr/lib/baresip/modules")

CONFIG = """\
sip_listen              {host}:{sip_port}
sip_cafile              {ca_file}
call_local_timeout      60
call_max_calls          4
audio_path              {folder}
audio_player            aubridge,{name}
audio_source            ausine,{tone}
audio_alert             aubridge,alert
ausrc_srate             48000
auplay_srate            8000
ausrc_channels          2
auplay_channels         1
net_interface           {host}
rtp_ports               {rtp_ports}
jitter_buffer_delay     1-5
snd_path                {folder}
ctrl_tcp_listen         127.0.0.1:{control_port}
cons_listen             127.0.0.1:{console_port}
module_path             /usr/lib/baresip/modules
module                  g711.so
module                  ausine.so
module                  aubridge.so
module                  sndfile.so
module                  srtp.so
module                  dtls_srtp.so
module                  turn.so
module                  uuid.so
module                  cons.so
module_app              account.so
module_app              menu.so
module_app              contact.so
module_app              ctrl_tcp.so
"""


def baresip_missing() -> str | None:
    """Why no baresip can be started here; None when it can."""
    return None if shutil.which("baresip") and MODULES.is_dir() else "baresip is not installed"


@dataclass
class Account:
    """What a user would type into the phone."""

    user: str
    password: str
    domain: str
    outbound: str
    """URI of the server, as "sip:127.0.0.1:5061;transport=tls"."""
    srtp: bool = True
    extra: str = ""

    def line(self) -> str:
        """The line of baresip's ``accounts`` file."""
        media = ";mediaenc=srtp-mand" if self.srtp else ""
        return (
            f'<sip:{self.user}@{self.domain}>;auth_user={self.user};auth_pass={self.password};outbound="{self.outbound}"'
            f";regint=60{media}{self.extra}\n"
        )


@dataclass
class Phone:
    """A running baresip."""

    folder: Path
    account: Account
    tone: int = 440
    ca_file: Path | None = None
    host: str = "127.0.0.1"
    rtp_ports: str = "10000-19999"
    contact: str = ""
    """Address of whom the command "message" writes to, and the module "presence" watches."""
    modules: tuple[str, ...] = ()
    """Further ones, as "mwi" or "presence"."""
    network: Host | None = None
    """The network namespace it runs in; None for the one of the test."""
    events: list[dict[str, Any]] = field(default_factory=list)
    screen: bytes = b""
    """What it has shown on its console."""
    said: list[str] = field(default_factory=list)
    """What it answered to commands."""

    async def start(self) -> None:
        """Starts the process and connects to its control port."""
        self.folder.mkdir(parents=True, exist_ok=True)
        control_port, console_port = free_port(), free_port()
        (self.folder / "config").write_text(
            CONFIG.format(
                host=self.host,
                sip_port=0,
                ca_file=self.ca_file or "",
                folder=self.folder,
                name=self.account.user,
                tone=self.tone,
                rtp_ports=self.rtp_ports,
                control_port=control_port,
                console_port=console_port,
            )
            + "".join(f"module_app              {module}.so\n" for module in self.modules)
        )
        (self.folder / "accounts").write_text(self.account.line())
        (self.folder / "contacts").write_text(f"<{self.contact}>;presence=p2p\n" if self.contact else "")
        self._log = (self.folder / "log").open("wb")
        self._process = await asyncio.create_subprocess_exec(
            *(self.network.prefix if self.network is not None else ()), "baresip", "-f", str(self.folder), "-v", "-s",
            stdin=asyncio.subprocess.DEVNULL, stdout=self._log, stderr=self._log, cwd=self.folder,
        )  # fmt: skip
        self._changed = asyncio.Event()
        for _ in range(100):
            try:
                self._reader, self._writer = await self._connect(control_port)
                break
            except OSError:
                await asyncio.sleep(0.05)
        else:
            raise AssertionError(f"baresip did not start:\n{self.log()}")
        self._pump = asyncio.create_task(self._read_events())
        reader, self._console = await self._connect(console_port)
        self._screen_pump = asyncio.create_task(self._read_screen(reader))

    async def _connect(self, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.network is None:
            return await asyncio.open_connection("127.0.0.1", port)
        return await asyncio.open_connection(sock=await asyncio.to_thread(self.network.connect, "127.0.0.1", port))

    async def stop(self) -> None:
        """Ends the process."""
        if self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), 5)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        for task in (self._pump, self._screen_pump):
            task.cancel()
        await asyncio.gather(self._pump, self._screen_pump, return_exceptions=True)
        self._writer.close()
        self._console.close()
        self._log.close()

    async def __aenter__(self) -> Phone:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def command(self, command: str, params: str = "") -> None:
        """Sends a command, as "dial", "accept", "hangup", "hold", "resume", "transfer"."""
        body = json.dumps({"command": command, "params": params}).encode()
        self._writer.write(b"%d:%s," % (len(body), body))

    def log(self) -> str:
        """What baresip printed so far."""
        return (self.folder / "log").read_text(errors="replace")

    async def wait_event(
        self, kind: str, timeout: float = 10, *, where: Callable[[dict[str, Any]], bool] = lambda _: True
    ) -> dict[str, Any]:
        """The first event of that type, as "REGISTER_OK", "CALL_INCOMING", "CALL_ESTABLISHED", "CALL_CLOSED"."""
        try:
            async with asyncio.timeout(timeout):
                while True:
                    for event in self.events:
                        if event.get("type") == kind and where(event):
                            return event
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            seen = [e.get("type") for e in self.events]
            raise AssertionError(f"{self.account.user}: no {kind}, saw {seen}\n{self.log()[-4000:]}") from None

    async def wait_registered(self, timeout: float = 10) -> None:
        """Returns when the server has accepted the phone (its control port may open after that event)."""
        try:
            async with asyncio.timeout(timeout):
                while not re.search(r"} 200 OK .*\[\d+ binding", self.log()):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{self.account.user} did not register:\n{self.log()[-4000:]}") from None

    async def _read_events(self) -> None:
        while True:
            length = await self._reader.readuntil(b":")
            payload = await self._reader.readexactly(int(length[:-1]) + 1)
            message = json.loads(payload[:-1])
            if message.get("event"):
                self.events.append(message)
            elif message.get("response"):
                self.said.append(str(message.get("data", "")))
            self._changed.set()

    async def _read_screen(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(4096):
            self.screen += data

    def messages(self) -> list[tuple[str, str]]:
        """The messages that the phone has shown, in order: who from, and the text."""
        text = self.screen.decode(errors="replace").replace("\r", "\n")
        return re.findall(r'^(sip:[^\s;]+)[^\n]*?: "(.*?)"$', text, re.MULTILINE)

    def heard(self) -> tuple[np.ndarray, int]:
        """Samples (int16) and sample rate of what the phone heard in all calls so far."""
        parts, rate = [], 8000
        for path in sorted(self.folder.glob("dump-*-dec.wav")):
            samples, rate = read_wave(path)
            parts.append(samples)
        return (np.concatenate(parts) if parts else np.zeros(0, np.int16)), rate


def read_wave(path: Path) -> tuple[np.ndarray, int]:
    """Samples and rate of a WAV file, also of one whose header was never completed."""
    raw = path.read_bytes()
    start = raw.find(b"data") + 8
    rate = int.from_bytes(raw[24:28], "little") or 8000
    try:
        with wave.open(str(path)) as file:
            rate = file.getframerate()
    except (wave.Error, EOFError):
        pass
    data = raw[start:]
    return np.frombuffer(data[: len(data) // 2 * 2], np.int16), rate


def tone_share(samples: np.ndarray, rate: int, frequency: float, width: float = 15) -> float:
    """Share (0 to 1) of the sound's energy that lies within ``width`` Hz of a frequency."""
    if len(samples) < rate // 2:
        return 0.0
    spectrum = np.abs(np.fft.rfft(samples.astype(float) * np.hanning(len(samples)))) ** 2
    frequencies = np.fft.rfftfreq(len(samples), 1 / rate)
    spectrum[frequencies < 50] = 0
    total = float(spectrum.sum())
    return float(spectrum[np.abs(frequencies - frequency) <= width].sum()) / total if total else 0.0
