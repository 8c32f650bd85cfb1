"""Device updates on the admin page in Chromium: what waits is approved, rejected and rolled back."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator

import pytest
from playwright.async_api import Page, async_playwright, expect

from tests.support.curl import Curl
from tests.support.parley_server import DOMAIN, ParleyServer

pytestmark = [pytest.mark.browser, pytest.mark.valkey]

ALICE = ("--user", "alice:Secret-1")
BINARY = ("--header", "Content-Type: application/octet-stream")
API = "/api/v1"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    running = ParleyServer(tmp_path_factory.mktemp("parley"), config={"web": {"administrators": [f"alice@{DOMAIN}"]}})
    try:
        asyncio.run(running.start())
        yield running
    finally:
        asyncio.run(running.stop())


@pytest.fixture
async def page(server: ParleyServer) -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        page = await (await browser.new_context(ignore_https_errors=True)).new_page()
        await page.goto(f"{server.web_url}/admin")
        await page.get_by_label("Login").fill("alice")
        await page.get_by_label("Password").fill("Secret-1")
        await page.keyboard.press("Enter")
        await page.get_by_role("link", name="Devices", exact=True).click()
        yield page
        await browser.close()


async def upload(curl: Curl, version: str) -> None:
    data = version.encode()
    checksum = hashlib.sha256(data).hexdigest()
    await curl(f"{API}/device-files/{checksum}", *ALICE, *BINARY, method="PUT", body=data)
    module = {"file": "cpe.nbt", "version": version, "sha256": checksum}
    wanted = {"id": "phones", "vendor": "Polycom", "model": "CX700", "version": version, "modules": [module]}
    assert (await curl(f"{API}/device-updates", *ALICE, body=wanted)).status == 200


async def test_updates_are_approved_rejected_and_rolled_back(server: ParleyServer, page: Page) -> None:
    curl = Curl(server.web_url, server.ca_file)
    await expect(page.get_by_text("No update was uploaded.")).to_be_visible()
    rules = page.get_by_role("row").filter(has_text="phones")

    async def shows(*states: str, buttons: list[str]) -> None:
        for state in states:
            await expect(rules).to_contain_text(state, timeout=15_000)  # the page renews itself every few seconds
        await expect(rules.get_by_role("button")).to_have_text(buttons, timeout=15_000)

    await upload(curl, "1.0")
    await shows("Polycom CX700", "1.0", "none", buttons=["Approve", "Reject"])
    await rules.get_by_role("button", name="Approve").click()
    await shows("none", "1.0", buttons=[])
    await upload(curl, "2.0")
    await shows("2.0", "1.0", buttons=["Approve", "Reject"])
    await rules.get_by_role("button", name="Reject").click()
    await shows("none", "1.0", buttons=[])
    await upload(curl, "3.0")
    await shows("3.0", "1.0", buttons=["Approve", "Reject"])
    await rules.get_by_role("button", name="Approve").click()
    await shows("none", "3.0", buttons=["Roll back"])
    await rules.get_by_role("button", name="Roll back").click()
    await shows("none", "1.0", buttons=[])


async def test_what_is_decided_on_is_what_is_shown(server: ParleyServer, page: Page) -> None:
    curl = Curl(server.web_url, server.ca_file)
    await upload(curl, "4.0")
    rules = page.get_by_role("row").filter(has_text="phones")
    await expect(rules).to_contain_text("4.0", timeout=15_000)
    await page.route("**/api/v1/device-updates", lambda route: route.abort())  # it is not renewed
    await upload(curl, "5.0")
    for button in ("Approve", "Reject"):
        await rules.get_by_role("button", name=button).click()
        await expect(page.get_by_role("status").get_by_text("it is not version 4.0 any more").last).to_be_visible()
        (rule,) = (await curl(f"{API}/device-updates", *ALICE)).json["rules"]
        assert rule["pending"]["version"] == "5.0"
    await page.unroute("**/api/v1/device-updates")
    await expect(rules).to_contain_text("5.0", timeout=15_000)
    await rules.get_by_role("button", name="Reject").click()
    await expect(rules).not_to_contain_text("5.0")
    assert (await curl(f"{API}/device-updates/phones", *ALICE, method="DELETE")).status == 204
