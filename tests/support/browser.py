"""Chromium with an empty page of this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from playwright.async_api import Page, async_playwright


async def _empty_page(request: web.Request) -> web.Response:
    return web.Response(text="<!doctype html><title>phone</title>", content_type="text/html")


@asynccontextmanager
async def chromium_page() -> AsyncIterator[Page]:
    """A page that may connect to this machine, as one from nowhere may not."""
    app = web.Application()
    app.router.add_get("/", _empty_page)
    site = web.AppRunner(app)
    await site.setup()
    await web.TCPSite(site, "127.0.0.1", 0).start()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=[
                "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
                "--disable-component-update", "--disable-sync", "--ignore-certificate-errors",
                "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
                "--allow-loopback-in-peer-connection",
            ],
        )  # fmt: skip
        page = await browser.new_page()
        await page.goto(f"http://127.0.0.1:{site.addresses[0][1]}/")
        yield page
        await browser.close()
    await site.cleanup()
