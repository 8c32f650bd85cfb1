"""The admin page in Chromium: signing in, users and groups, what goes on; axe-core finds nothing that keeps people out.

With ``PARLEY_SCREENSHOTS`` set to a folder, pictures of the page are put there.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright, expect

from tests.support.curl import Curl
from tests.support.parley_server import DOMAIN, ParleyServer
from tests.support.sip_client import SipClient

pytestmark = [pytest.mark.browser, pytest.mark.valkey]

ROOT = Path(__file__).parents[2]
ALICE = ("--user", "alice:Secret-1")
PICTURES = os.environ.get("PARLEY_SCREENSHOTS", "")
"""Read at once: tests run without the variables of Parley."""
SECTIONS = ("Users", "Groups", "Live", "Sync", "Devices")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    limits = {"failures_per_source": 1000, "request_burst": 10_000, "user_request_burst": 10_000}
    config = {"web": {"administrators": [f"alice@{DOMAIN}"], "limits": limits}}
    running = ParleyServer(tmp_path_factory.mktemp("parley"), config=config)
    try:
        asyncio.run(running.start())
        asyncio.run(running.create_users(["dora", "erin", "frank"]))
        yield running
    finally:
        asyncio.run(running.stop())


@pytest.fixture(scope="session")
def axe() -> str:
    """axe-core as one script."""
    done = subprocess.run([str(ROOT / "tools" / "install-axe.sh")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip().splitlines()[-1]).read_text()


@pytest.fixture(params=["light", "dark"])
async def page(request: pytest.FixtureRequest, server: ParleyServer) -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        context = await browser.new_context(
            ignore_https_errors=True, color_scheme=request.param, viewport={"width": 1180, "height": 720},
        )  # fmt: skip
        page = await context.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: problems.append(said.text) if "Content Security Policy" in said.text else None)
        await page.goto(f"{server.web_url}/admin")
        yield page
        await browser.close()
        assert problems == []


async def sign_in(page: Page, user: str = "alice", password: str = "Secret-1") -> None:
    await page.get_by_label("Login").fill(user)
    await page.get_by_label("Password").fill(password)
    await page.keyboard.press("Enter")


async def violations(page: Page, axe: str) -> list[str]:
    """What axe-core finds; run outside of the page's policy, as an extension would."""
    await page.evaluate("document.getAnimations().forEach((animation) => animation.finish())")
    await page.evaluate(axe)
    found: dict[str, Any] = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{item['id']}: {item['nodes'][0]['html'][:200]} {item['nodes'][0]['failureSummary']}"
        for item in found["violations"]
    ]


async def picture(page: Page, name: str) -> None:
    if PICTURES:
        await page.screenshot(path=str(Path(PICTURES) / f"{name}.png"))


async def test_every_section_can_be_used_by_everybody(server: ParleyServer, page: Page, axe: str) -> None:
    scheme = await page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'")
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert await violations(page, axe) == []
    phones = [await SipClient(name, transport="tcp").connect(server.ports["tcp"]) for name in ("bob", "carol")]
    for phone in phones:
        assert (await phone.register()).status == 200
    await sign_in(page)
    for section in SECTIONS:
        await page.get_by_role("link", name=section, exact=True).click()
        heading = {"Devices": "Device updates"}.get(section, section)
        await expect(page.get_by_role("heading", name=heading, level=1)).to_be_visible()
        await expect(page.locator("main .card").first).to_be_visible()
        assert await violations(page, axe) == [], section
        await picture(page, f"admin-{section.lower()}-{scheme}")
    for phone in phones:
        phone.close()


async def test_users_are_added_disabled_and_removed(server: ParleyServer, page: Page, axe: str) -> None:
    curl = Curl(server.web_url, server.ca_file)
    address = f"gus@{DOMAIN}"
    await sign_in(page)
    await page.get_by_role("button", name="Add user").click()
    dialog = page.get_by_role("dialog")
    assert await violations(page, axe) == []
    await dialog.get_by_label("Address").fill("gus@elsewhere.test")
    await dialog.get_by_label("Display name").fill("<b>Gus</b>")
    await dialog.get_by_label("Password").fill("Secret-22")
    await dialog.get_by_role("button", name="Add", exact=True).click()
    await expect(dialog.get_by_role("alert")).to_contain_text("is not served here")
    await dialog.get_by_label("Address").fill(address)
    await dialog.get_by_role("button", name="Add", exact=True).click()
    row = page.get_by_role("row").filter(has_text=address)
    await expect(row).to_contain_text("<b>Gus</b>")  # text, no markup
    await row.get_by_role("button", name="Disable").click()
    await expect(row).to_contain_text("disabled")
    assert (await curl(f"/api/v1/users/{address}", *ALICE)).json["enabled"] is False
    await row.get_by_role("button", name="Remove").click()
    await page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    await expect(row).to_have_count(0)
    assert (await curl(f"/api/v1/users/{address}", *ALICE)).status == 404


