"""The console in Chromium: accessible everywhere, live with scripts, complete without."""

import os
import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from console_world import CHAIN, EDITED, EDITS, OpenContext, Seen
from noetl_testkit.waiting import eventually
from playwright.async_api import Page, expect

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]
type Open = Callable[..., Awaitable[Page]]
MODES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 900}},
    "phone": {"viewport": {"width": 390, "height": 844}},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
}
# Read before the settings of the caller's shell are taken away.
_ALL = os.environ.get("NOETL_CONSOLE_PAGES") == "all"
_SHOTS = os.environ.get("NOETL_CONSOLE_SHOTS")
_SOME = {"desktop": (0, 1, 8, 10), "phone": (1, 11), "dark": (1,)}


def addresses(seen: Seen) -> list[str]:
    run = f"/runs/{seen.broken}"
    schedules = seen.get("schedules?path=console/nightly_schedule")["schedules"]
    return [
        "?path=console/",
        run,
        *(f"{run}?tab={tab}" for tab in ("events", "result", "children", "playbook")),
        f"{run}/steps/call",
        f"/runs/{seen.waiting}",
        "/playbooks?path=console/",
        "/playbooks/console/broken",
        "/edit?path=console/broken",
        "/failures?path=console/",
        "/waits?path=console/approval",
        "/schedules",
        f"/schedules/{schedules[0]['schedule_id']}",
        "/credentials",
        "/system",
        "/system/dead-letters",
        "/system/settings?all=1",
        "/login",
        "/runs/1",
        "/nothing/of/it",
        "?status=SOFT&since=2026-01-01T00:00&path=console/",
        f"/playbooks/console/edited?version={EDITS}&against=1",
    ]


@pytest.fixture
def open_page(seen: Seen, open_context: OpenContext) -> Open:
    del seen

    async def opened(**options: Any) -> Page:
        return await (await open_context(**options)).new_page()

    return opened


@pytest.mark.parametrize("mode", MODES)
async def test_pages_are_accessible_and_fit(open_page: Open, seen: Seen, mode: str) -> None:
    """Some of them; all with NOETL_CONSOLE_PAGES=all, which takes a minute."""
    wanted = addresses(seen)
    if not _ALL:
        wanted = [wanted[number] for number in _SOME[mode]]
    # The checker is a script that the console's own policy would not let in.
    page = await open_page(bypass_csp=True, **MODES[mode])
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    for address in wanted:
        await page.goto(seen.page(address))
        root = "document.documentElement"
        if await page.evaluate(f"{root}.scrollWidth > {root}.clientWidth"):
            problems.append(f"{address} is wider than the window")
        if _SHOTS:
            name = re.sub(r"\W+", "_", address.replace(seen.broken, "run")).strip("_") or "runs"
            await page.screenshot(path=f"{_SHOTS}/{mode}_{name}.png", full_page=True)
        for found in (await Axe().run(page)).response["violations"]:
            where = found["nodes"][0]["html"][:200]
            problems.append(f"{address}: {found['id']}: {where}")

    assert problems == []


async def test_the_cause_of_a_failure_is_read_without_a_click(open_page: Open, seen: Seen) -> None:
    page = await open_page(java_script_enabled=False)

    await page.goto(seen.page(f"/runs/{seen.broken}"))

    await expect(page.locator("[role=alert]")).to_contain_text("call line 10: HTTP error")
    await expect(page.locator("[role=alert]")).to_be_in_viewport()


async def test_a_page_follows_its_run(open_page: Open, seen: Seen) -> None:
    page = await open_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    await page.goto(seen.page("?path=console/held"))
    with seen.held() as run:
        await page.get_by_role("link", name=run.execution_id).click()
        await expect(page.locator(".title .badge")).to_have_text("running")
        run.let_end("start")
        await expect(page.locator(".timeline")).to_contain_text("second")
    await expect(page.locator(".title .badge")).to_have_text("completed")
    await expect(page.get_by_text("Cancel with all children")).to_have_count(0)
    assert complaints == []


async def test_lines_show_while_their_step_runs_and_stay(open_page: Open, seen: Seen) -> None:
    page = await open_page()
    with seen.held() as run:
        await page.goto(seen.page(f"/runs/{run.execution_id}"))

        await expect(page.locator(".printed .text")).to_have_text("half <way>")
        await expect(page.locator(".title .badge")).to_have_text("running")
        await page.get_by_role("link", name="Output").click()
    await expect(page.locator(".title .badge")).to_have_text("completed")
    await expect(page.locator(".printed li")).to_have_count(1)
    await expect(page.locator(".printed")).to_contain_text("half <way>")


_WATCH = """
const note = (key) => {
  if (!sessionStorage.getItem("seen " + key)) sessionStorage.setItem("seen " + key, Date.now());
};
const look = () => {
  for (const row of document.querySelectorAll(".timeline tbody tr")) {
    note(`${row.querySelector("a").textContent} ${row.querySelector(".badge").textContent}`);
  }
  for (const run of document.querySelectorAll("td a.id")) note(run.textContent);
};
document.addEventListener("DOMContentLoaded", () => {
  new MutationObserver(look).observe(document, {childList: true, subtree: true});
  note("ready");
  look();
});
"""


