"""A browser, where there is one, and a stack with something to see."""

import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from console_world import BROKEN, EDITED, EDITS, SLOW, SOFT, Seen
from noetl_testkit.stack import Stack
from playwright.async_api import Browser, async_playwright

EXAMPLES = Path(__file__).parents[2] / "examples"


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
        yield started
        await started.close()


@pytest.fixture(scope="module")
def seen(chromium: str, nats_stack: Stack) -> Seen:
    """A stack with runs that have failed, wait, and are over; none where nobody could see it."""
    del chromium
    names = ("hello", "approval", "nightly", "nightly_schedule")
    edits = [EDITED.format(n=number + 1) for number in range(EDITS)]
    texts = [
        SLOW,
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
    for _ in range(300):
        has_failed = found.get(f"executions/{found.broken}/status")["status"] == "FAILED"
        if has_failed and found.get(f"waits?execution_id={found.waiting}")["waits"]:
            return found
        time.sleep(0.1)
    raise AssertionError("the examples have not come to where they should be")
