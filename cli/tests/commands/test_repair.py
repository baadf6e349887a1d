"""Output about executions that stand still, and commands that have one go on."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from noetl.commands.remote.repair import standing_lines
from noetl.follow.servers import RefusedError
from noetl.follow.standing import QuietWatch, reasons_in
from noetl.main import app
from noetl_testkit.waiting import PATIENCE_SECONDS
from typer.testing import CliRunner

NO_WORKER = {"code": "no_worker", "step": "start", "text": "no worker of pool 'system'"}
RUNS = {"code": "running", "step": "a", "text": "step 'a' runs at worker w1"}


@contextmanager
def served(answers: dict[str, Any], asked: list[tuple[str, Any]]) -> Iterator[str]:
    """A server that gives these answers, by path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = self.rfile.read(length)
            asked.append((self.path, json.loads(body) if body else None))
            told = answers.get(self.path)
            self.send_response(404 if told is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(told or {"error": "not found"}).encode())

        def do_POST(self) -> None:
            self.do_GET()

        def do_DELETE(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_restart_tells_the_new_execution() -> None:
    asked: list[tuple[str, Any]] = []
    begun = {"execution_id": "8", "status": "started", "commands_generated": 1}
    answers = {"/api/executions/7/restart": {**begun, "origin_execution_id": "7"}}
    with served(answers, asked) as url:
        done = CliRunner().invoke(
            app,
            ["restart", "7", "--from-step", "load", "--iteration", "3", "--set", "n=2",
             "--server-url", url],
        )  # fmt: skip

    assert done.exit_code == 0, done.output
    assert done.output == "execution 8 goes on from 7\n"
    assert asked == [
        ("/api/executions/7/restart", {"from_step": "load", "iteration": [3], "input": {"n": 2}})
    ]


def test_why_tells_all_reasons() -> None:
    with served({"/api/executions/7/why": {"reasons": [NO_WORKER, RUNS]}}, []) as url:
        done = CliRunner().invoke(app, ["why", "7", "--server-url", url])

    assert done.output == "no worker of pool 'system'\nstep 'a' runs at worker w1\n"


def test_the_status_of_a_stack_tells_what_stands() -> None:
    answers = {
        "/api/executions?status=RUNNING&limit=5": [{"execution_id": "7"}, {"execution_id": "8"}],
        "/api/executions/7/why": {"reasons": [NO_WORKER]},
        "/api/executions/8/why": {"reasons": [RUNS]},
    }
    with served(answers, []) as url:
        assert list(standing_lines(url, "")) == ["execution 7: no worker of pool 'system'"]
    assert list(standing_lines("http://127.0.0.1:1", "")) == []


def test_the_status_of_an_execution() -> None:
    cause = {"step": "load", "kind": "tool", "message": "no route", "line": 4}
    running = {"status": "RUNNING", "current_step": "load", "duration_human": "5s", "paused": True}
    failed = {"status": "FAILED", "duration_human": "5s", "error": "step 'load'", "cause": cause}
    answers = {
        "/api/executions/7/status": running,
        "/api/executions/7/why": {"reasons": [NO_WORKER, RUNS]},
        "/api/executions/8/status": failed,
    }
    with served(answers, []) as url:
        lines = [
            CliRunner().invoke(app, ["status", number, "--server-url", url]).output.splitlines()
            for number in ("7", "8")
        ]
        as_json = CliRunner().invoke(app, ["status", "8", "--server-url", url, "--json"]).output
        unknown = CliRunner().invoke(app, ["status", "9", "--server-url", url])

    assert lines[0] == [
        "execution 7: RUNNING, paused at step 'load', after 5s",
        NO_WORKER["text"],
        RUNS["text"],
    ]
    assert lines[1] == ["execution 8: FAILED, after 5s", "step 'load' (line 4) failed: no route"]
    assert json.loads(as_json) == {**failed, "why": None}
    assert (unknown.exit_code, str(unknown.exception)) == (1, "not found")


def test_an_execution_a_path_and_a_pool_are_paused_and_go_on() -> None:
    asked: list[tuple[str, Any]] = []
    pool = {"kind": "pool", "name": "gpu", "reason": "drivers", "actor": "key:ann", "since": "t"}
    answers = {
        "/api/executions/7/pause": {"execution_id": 7, "status": "paused"},
        "/api/executions/7/resume": {"execution_id": 7, "status": "running"},
        "/api/pauses": {**pool, "pauses": [pool]},
        "/api/pauses?kind=path&name=a%2Fb": {"lifted": False},
    }
    with served(answers, asked) as url:
        said = [
            CliRunner().invoke(app, [*words, "--server-url", url]).output
            for words in (
                ["pause", "7", "--reason", "later"],
                ["resume", "7"],
                ["pause", "--pool", "gpu", "--reason", "drivers"],
                ["resume", "--path", "a/b"],
                ["pauses"],
            )
        ]

    assert said == [
        "execution 7 is paused\n",
        "execution 7 is running\n",
        "pool gpu is paused\n",
        "path a/b was not paused\n",
        "pool gpu: paused by key:ann since t (drivers)\n",
    ]
    assert asked[0] == ("/api/executions/7/pause", {"reason": "later"})
    assert asked[2] == ("/api/pauses", {"kind": "pool", "name": "gpu", "reason": "drivers"})


@pytest.mark.parametrize("words", [[], ["7", "--pool", "gpu"], ["--path", "a", "--pool", "b"]])
def test_one_thing_is_paused_at_a_time(words: list[str]) -> None:
    done = CliRunner().invoke(app, ["pause", *words, "--server-url", "http://127.0.0.1:1"])

    assert done.exit_code == 1
    assert "name one thing" in str(done.exception)


class Asked:
    """An edge that gives one answer after the other, the last one for ever."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.times = 0
        self.enough = asyncio.Event()

    async def why(self, _execution_id: str) -> Any:
        self.times += 1
        answer = self.answers[min(self.times, len(self.answers)) - 1]
        if self.times > len(self.answers) + 2:
            self.enough.set()
        if isinstance(answer, Exception):
            raise answer
        return answer


async def said_by(edge: Asked) -> list[str]:
    said: list[str] = []
    watch = QuietWatch(edge, said.append, seconds=0.01)  # type: ignore[arg-type]
    task = asyncio.create_task(watch.run("7", "p v1"))
    await asyncio.wait_for(edge.enough.wait(), PATIENCE_SECONDS)
    watch.moved()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return said


async def test_a_reason_is_said_once_while_it_lasts() -> None:
    edge = Asked(RefusedError("404"), {"reasons": [RUNS]}, {"reasons": [RUNS, NO_WORKER]})

    assert await said_by(edge) == ["p v1: no worker of pool 'system'"]


def test_what_merely_runs_is_no_reason_to_say_something() -> None:
    assert reasons_in({"reasons": [RUNS]}) == []
    assert [one.code for one in reasons_in({"reasons": [RUNS]}, all_of_them=True)] == ["running"]
    assert reasons_in(None) == []
