"""A built web UI that the server itself serves, in Chromium.

`NOETL_TEST_UI_DIR` names a build of the UI. Without one a page of our own stands in for it, which
makes the calls of its screens and has nothing to look at.
"""

import os
import re
from typing import Any

import pytest
import pytest_asyncio
from console_world import OpenContext
from noetl_testkit.stack import Stack
from playwright.async_api import Page, Response

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]
REAL = os.environ.get("NOETL_TEST_UI_DIR")
NOT_HERE = {
    ("POST", "/catalog/playbooks/explain/ai"),
    ("POST", "/catalog/playbooks/generate/ai"),
    ("POST", "/executions/ID/analyze/ai"),
}
"""Routes that answer 501 with a sentence."""


class Watched:
    """A page with its errors."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.refused: list[tuple[int, str, str]] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("response", self._note)

    def _note(self, answer: Response) -> None:
        if answer.status >= 400:
            self.refused.append((answer.status, answer.request.method, answer.url))


@pytest_asyncio.fixture(loop_scope="module")
async def watched(open_context: OpenContext) -> Watched:
    return Watched(await (await open_context()).new_page())


@pytest.mark.skipif(REAL is not None, reason="NOETL_TEST_UI_DIR names a build, which is driven")
async def test_all_calls_of_the_ui_are_answered(watched: Watched, nats_stack: Stack) -> None:
    page = watched.page

    await page.goto(f"{nats_stack.url}/ui")
    found: dict[str, Any] = await (await page.wait_for_function("window.found")).json_value()
    address = page.url
    await page.reload()

    refused = [one for one in found["calls"] if one["status"] >= 400]
    assert {(one["method"], _named(one["path"])) for one in refused} == NOT_HERE
    assert all(one["status"] == 501 and " " in one["detail"] for one in refused)
    assert len(found["calls"]) > len(refused) + 20
    assert len(set(found["ids"])) == len(found["ids"])
    assert (found["verdict"], found["execution"]) == (True, True)
    # Tools measure whole milliseconds, and a quick one takes none.
    assert found["duration"] is not None
    assert found["duration"] >= 0
    waited = found["awaited"]
    assert (waited["started"]["status"], bool(waited["client"])) == ("started", True)
    assert waited["result"]["requestId"] == waited["started"]["requestId"]
    assert waited["result"]["executionId"] == waited["started"]["executionId"]
    assert waited["result"]["data"] == {"text": "page", "textOutput": "page"}
    assert waited["shown"] == "page"
    assert waited["repeated"] == waited["result"]
    # It was built for the root of its host, where its own addresses are: they may be loaded again.
    assert (found["where"], address) == ("/", f"{nats_stack.url}/executions")
    assert await page.title() == "Calls of the web UI"
    assert watched.errors == []
    assert {status for status, _, _ in watched.refused} <= {501}


@pytest.mark.skipif(REAL is None, reason="no build of the web UI: NOETL_TEST_UI_DIR names none")
async def test_the_built_ui_works(watched: Watched, nats_stack: Stack) -> None:
    """Open its screens as a user without a login does."""
    page = watched.page
    await page.goto(f"{nats_stack.url}/ui")
    skip = page.get_by_role("button", name=re.compile("without auth", re.IGNORECASE))
    if await skip.count():
        await skip.first.click()
    for screen in ("catalog", "executions", "credentials", "editor"):
        await page.goto(f"{nats_stack.url}/{screen}")
        await page.wait_for_load_state("networkidle")
        assert (await page.locator("#root").inner_text()).strip(), screen
    assert watched.errors == []
    assert [one for one in watched.refused if "/ai" not in one[2]] == []


def _named(path: str) -> str:
    return re.sub(r"/[0-9]{15,}", "/ID", path)
