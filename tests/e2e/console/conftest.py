"""A browser, where there is one, and a stack with something to see."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from console_world import BROKEN, EDITED, EDITS, HELD, SOFT, OpenContext, Seen
from noetl_testkit.stack import Stack
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_until
from playwright.async_api import Browser, BrowserContext, async_playwright, expect

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture(scope="module")
def chromium() -> str:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    """Chromium of this machine, without a network of its own."""
    quiet = ("background-networking", "component-update", "sync", "gpu", "quic")
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", *(f"--disable-{one}" for one in quiet)]
        )
        expect.set_options(timeout=PATIENCE_SECONDS * 1000)
        yield started
        await started.close()


@pytest_asyncio.fixture(loop_scope="module")
async def open_context(browser: Browser) -> AsyncIterator[OpenContext]:
    """Open contexts whose pages wait as long as their test does; they end with it."""
    contexts = []

    async def opened(**options: Any) -> BrowserContext:
        context = await browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE_SECONDS * 1000)
        return context

    yield opened
    for context in contexts:
        await context.close()


@pytest.fixture(scope="module")
def seen(chromium: str, nats_stack: Stack) -> Seen:
    """A stack with runs that have failed, wait, and are over; none where a browser is missing."""
    del chromium
    names = ("hello", "approval", "nightly", "nightly_schedule")
    edits = [EDITED.format(n=number + 1) for number in range(EDITS)]
    texts = [
        HELD,
        SOFT,
        BROKEN,
        *edits,
        *((EXAMPLES / f"{name}.yaml").read_text() for name in names),
    ]
    with nats_stack.client() as client:
        for text in texts:
            mine = text.replace("path: examples/", "path: console/")
            client.post("/api/catalog/register", json={"content": mine}).raise_for_status()
    made = Seen(nats_stack, "", "")
    made.start("console/hello")
    made.start("console/soft")
    found = Seen(nats_stack, made.start("console/broken"), made.start("console/approval"))

    def are_there() -> bool:
        has_failed = found.get(f"executions/{found.broken}/status")["status"] == "FAILED"
        return has_failed and bool(found.get(f"waits?execution_id={found.waiting}")["waits"])

    wait_until(are_there, what="the examples are where they should be")
    return found
