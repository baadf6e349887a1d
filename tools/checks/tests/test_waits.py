from collections.abc import Callable
from pathlib import Path

import pytest
import waits

type Plant = Callable[[str, str], None]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("wait_until(is_there, timeout_seconds=30)", "wait_until"),
        ("async def test(): await eventually(is_there, timeout_seconds=0.5)", "eventually"),
        ("async def test(): await asyncio.wait_for(done, 5)", "asyncio.wait_for"),
        ("async def test(): await asyncio.wait_for(done, timeout=5)", "asyncio.wait_for"),
        ("async def test():\n  async with asyncio.timeout(5): await done", "asyncio.timeout"),
        ("process.communicate(timeout=10)", "process.communicate"),
        ("pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]", "pytest.mark.timeout"),
    ],
)
def test_a_bound_of_a_test_s_own_is_found(
    plant: Plant, tmp_path: Path, text: str, what: str
) -> None:
    plant("tests/test_one.py", text)
    plant("tests/conftest.py", text)
    plant("tests/proof.py", text)

    found = [finding.partition(": ")[2].partition(": ")[0] for finding in waits.find(tmp_path)]

    assert found == [what] * 2


@pytest.mark.parametrize(
    "text",
    [
        "wait_until(is_there, what='it is there')",
        "async def test(): await asyncio.wait_for(done, PATIENCE_SECONDS)",
        "async def test():\n  async with unless_it_hangs(): await done",
        "async def test():\n  with raises(TimeoutError):\n    async with asyncio.timeout(1): pass",
        "async def test(): await asyncio.wait({reading}, timeout=0.05)",
        "process.wait()",
    ],
)
def test_what_waits_for_an_event_is_not(plant: Plant, tmp_path: Path, text: str) -> None:
    plant("tests/test_one.py", text)

    assert list(waits.find(tmp_path)) == []


def test_a_flush_that_overtakes_what_was_sent_is_found(plant: Plant, tmp_path: Path) -> None:
    text = "async def send(client):\n  await client.flush()\n  await flush(client)\n  out.flush()"
    plant("tests/standin.py", text)
    plant("libs/one/src/one/sending.py", text)

    assert list(waits.find(tmp_path)) == [
        "tests/standin.py:2: flush: wait with noetl_testkit.bus.flush"
    ]
