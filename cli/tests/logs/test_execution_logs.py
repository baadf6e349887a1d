"""Lines of one execution out of many logs: which belong, in which order, with which memory."""

import json
import os
import subprocess
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from noetl.logs.lines import WINDOW, Wanted, in_order, read_lines, shown
from noetl.stack.datadir import DataDirectory
from noetl_testkit.stack import command

ID = "412345678901234567"
OTHER = "412345678901234568"


def line(second: float, msg: str, **fields: object) -> str:
    ts = f"2026-11-27T17:00:{second:09.6f}Z"
    return json.dumps({"ts": ts, "level": "info", "service": "x", "msg": msg, **fields})


def found(logs: dict[str, list[str]], step: str | None = None) -> list[tuple[str, str]]:
    read = [read_lines(lines, place) for place, lines in logs.items()]
    return [
        (one.place, (one.fields or {}).get("msg", one.text))
        for one in in_order(read, Wanted(ID, step))
    ]


def test_lines_of_all_processes_come_in_the_order_of_time() -> None:
    logs = {
        "worker-1": [
            line(2, "tool_broken", execution_id=ID, step="load"),
            line(5, "gone", execution_id=OTHER),
        ],
        "orchestrator": [
            line(3, "turn_held", execution_ids=[1, int(ID)]),
            line(1, "began", execution_id=int(ID)),
        ],
        "postgres": [f"2026-11-27 17:00:02.500 UTC [9] ERROR: execution_id = {ID}"],
        "nats": [f"[7] 2026/11/27 17:00:02.700000 [ERR] on noetl_ingress.0.{ID}.outcome"],
    }

    assert [place for place, _ in found(logs)] == [
        "orchestrator", "worker-1", "postgres", "nats", "orchestrator",
    ]  # fmt: skip


def test_a_longer_number_is_another_execution() -> None:
    assert found({"a": [line(1, "x", execution_id=f"{ID}0"), line(2, "y", row=f"1{ID}")]}) == []


def test_a_step_is_found_by_its_field_its_command_and_the_text_format() -> None:
    logs = {
        "a": [
            line(1, "field", execution_id=ID, step="load"),
            line(2, "another", execution_id=ID, step="load_more"),
            line(3, "command", command_id=f"{ID}:load:99"),
            f"2026-11-27T17:00:04.000000Z [info] text execution_id={ID} step=load",
            f"2026-11-27T17:00:05.000000Z [info] text execution_id={ID} step=loader",
        ]
    }

    assert [msg[:8] for _, msg in found(logs, "load")] == ["field", "command", "2026-11-"]


def test_containers_are_the_places_of_their_lines() -> None:
    piped = [
        f"\x1b[2Kworker-1        | {line(2, 'ran', execution_id=ID)}",
        f"\x1b[36mapi-gateway-1  |\x1b[0m {line(1, 'started', execution_id=ID)}",
    ]

    assert found({"stdin": piped}) == [("api-gateway-1", "started"), ("worker-1", "ran")]


def test_a_line_for_people_has_what_it_says_first() -> None:
    (one,) = read_lines([line(1, "tool_broken", execution_id=ID, step="a", text="b c")], "w")

    said = shown(one, width=4)
    assert said.startswith("w    | 2026-11-27T17:00:01.000000Z info    tool_broken step=a")
    assert said.endswith("text='b c'")


def test_memory_does_not_grow_with_the_logs() -> None:
    def log() -> Iterator[str]:
        for number in range(5 * WINDOW):
            yield line(number / (5 * WINDOW) * 59, "said", execution_id=ID, pad="x" * 200)

    tracemalloc.start()
    lines = in_order([read_lines(log(), "a")], Wanted(ID))
    assert sum(1 for _ in lines) == 5 * WINDOW
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < WINDOW * 4000


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    directory = DataDirectory(tmp_path / "data")
    with directory.hold():
        logs = directory.logs
    (logs / "worker-1.log.1").write_text(f"{line(1, 'older', execution_id=ID)}\n")
    (logs / "worker-1.log").write_text(f"{line(3, 'newer', execution_id=ID, step='b')}\n")
    (logs / "outbox.log").write_text(f"{line(2, 'between', execution_id=ID)}\nnot ours\n")
    return directory


def test_the_command_looks_through_the_logs_of_the_stack(data: DataDirectory) -> None:
    whole = logs("--json", ID, data=data)
    nothing = logs(OTHER, data=data)
    wrong = logs("worker-1", "step", data=data)

    assert [json.loads(one)["msg"] for one in whole.stdout.splitlines()] == [
        "older", "between", "newer",
    ]  # fmt: skip
    assert whole.returncode == 0
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert f"no line about execution {OTHER}" in nothing.stderr
    assert wrong.returncode == 2


def test_the_command_reads_what_is_piped_to_it(data: DataDirectory) -> None:
    piped = f"worker-1  | {line(1, 'ran', execution_id=ID)}\n"

    done = logs(ID, "--file", "-", data=data, text=piped)

    assert (done.returncode, done.stdout.split()[:1]) == (0, ["worker-1"])
    assert "ran" in done.stdout


def logs(*words: str, data: DataDirectory, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command(is_warm=True), "logs", *words,
         "--data", str(data.root)],
        input=text, capture_output=True, env=os.environ, text=True, check=False,
    )  # fmt: skip
