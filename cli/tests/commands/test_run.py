"""`run`: its requests to the edge, its output, its exit codes."""

import asyncio
import json
import os
import pty
import signal
import subprocess
from contextlib import ExitStack, aclosing, suppress
from pathlib import Path
from typing import Any

import pytest
from fake_edge import EXECUTION, Event, FakeEdge, done, event, failed, of_command, serving
from noetl.follow import job
from noetl.follow.edge import Edge
from noetl.stack.datadir import DataDirectory
from noetl.stack.errors import StackError
from noetl.stack.services import Outside
from noetl_testkit import stack
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually, wait_until

PLAYBOOK = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: it, path: tests/it}
workflow:
  - step: start
    tool: {kind: noop}
    next: {arcs: [{step: second}]}

  - desc: the name need not come first
    step: second
    tool: {kind: noop}
"""
STARTED = event(0, "playbook_started", "tests/it")
COMPLETED = event(58, "playbook.completed", "playbook", result={"status": "COMPLETED"})
FAILED = event(58, "playbook.failed", "playbook", result={"status": "FAILED"})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "it.yaml"
    path.write_text(PLAYBOOK)
    return path


def command(edge: FakeEdge, file: Path, *arguments: str) -> list[str]:
    return [*stack.command(is_warm=True), "run", str(file), "--server-url", edge.url, *arguments]


def run(edge: FakeEdge, file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(edge, file, *arguments),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )


def printed(number: int, text: str, *, dropped: int = 0) -> dict[str, Any]:
    moment = f"2026-06-15T09:18:{number:02d}.120Z"
    line = {"number": number, "stream": "stdout", "time": moment, "text": text}
    run = {"execution_id": EXECUTION, "event_id": 7, "command_id": "c", "attempts": 0}
    return {**run, "step": "start", "dropped": dropped, "lines": [line]}


def test_what_steps_print_is_shown_beside_the_steps(file: Path) -> None:
    lines = [
        printed(1, "page 1"), printed(1, "page 1"), printed(5, "\x1b[31mred\x07", dropped=3),
    ]  # fmt: skip
    events = [STARTED, *done("start", 1, {"n": 1}), COMPLETED]
    with serving(FakeEdge(events=events, printed=lines)) as edge:
        told = run(edge, file)
        quiet = run(edge, file, "--no-output")

    shown = [line.strip() for line in told.stderr.splitlines() if " | " in line]
    assert shown == [
        "09:18:01.120 start stdout | page 1",
        "09:18:05.120 start … | 3 lines were left out",
        "09:18:05.120 start stdout | red\N{REPLACEMENT CHARACTER}",
    ]
    assert json.loads(told.stdout) == json.loads(quiet.stdout) == {"n": 1}
    assert "page 1" not in quiet.stderr


def test_the_result_alone_goes_to_stdout(file: Path) -> None:
    events = [STARTED, *done("start", 1, {"n": 1}), *done("second", 10, {"n": 2}), COMPLETED]
    with serving(FakeEdge(events=events)) as edge:
        finished = run(edge, file)

    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout) == {"n": 2}
    assert f"tests/it v3, execution {EXECUTION}: COMPLETED" in finished.stderr
    assert "✓ second  4.0 s" in finished.stderr


def test_the_workload_is_payload_and_words_together(file: Path) -> None:
    with serving(FakeEdge(events=[STARTED, *done("start", 1, None), COMPLETED])) as edge:
        run(
            edge,
            file,
            *("--payload", '{"a": 1, "b": {"keep": true}}'),
            *("--set", "a=2", "--set", "b.c=[1]", "--set", "s=007", "--set", "t=x=y"),
        )

    assert edge.started == {
        "path": "tests/it",
        "version": 3,
        "workload": {"a": 2, "b": {"keep": True, "c": [1]}, "s": "007", "t": "x=y"},
    }


def test_a_failure_names_step_error_and_line(file: Path) -> None:
    events = [STARTED, *done("start", 1, 1), *failed("second", 10, "HTTP error: refused"), FAILED]
    with serving(FakeEdge(events=events, status="FAILED")) as edge:
        finished = run(edge, file)

    assert finished.returncode == 1
    assert finished.stdout == ""
    assert f"{file}:10: step 'second' failed: HTTP error: refused" in finished.stderr


def test_a_failure_that_was_handled_is_no_failure(file: Path) -> None:
    events = [STARTED, *failed("start", 1, "no"), *done("second", 10, "caught"), COMPLETED]
    with serving(FakeEdge(events=events)) as edge:
        finished = run(edge, file)

    assert (finished.returncode, finished.stdout) == (0, "caught\n")


def test_a_failure_outside_of_steps_gives_its_reason(file: Path) -> None:
    reason = {"status": "FAILED", "context": {"error": "Orchestrator evaluate failed: in second"}}
    events = [STARTED, event(9, "playbook.failed", "playbook", result=reason)]
    with serving(FakeEdge(events=events, status="FAILED")) as edge:
        finished = run(edge, file)

    assert finished.returncode == 1
    assert f"{file}:10: Orchestrator evaluate failed: in second" in finished.stderr


def test_an_invalid_playbook_is_refused_with_the_place(file: Path) -> None:
    edge = FakeEdge(refusal=(422, "step 'second': unknown key `tol`"))
    with serving(edge):
        finished = run(edge, file)

    assert finished.returncode == 1
    assert f"{file}:10: step 'second': unknown key `tol`" in finished.stderr


def test_a_text_that_is_no_yaml_is_refused_with_its_line(file: Path) -> None:
    file.write_text("a: [\n")
    with serving(FakeEdge(refusal=(422, "Invalid YAML: no node at line 2 column 1"))) as edge:
        finished = run(edge, file, "--anyway")

    assert finished.returncode == 1
    assert f"{file}:2: Invalid YAML" in finished.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (PLAYBOOK.replace("{kind: noop}", "{kind: nop}", 1), "unknown tool kind 'nop'"),
        (PLAYBOOK.replace("{step: second}", "{step: secnd}"), "did you mean 'second'?"),
        ("a: [\n", "error"),
    ],
)
def test_a_file_with_errors_registers_nothing(file: Path, text: str, told: str) -> None:
    file.write_text(text)
    with serving(FakeEdge(events=[STARTED, COMPLETED])) as edge:
        finished = run(edge, file)

    assert finished.returncode == 1
    assert edge.asked == []
    assert told in finished.stderr
    assert f"{file}: not run" in finished.stderr


def test_what_another_server_may_know_is_run_anyway(file: Path) -> None:
    file.write_text(PLAYBOOK.replace("{kind: noop}", "{kind: theirs}", 1))
    with serving(FakeEdge(events=[STARTED, COMPLETED])) as edge:
        finished = run(edge, file, "--anyway")

    assert finished.returncode == 0


def test_a_soft_error_is_shown_though_the_step_completed(file: Path) -> None:
    events = [STARTED, *done("start", 1, {}, status="error", error="HTTP 500 response"), COMPLETED]
    with serving(FakeEdge(events=events)) as edge:
        finished = run(edge, file)

    assert finished.returncode == 0
    assert "(error in the answer: HTTP 500 response)" in finished.stderr


def test_a_loop_shows_how_far_it_is(file: Path) -> None:
    enter = event(
        1,
        "step.enter",
        "second",
        result={"status": "ENTERED", "context": {"iterations_expected": 20}},
    )
    rounds = [of_command("command.completed", "second", n, f"i{n}") for n in range(20)]
    for number, item in enumerate(rounds):
        item["event_id"] = EXECUTION + 100 + number
    with serving(FakeEdge(events=[STARTED, enter, *rounds, COMPLETED])) as edge:
        finished = run(edge, file)

    shown = [line.split()[2] for line in finished.stderr.splitlines() if "second" in line]
    assert shown == [f"{n}/20" for n in range(0, 21, 2)]


def test_a_broken_stream_goes_on_where_it_was(file: Path) -> None:
    events = [STARTED, *done("start", 1, 1), *done("second", 10, 2), COMPLETED]
    with serving(FakeEdge(events=events, breaks_after=4)) as edge:
        finished = run(edge, file)

    assert (finished.returncode, finished.stdout) == (0, "2\n")
    assert edge.resumed_after == ["", str(events[3]["event_id"])]
    assert finished.stderr.count("✓ start") == 1


async def test_a_server_that_stays_away_ends_the_following() -> None:
    server = FakeEdge(events=[STARTED], breaks_after=1)
    with serving(server):
        edge = Edge(server.url, patience_seconds=0.5)
        events = edge.events(str(EXECUTION))
        first = await anext(events)
    async with aclosing(edge):
        with pytest.raises(StackError, match="lost the server"):
            await anext(events)

    assert first == STARTED


def test_without_a_stream_the_events_are_polled(file: Path) -> None:
    events = [STARTED, *done("start", 1, 1), COMPLETED]
    with serving(FakeEdge(events=events, has_stream=False)) as edge:
        finished = run(edge, file)

    assert (finished.returncode, finished.stdout) == (0, "1\n")


def test_ctrl_c_cancels_the_execution(file: Path) -> None:
    with serving(FakeEdge(events=[STARTED, event(1, "command.issued", "start")])) as edge:
        process = subprocess.Popen(command(edge, file), stderr=subprocess.PIPE, text=True)
        wait_until(lambda: edge.resumed_after, what="the run is followed")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE_SECONDS)

    assert process.returncode == 130, said
    assert edge.cancelled == {"reason": "noetl-server run: interrupted", "cascade": True}


def test_a_run_over_its_time_is_cancelled_and_fails(file: Path) -> None:
    with serving(FakeEdge(events=[STARTED])) as edge:
        finished = run(edge, file, "--timeout", "0.2")

    assert finished.returncode == 1
    assert edge.cancelled == {"reason": "noetl-server run: timed out after 0.2 s", "cascade": True}


async def test_a_cancellation_that_nobody_confirms_is_not_waited_for(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = 0.2
    with serving(FakeEdge(events=[STARTED], ends_cancelled=False)) as edge:
        while edge.cancelled is None:  # a machine on which that is too short to ask
            assert seconds < PATIENCE_SECONDS, "no cancellation was asked for"
            monkeypatch.setattr(job, "CANCEL_SECONDS", seconds)
            run_over_time = job.Job(
                file=file,
                text=PLAYBOOK,
                workload={},
                timeout=0.1,
                server_url=edge.url,
                data=DataDirectory(file.parent),
            )
            code = await run_over_time.run()
            assert code == 1
            seconds *= 2

    assert f"execution {EXECUTION} may go on" in capsys.readouterr().err


def local(file: Path, data: DataDirectory) -> job.Job:
    return job.Job(file=file, text=PLAYBOOK, workload={}, timeout=None, server_url=None, data=data)


async def test_a_stack_that_another_run_starts_meanwhile_is_used(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DataDirectory(tmp_path / "data")
    with serving(FakeEdge(events=[STARTED, COMPLETED])) as edge, ExitStack() as other:

        def outside() -> Outside:
            """Start another stack, as if between the look for one and the start of one."""
            other.enter_context(data.hold())
            data.save_state({"url": edge.url, "services": [{"state": "ready"}]})
            return Outside()

        monkeypatch.setattr(job, "outside", outside)
        code = await local(file, data).run()

    assert code == 0


async def test_a_stack_that_ends_before_a_run_could_use_it_is_replaced(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The start of a stack of its own gets no further than here.
    monkeypatch.setenv("NOETL_NATS_URL", "there")
    data = DataDirectory(tmp_path / "data")
    with data.hold():
        waiting = asyncio.create_task(local(file, data).run())
        await eventually(data.is_used)

    with pytest.raises(StackError, match="NOETL_NATS_URL must look like"):
        await waiting


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "http://[", "http://a b:x"])
def test_an_address_without_sense_is_refused(url: str) -> None:
    with pytest.raises(StackError, match="is not a valid address of a server"):
        Edge(url)


def test_a_server_that_is_not_there_is_one_line(file: Path) -> None:
    finished = run(FakeEdge(url="http://127.0.0.1:9"), file)

    assert finished.returncode == 4
    said, what_next = finished.stderr.strip().splitlines()[-2:]
    assert said.startswith("noetl-server: no answer from")
    assert "noetl-server doctor" in what_next
    assert "Traceback" not in finished.stderr


def test_another_server_is_named_as_such(file: Path) -> None:
    with serving(FakeEdge(is_stranger=True)) as edge:
        finished = run(edge, file)

    assert finished.returncode == 1
    assert finished.stderr.startswith(
        f"noetl-server: {edge.url} doesn't answer as a NoETL server does: POST /api/catalog"
    )


@pytest.mark.parametrize("word", ["novalue", "=x"])
def test_a_word_that_is_no_assignment_is_refused(file: Path, word: str) -> None:
    finished = run(FakeEdge(url="http://127.0.0.1:9"), file, "--set", word)

    assert finished.returncode == 1
    assert "--set wants key=value" in finished.stderr


FORM = {
    "ok": {"type": "boolean", "required": True, "title": "Really"},
    "count": {"type": "integer", "minimum": 1, "default": 3},
}


def wait_started(number: int) -> Event:
    asks = {"kind": "wait", "wait_id": "5", "signal": "approve", "title": "Release?", "form": FORM}
    context = {"command_id": f"{EXECUTION}:start:1", **asks}
    return event(number, "wait.started", "start", result={"status": "x", "context": context})


def test_a_wait_is_asked_for_on_the_terminal(file: Path) -> None:
    ours, theirs = pty.openpty()
    with serving(FakeEdge(events=[STARTED, wait_started(1)])) as edge:
        process = subprocess.Popen(
            command(edge, file), stdin=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"}
        )
        os.close(theirs)
        screen = ""

        def type_after(prompt: str, text: str) -> None:
            nonlocal screen
            while prompt not in screen:
                screen += os.read(ours, 65536).decode()
            screen = screen.partition(prompt)[2]
            os.write(ours, f"{text}\n".encode())

        type_after("Really * [yes/no]: ", "perhaps")
        type_after("it must be true or false", "yes")
        type_after("count (3): ", "")
        wait_until(lambda: bool(edge.signals))
        assert edge.signals == [
            ("approve", {"id": "run:5", "payload": {"ok": True}, "wait_id": "5"})
        ]
        edge.add(*done("start", 2, {"n": 1})[3:], COMPLETED)
        with suppress(OSError):
            while os.read(ours, 65536):
                pass
        assert process.wait(timeout=PATIENCE_SECONDS) == 0
        os.close(ours)


def test_who_is_no_terminal_is_told_how_to_send_a_signal(file: Path) -> None:
    events = [STARTED, wait_started(1), *done("start", 2, {"n": 1})[3:], COMPLETED]
    with serving(FakeEdge(events=events)) as edge:
        finished = run(edge, file)

    path = f"/api/executions/{EXECUTION}/signals/approve"
    assert f"step start waits for signal 'approve': POST {path}" in finished.stderr


def test_a_terminal_gets_a_live_table(file: Path) -> None:
    events = [STARTED, *done("start", 1, 1), *failed("second", 10, "boom"), FAILED]
    ours, theirs = pty.openpty()
    with serving(FakeEdge(events=events, status="FAILED")) as edge:
        process = subprocess.Popen(
            command(edge, file), stderr=theirs, env={**os.environ, "TERM": "xterm"}
        )
        os.close(theirs)
        screen = b""
        try:
            while chunk := os.read(ours, 65536):
                screen += chunk
        except OSError:
            pass  # how a pseudo terminal says that the other side is gone
        process.wait(timeout=PATIENCE_SECONDS)
        os.close(ours)

    text = screen.decode()
    assert process.returncode == 1
    assert "✓" in text
    assert "✗" in text
    assert "step 'second' failed: boom" in text


def test_soft_errors_are_printed_and_have_an_exit_code(file: Path) -> None:
    events = [STARTED, *done("start", 1, 1), *done("second", 10, 2), COMPLETED]
    soft = {"step": "second", "kind": "soft", "message": "HTTP 500 response", "line": 10}
    standing = {"soft_errors": 2, "soft_error": soft}
    with serving(FakeEdge(events=events, standing=standing)) as edge:
        finished, strict = run(edge, file), run(edge, file, "--strict")

    assert (finished.returncode, strict.returncode) == (3, 1)
    assert f"{file}:10: step 'second' answered with an error: HTTP 500 response" in finished.stderr
    assert "completed with 2 soft errors" in finished.stderr


def test_the_first_cause_is_told_with_iteration_task_and_line(file: Path) -> None:
    cause = {
        "step": "second",
        "kind": "tool",
        "message": "HTTP error: 503\nretry later",
        "task": "fetch",
        "iteration": 3,
        "line": 10,
    }
    failing = event(58, "playbook.failed", "playbook", result={"status": "FAILED"}, cause=cause)
    events = [
        STARTED,
        *failed("second", 5, "task 'fetch': HTTP error: 503\nretry later"),
        *done("second", 20, {"fine": 1}, command="2:i1"),
        failing,
    ]
    with serving(FakeEdge(events=events, status="FAILED")) as edge:
        finished = run(edge, file)

    assert finished.returncode == 1
    told = f"{file}:10: step 'second' failed in iteration 3, task 'fetch': HTTP error: 503"
    assert told in finished.stderr
    assert "    retry later" in finished.stderr
    assert "None" not in finished.stderr