async def test_groups_are_made_and_shown(server: ParleyServer, page: Page) -> None:
    await sign_in(page)
    await page.get_by_role("link", name="Groups").click()
    await page.get_by_role("button", name="Add group").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Name").fill("Night shift")
    await dialog.get_by_label("Members (addresses)").fill(f"dora@{DOMAIN}\nerin@{DOMAIN}")
    await dialog.get_by_role("button", name="Add", exact=True).click()
    row = page.get_by_role("row").filter(has_text="Night shift")
    await expect(row.get_by_role("cell").nth(1)).to_have_text("2")
    await row.get_by_role("button", name="Members").click()
    await expect(page.get_by_role("status")).to_contain_text("dora, erin")
    await row.get_by_role("button", name="Remove").click()
    await page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    await expect(row).to_have_count(0)


async def test_a_group_that_is_edited_keeps_its_members(server: ParleyServer, page: Page) -> None:
    curl = Curl(server.web_url, server.ca_file)
    entries = "/api/v1/directory/entries"

    async def made(**fields: Any) -> str:
        answer = await curl(entries, *ALICE, body={"kind": "contact", **fields})
        assert answer.status == 201, answer.body
        id: str = answer.json["id"]
        return id

    dora = (await curl(f"/api/v1/directory/search?q=dora@{DOMAIN}", *ALICE)).json["entries"][0]["id"]
    # One who is found by nothing that can be typed, and one whom no search shows.
    nameless = await made(display_name="Nameless")
    hidden = await made(display_name="Hidden", mail="Hidden@Other.example", hidden=True)
    group = await made(kind="group", display_name="Old guard", members=[dora, nameless, hidden])
    try:
        await sign_in(page)
        await page.get_by_role("link", name="Groups").click()
        await page.get_by_role("row").filter(has_text="Old guard").get_by_role("button", name="Edit").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog.get_by_label("Members (addresses)")).to_have_value(
            f"dora@{DOMAIN}\n{nameless}\nhidden@other.example"
        )
        searches: list[str] = []
        page.on("request", lambda sent: searches.append(sent.url) if "/search" in sent.url else None)
        await dialog.get_by_label("Name").fill("New guard")
        await dialog.get_by_role("button", name="Save").click()
        row = page.get_by_role("row").filter(has_text="New guard")
        await expect(row).to_be_visible()
        assert (await curl(f"{entries}/{group}", *ALICE)).json["members"] == [dora, nameless, hidden]
        assert searches == []
        await row.get_by_role("button", name="Edit").click()
        await dialog.get_by_label("Members (addresses)").fill(f"HIDDEN@other.example, erin@{DOMAIN}")
        await dialog.get_by_role("button", name="Save").click()
        await expect(dialog).to_have_count(0)
        first, second = (await curl(f"{entries}/{group}", *ALICE)).json["members"]
        assert (first, len(searches)) == (hidden, 1)
        assert (await curl(f"{entries}/{second}", *ALICE)).json["address"] == f"erin@{DOMAIN}"
        await curl(f"{entries}/{group}", *ALICE, method="DELETE")
        await row.get_by_role("button", name="Edit").click()
        await expect(page.get_by_role("status")).to_contain_text("there is no such group")
    finally:
        for id in (group, nameless, hidden):
            await curl(f"{entries}/{id}", *ALICE, method="DELETE")


async def test_who_may_not_is_told_so_and_a_session_ends(server: ParleyServer, page: Page) -> None:
    await sign_in(page, "alice", "Wrong-1")
    await expect(page.get_by_role("alert")).to_have_text("Login or password are wrong.")
    await sign_in(page, "bob")
    await expect(page.get_by_role("alert")).to_contain_text("is no administrator")
    await sign_in(page)
    await expect(page.get_by_role("heading", name="Users")).to_be_visible()
    await page.reload()  # the cookie is enough
    await expect(page.get_by_role("heading", name="Users")).to_be_visible()
    assert re.search("parley", await page.evaluate("document.cookie")) is None
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await page.reload()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