@pytest.mark.skipif(not _ALL, reason="make console measures")
async def test_a_change_shows_within_a_second(open_page: Open, seen: Seen) -> None:
    """Begins and ends of a run's steps on its page, and new runs in the list."""
    with seen.stack.client() as client:
        client.post("/api/catalog/register", json={"content": CHAIN}).raise_for_status()
    page = await open_page()
    await page.add_init_script(_WATCH)
    number = seen.start("console/chain")
    await page.goto(seen.page(f"/runs/{number}"))
    await expect(page.locator(".title .badge")).to_have_text("completed")
    shown = await _noted(page)
    late = []
    for step in seen.get(f"executions/{number}/steps")["steps"]:
        for state, field in (("running", "first_started_at"), ("completed", "ended_at")):
            at, seen_at = _ms(step[field]), shown.get(f"{step['step']} {state}")
            # What was so before the page was there is no change.
            if seen_at is not None and at > shown["ready"]:
                late.append(seen_at - at)
    _tell("steps on a run's page", late)
    await page.goto(seen.page("?path=console/hello"))
    late = []
    for _ in range(10):
        number = seen.start("console/hello")
        await expect(page.get_by_role("link", name=number)).to_be_visible()
        began = seen.get(f"executions/{number}")["started_at"]
        late.append((await _noted(page))[number] - _ms(began))
    _tell("runs in the list", late)


async def _noted(page: Page) -> dict[str, float]:
    noted = await page.evaluate("Object.entries(sessionStorage)")
    mark = "seen "
    return {key.removeprefix(mark): float(at) for key, at in noted if key.startswith(mark)}


