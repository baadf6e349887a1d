"""The unit of work in log lines."""

import asyncio
import logging
from dataclasses import dataclass

import orjson
import pytest
from noetl_common.logging import configure, get_logger
from noetl_common.settings import LogSettings
from noetl_common.telemetry.carrier import trace_id_of
from noetl_common.telemetry.work import done_with, working_on

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


@dataclass
class Command:
    execution_id: int
    step: str
    command_id: str
    trace: object = None


pytestmark = pytest.mark.usefixtures("restored_logging")


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_line_has_the_names_of_its_unit_of_work(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogSettings(log_format="json"), "worker")
    work = working_on(Command(7 << 56, "load", "7:load:1", {"traceparent": PARENT}))
    get_logger().warning("tool_slow")
    logging.getLogger("a_library").warning("said so")
    done_with(work)
    get_logger().warning("idle")
    ours, theirs, idle = lines(capsys)

    names = {
        "execution_id": str(7 << 56),
        "step": "load",
        "command_id": "7:load:1",
        "trace_id": TRACE_ID,
    }
    assert ours.items() >= names.items()
    assert theirs.items() >= names.items()
    assert not idle.keys() & names.keys()


def test_a_line_s_own_names_win(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogSettings(log_format="json"), "orchestrator")
    work = working_on(Command(1, "a", "1:a:2"))
    get_logger().warning("child_lost", execution_id=2, step="b")
    done_with(work)
    (line,) = lines(capsys)

    assert (line["execution_id"], line["step"], line["command_id"]) == ("2", "b", "1:a:2")


def test_the_text_format_appends_them(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogSettings(log_format="pretty"), "worker")
    work = working_on(Command(12, "load", "12:load:1"))
    get_logger().warning("tool_slow")
    done_with(work)

    said = capsys.readouterr().out
    assert all(name in said for name in ("execution_id", "12", "step", "load", "command_id"))


async def test_tasks_have_units_of_work_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogSettings(log_format="json"), "worker")

    async def run(number: int) -> None:
        working_on(Command(number, "s", f"{number}:s:1"))
        await asyncio.sleep(0)
        get_logger().warning("ran", number=number)

    await asyncio.gather(*(run(number) for number in range(1, 5)))

    assert all(line["execution_id"] == str(line["number"]) for line in lines(capsys))


@pytest.mark.parametrize(
    "trace", [None, "x", {}, {"traceparent": 5}, {"traceparent": "00-12-34-01"}, {"a": PARENT}]
)
def test_what_is_no_context_has_no_trace_id(trace: object) -> None:
    assert trace_id_of(trace) is None
