"""The Python client on a whole stack: the examples of its page, and answers of a real edge."""

import re
from pathlib import Path

import pytest
from noetl_client import AsyncClient, ExecutionFailed, WaitTimedOut
from noetl_testkit.stack import Stack

pytestmark = pytest.mark.e2e

PAGE = Path(__file__).resolve().parents[3] / "docs" / "client.md"
FAILING = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: fails, path: tests/client/fails}
workflow:
  - step: start
    tool: {kind: python, code: "result = 'x' * 200000"}
    next: {arcs: [{step: ask}]}
  - step: ask
    tool: {kind: wait, signal: go}
    next: {arcs: [{step: gone}]}
  - step: gone
    tool: {kind: playbook, path: tests/client/nowhere}
"""


def test_what_the_page_shows_does_what_it_says(
    nats_stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOETL_SERVER_URL", nats_stack.url)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)

    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), {"__name__": "page"})  # noqa: S102


async def test_an_execution_is_followed_signalled_and_told_with_its_cause(
    nats_stack: Stack,
) -> None:
    async with AsyncClient(nats_stack.url) as client:
        await client.catalog.register(FAILING)
        started = await client.start("tests/client/fails")
        with pytest.raises(WaitTimedOut):
            await client.wait(started.execution_id, seconds=0)
        seen = []
        async for event in client.stream(started.execution_id):
            seen.append(event)
            if event.event_type == "wait.started":
                break
        assert (await client.signal(started.execution_id, "go")).status == "taken"
        rest = client.stream(started.execution_id, after=seen[-1].event_id)
        seen += [event async for event in rest]

        with pytest.raises(ExecutionFailed, match=r"step 'gone' \(line 12\) failed") as failed:
            await client.result(started.execution_id)
        detail = await client.detail(started.execution_id)
        assert [one.event_id for one in seen] == [one.event_id for one in detail.events]
        assert failed.value.cause is not None
        (stored,) = (await client.stored_results(started.execution_id)).results
        assert len((await client.resolve(stored.ref))["data"]) == 200_000
