"""A real Chromium, where there is one, and what is asked of every page in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Page

from tests.acceptance.console import ConsoleProcess

DESK, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}
SCHEMES: dict[Literal["light", "dark"], str] = {"light": "", "dark": "-dark"}
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Debian's Chromium; skip with the reason when it is not installed."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Its sandbox does not work for root; the pages it sees are ours. A GPU that is emulated only costs time.
        arguments = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@contextmanager
def visitor(browser: Browser, running: ConsoleProcess, **options: Any) -> Iterator[Page]:
    """Open a page that is logged in if the console process is; it fails at the end for errors that were met."""
    context: BrowserContext = browser.new_context(
        viewport=options.pop("viewport", DESK), base_url=running.url, **options
    )
    if running.cookie:
        name, _, value = running.cookie.partition("=")
        context.add_cookies(
            [{"name": name, "value": value, "url": running.url, "sameSite": "Strict", "httpOnly": True}]
        )
    met: list[str] = []
    page = context.new_page()

    def dismissed(dialog: Dialog) -> None:
        met.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("dialog", dismissed)
    page.on("pageerror", lambda error: met.append(f"error: {error}"))
    page.on("console", lambda said: met.append(said.text) if "Security Policy" in said.text else None)
    try:
        yield page
    finally:
        context.close()
    assert met == []


def serious_issues(page: Page) -> list[str]:
    """Return what axe-core finds serious or critical on the page."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{issue['id']}: {node['html'][:200]} {node['failureSummary']}"
        for issue in found if issue["impact"] in ("serious", "critical") for node in issue["nodes"]
    ]  # fmt: skip


def screenshot(page: Page, name: str, folder: Path) -> None:
    """Save what is seen, in light and dark; into KEEPSTREAM_SCREENSHOTS where that is set (`make screenshots`)."""
    target = Path(os.environ.get("KEEPSTREAM_SCREENSHOTS") or folder)
    target.mkdir(parents=True, exist_ok=True)
    for scheme, end in SCHEMES.items():
        page.emulate_media(color_scheme=scheme)
        page.screenshot(path=target / f"{name}{end}.png")
    page.emulate_media(color_scheme="null")
