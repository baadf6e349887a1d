"""Logs of the processes: cut at a limit, and their ends."""

import asyncio
from pathlib import Path

import pytest
from noetl.stack import logs
from noetl_testkit.waiting import eventually


async def test_a_log_over_its_limit_is_cut_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "service.log"
    with path.open("ab", buffering=0) as writer:
        writer.write(b"old\n" * 100)
        cutting = asyncio.create_task(
            logs.run_log_limits(lambda: [path], limit_bytes=300, every_seconds=0.01)
        )
        await eventually(lambda: path.stat().st_size == 0)
        cutting.cancel()
        writer.write(b"new\n")

    assert path.read_text() == "new\n"
    assert (tmp_path / "service.log.1").read_text() == "old\n" * 100


@pytest.mark.parametrize("count", [0, 1, 7, 50_000])
def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path, count: int) -> None:
    path = tmp_path / "service.log"
    path.write_text("".join(f"line {number}\n" for number in range(count)))

    expected = [f"line {number}" for number in range(count)][-5:]
    assert logs.tail(path, lines=5) == expected
    assert logs.tail(path, lines=0) == []