def _ms(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() * 1000


def _tell(what: str, late: list[float]) -> None:
    ordered = sorted(late)
    print(f"\n{what}: {len(late)} changes shown after p50 {ordered[len(late) // 2]:.0f} ms,"
          f" max {ordered[-1]:.0f} ms")  # fmt: skip
    assert ordered[len(late) // 2] < 1000


async def test_the_focus_outlives_a_change(open_page: Open, seen: Seen) -> None:
    page = await open_page()
    with seen.held() as run:
        await page.goto(seen.page(f"/runs/{run.execution_id}"))
        await page.locator(".timeline a").first.focus()
        run.let_end("start")

        await expect(page.locator(".timeline")).to_contain_text("second")

        await expect(page.locator(".timeline a").first).to_be_focused()


async def test_problems_show_while_a_text_is_typed(open_page: Open, seen: Seen) -> None:
    page = await open_page()
    await page.goto(seen.page("/edit"))

    await page.fill(
        "#content", "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: x, path: y}\n"
    )

    await expect(page.locator("#problems")).to_contain_text("workflow")


async def test_all_is_done_without_scripts(open_page: Open, seen: Seen) -> None:
    page = await open_page(java_script_enabled=False)

    await _write_and_run(page, seen)
    await _save_over_another(page, seen)
    await _answer(page, seen)
    await _filter(page, seen)
    await _restart_failures(page, seen)
    await _dismiss_failures(page, seen)
    await _log_in(page, seen)
    await _go_on_from_a_step(page, seen)
    await _switch_a_schedule(page, seen)
    await _keep_a_secret(page, seen)
    await _cancel(page, seen)


async def _write_and_run(page: Page, seen: Seen) -> None:
    await page.goto(seen.page("/edit"))
    bad = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: t, path: console/typed}\n"
    await page.fill("#content", bad)
    await page.click("button.main")
    await expect(page.locator("[role=alert]")).to_contain_text("It was not saved")
    good = f"{bad}workload: {{n: 1}}\nworkflow:\n- step: start\n  tool: {{kind: noop}}\n"
    await page.fill("#content", good)
    await page.click("button.main")
    await expect(page).to_have_url(seen.page("/playbooks/console/typed?version=1"))
    await page.fill("[name='field.n']", "41")
    await page.click("button.main")
    await page.wait_for_url(seen.page("/runs/*"))
    execution_id = page.url.rpartition("/")[2]
    assert seen.get(f"executions/{execution_id}")["workload"] == {"n": 41}
    await page.click("summary:has-text('Run again')")
    await page.fill("#workload", '{"n": 7}')
    await page.click("button:has-text('Run again')")
    await page.wait_for_url(lambda url: "/runs/" in url and execution_id not in url)
    again = page.url.rpartition("/")[2]
    assert again != execution_id
    assert seen.get(f"executions/{again}")["workload"] == {"n": 7}


async def _save_over_another(page: Page, seen: Seen) -> None:
    await page.goto(seen.page("/edit?path=console/edited"))
    theirs = EDITED.format(n="theirs")
    with seen.stack.client() as client:
        client.post("/api/catalog/register", json={"content": theirs}).raise_for_status()
    await page.fill("#content", EDITED.format(n="mine"))
    await page.click("button:has-text('Check')")
    await expect(page.locator("#problems")).to_contain_text("Nothing is wrong")
    await page.click("button.main")
    await expect(page.locator(".difference .removed")).to_contain_text("theirs")
    await expect(page.locator(".difference .added")).to_contain_text("mine")
    await page.click("button.main")
    await expect(page.locator("h1")).to_contain_text("console/edited")
    assert "mine" in await page.locator(".source").inner_text()


async def _filter(page: Page, seen: Seen) -> None:
    await page.goto(seen.page("?path=console/"))
    await page.select_option("[name=status]", "FAILED")
    await page.fill("[name=since]", "2026-01-01T00:00")
    await page.click("button:has-text('Filter')")
    await page.wait_for_url(lambda url: "since=2026-01-01T00" in url)
    await expect(page.locator("td .id").first).to_be_visible()
    await expect(page.locator("tbody .badge:not(.s-failed)")).to_have_count(0)
    await page.fill("[name=until]", "2026-01-02T00:00")
    await page.click("button:has-text('Filter')")
    await expect(page.locator(".empty")).to_have_text("No run matches.")


async def _go_on_from_a_step(page: Page, seen: Seen) -> None:
    with seen.held() as run:
        await page.goto(seen.page(f"/runs/{run.execution_id}"))
        await page.click("button:has-text('Pause')")
        await page.click("button:has-text('Go on')")
        await page.fill("#reason", "enough")
        await page.click("button:has-text('Cancel with all children')")
        await page.click("summary:has-text('Go on from a step')")
        await page.select_option("#from_step", "start")
        await page.click("button:has-text('Restart')")
        await page.wait_for_url(lambda url: run.execution_id not in url)
        await page.click("button:has-text('Cancel with all children')")


async def _switch_a_schedule(page: Page, seen: Seen) -> None:
    await page.goto(seen.page("/schedules"))
    await page.click("text=console/nightly_schedule")
    await page.click("button:has-text('Pause')")
    await page.click("button:has-text('Go on')")
    await expect(page.locator("button:has-text('Pause')")).to_have_count(1)


async def _answer(page: Page, seen: Seen) -> None:
    await page.goto(seen.page("/waits?path=console/approval"))
    card = page.locator("section", has_text=seen.waiting)
    await card.locator("select").select_option("approve")
    await card.locator("button.main").click()
    await expect(page).to_have_url(seen.page(f"/runs/{seen.waiting}"))
    assert seen.get(f"waits?execution_id={seen.waiting}")["waits"] == []


async def _restart_failures(page: Page, seen: Seen) -> None:
    await page.goto(seen.page("/failures?path=console/broken"))
    await page.click("button:has-text('Restart all')")
    await expect(page.locator(".outcomes")).to_contain_text(f"{seen.broken} goes on as")


async def _dismiss_failures(page: Page, seen: Seen) -> None:
    # What was restarted has failed again.
    await page.goto(seen.page("/failures?path=console/broken"))
    dismiss = page.locator("button:has-text('Dismiss')")

    async def is_shown() -> bool:
        await page.reload()
        return await dismiss.count() > 0

    await eventually(is_shown, what="the failure is shown again")
    await page.click("button:has-text('Dismiss')")
    await page.goto(seen.page("/failures?path=console/broken"))
    await expect(page.locator("button:has-text('Dismiss')")).to_have_count(0)


async def _log_in(page: Page, seen: Seen) -> None:
    await page.goto(seen.page("/login"))
    # This edge knows no keys and lets everybody in; wrong ones are tested at the routes.
    await page.fill("#token", "nk_1_any")
    await page.click("button.main")
    await expect(page.locator("h1")).to_contain_text("Runs")
    kept = {one["name"]: one for one in await page.context.cookies()}
    assert kept["noetl_console"]["httpOnly"]
    await page.context.clear_cookies()


async def _keep_a_secret(page: Page, seen: Seen) -> None:
    await page.goto(seen.page("/credentials"))
    await page.fill("#name", "console-token")
    await page.fill("#data", '{"token": "s3cr3t"}')
    await page.click("button.main")
    row = page.locator("tr", has_text="console-token")
    await expect(row).to_have_count(1)
    assert "s3cr3t" not in await page.content()
    await row.locator("summary").click()
    await row.locator("button").click()
    await expect(page.locator("tr", has_text="console-token")).to_have_count(0)


async def _cancel(page: Page, seen: Seen) -> None:
    with seen.held() as run:
        await page.goto(seen.page("?path=console/held"))
        await page.check(f"input[value='{run.execution_id}']")
        await page.click("button:has-text('Cancel selected')")
        await expect(page.locator(".outcomes")).to_contain_text(run.execution_id)
        assert seen.get(f"executions/{run.execution_id}/status")["status"] == "CANCELLED"
        await page.goto(seen.page("?path=console/held&status=CANCELLED"))
        await page.check(f"input[value='{run.execution_id}']")
        await page.click("button:has-text('Run selected again')")
        again = await page.locator(".outcomes a").last.inner_text()
        assert again != run.execution_id
        await page.click(".outcomes a >> nth=-1")
        await page.click("button:has-text('Cancel with all children')")
