"""A browser as a phone: JsSIP in headless Chromium registers over WSS, and its INVITE rings a phone."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page

from tests.support.browser import chromium_page
from tests.support.parley_server import ParleyServer
from tests.support.sip_client import SipClient

pytestmark = [pytest.mark.browser, pytest.mark.valkey]

ROOT = Path(__file__).parents[2]

START = """
async ({url, uri, password}) => {
  window.seen = [];
  const socket = new JsSIP.WebSocketInterface(url);
  window.ua = new JsSIP.UA({sockets: [socket], uri, password, register: true, session_timers: false});
  for (const name of ['connected', 'registered', 'registrationFailed', 'disconnected'])
    ua.on(name, (event) => seen.push(name + (event && event.cause ? ':' + event.cause : '')));
  ua.start();
}
"""

CALL = """
async (target) => {
  const silence = new AudioContext().createMediaStreamDestination().stream;
  const session = ua.call(target, {mediaStream: silence, mediaConstraints: {audio: true, video: false}});
  for (const name of ['progress', 'failed', 'accepted'])
    session.on(name, (event) => seen.push(name + (event && event.cause ? ':' + event.cause : '')));
  window.session = session;
}
"""


@pytest.fixture(scope="session")
def jssip() -> str:
    """JsSIP as one script."""
    done = subprocess.run([str(ROOT / "tools" / "install-jssip.sh")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip().splitlines()[-1]).read_text()


@pytest.fixture
async def page(jssip: str) -> AsyncIterator[Page]:
    async with chromium_page() as page:
        await page.add_script_tag(content=jssip)
        yield page


async def seen(page: Page, wanted: str, timeout: float = 15) -> None:
    """Waits until the page has seen an event."""
    events: list[str] = []
    for _ in range(int(timeout / 0.1)):
        events = await page.evaluate("window.seen")
        if any(event.startswith(wanted) for event in events):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"no {wanted}, saw {events}")


async def test_browser_registers_over_wss_and_rings_a_phone(page: Page, parley_server: ParleyServer, tmp_path: Path) -> None:
    url = f"wss://127.0.0.1:{parley_server.ports['wss']}"
    await page.evaluate(START, {"url": url, "uri": "sip:alice@example.test", "password": parley_server.password})
    await seen(page, "registered")
    listing = await parley_server.parley("--json", "registrations", "alice@example.test")
    assert '"WSS"' in listing.stdout
    # baresip 1.0 refuses the browser's media, so the phone that rings is one that answers without any.
    bob = await SipClient("bob", transport="tls").connect(parley_server.ports["tls"])
    assert (await bob.register()).status == 200
    await page.evaluate(CALL, "sip:bob@example.test")
    incoming = await bob.expect("INVITE")
    assert incoming.from_.uri_text == "sip:alice@example.test"
    assert incoming.get("Content-Type") == "application/sdp"
    bob.answer(incoming, 180)
    await seen(page, "progress")
    bob.answer(incoming, 486)
    await bob.expect("ACK")
    await seen(page, "failed:Busy")


async def test_wrong_password_is_told_to_the_browser(page: Page, parley_server: ParleyServer) -> None:
    url = f"wss://127.0.0.1:{parley_server.ports['wss']}"
    await page.evaluate(START, {"url": url, "uri": "sip:alice@example.test", "password": "Wrong-1"})
    await seen(page, "registrationFailed")
