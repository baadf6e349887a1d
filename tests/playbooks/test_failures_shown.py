"""Each kind of failure with its first cause: in status, list, detail, event stream and `run`.

`pytest -s` prints what each of them says.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from noetl_testkit.stack import Stack, command
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_until
from noetl_testkit.web import Request, Response, serving

pytestmark = pytest.mark.e2e

HEAD = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {{name: {0}, path: failing/{0}}}\n"


@dataclass(frozen=True)
class Case:
    """A playbook below its head, and the messages about its failure."""

    text: str
    kind: str
    sentence: str
    exit_code: int = 1
    spec: str = ""


CASES = {
    "iteration": Case(
        "  - step: start\n    loop: {in: '[1, 0]', iterator: n, spec: {mode: parallel}}\n"
        "    tool:\n      - wait: {kind: noop}\n"
        "      - load: {kind: duckdb, command: SELECT * FROM nowhere}\n",
        "tool",
        r"step 'start' failed in iteration \d, task 'load': .*nowhere",
    ),
    "task": Case(
        "  - step: start\n    tool:\n      - first: {kind: noop}\n"
        "      - second: {kind: http, url: 'http://127.0.0.1:1/'}\n",
        "tool",
        r"step 'start' failed in task 'second': ",
    ),
    "guard": Case(
        "  - step: start\n    tool: {kind: noop}\n"
        "    next: {arcs: [{step: end, when: '{{ 1 + start.missing.more }}'}]}\n"
        "  - step: end\n    tool: {kind: noop}\n",
        "evaluate",
        r"step 'start' failed: the guard of the arc to 'end': ",
    ),
    "template": Case(
        "  - step: start\n    tool: {kind: noop}\n    next: {arcs: [{step: end}]}\n"
        "  - step: end\n    tool: {kind: noop, result: '{{ 1 + start.missing }}'}\n",
        "evaluate",
        r"step 'end' failed: tool: ",
    ),
    "timeout": Case(
        "  - step: start\n    spec: {timeout: 1}\n    tool: {kind: shell, command: sleep 30}\n",
        "timeout",
        r"step 'start' failed: Execution timed out after 1 second",
    ),
    "sql": Case(
        "  - step: start\n"
        "    tool: {kind: postgres, auth: pg_local, command: SELECT * FROM nowhere}\n",
        "tool",
        r'step \'start\' failed: Database error: .*relation "nowhere" does not exist',
    ),
    "exception": Case(
        "  - step: start\n    tool: {kind: python, code: \"{}['apple']\"}\n",
        "soft",
        r"step 'start' answered with an error: .*KeyError: 'apple'",
        exit_code=3,
    ),
    "strict": Case(
        "  - step: start\n    tool: {kind: python, code: \"{}['apple']\"}\n",
        "soft",
        r"step 'start' answered with an error: .*KeyError: 'apple'",
        spec="spec: {errors: fail}\n",
    ),
    "child": Case(
        "  - step: start\n    tool: {kind: playbook, path: failing/sql, return_step: start,"
        " on_child_failure: fail}\n",
        "child",
        r"step 'start' failed: Child execution \d+: failing/sql ended FAILED: step 'start' .*nowh",
    ),
}


@pytest.fixture(scope="module")
def runs(
    nats_stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, subprocess.CompletedProcess[str]]:
    """Every playbook run once, some at a time; the child is there before its parent."""
    folder = tmp_path_factory.mktemp("failing")
    for name, case in CASES.items():
        text = HEAD.format(name) + case.spec + "workflow:\n" + case.text
        (folder / f"{name}.yaml").write_text(text)

    def run(name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *command(is_warm=True),
                "run",
                str(folder / f"{name}.yaml"),
                "--server-url",
                nats_stack.url,
            ],
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    first = {"sql": run("sql")}
    rest = [name for name in CASES if name != "sql"]
    with ThreadPoolExecutor(4) as pool:
        return first | dict(zip(rest, pool.map(run, rest), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_everybody_tells_the_first_cause(
    nats_stack: Stack, runs: dict[str, subprocess.CompletedProcess[str]], name: str
) -> None:
    case, run = CASES[name], runs[name]
    begun = re.search(r"execution (\d+)", run.stderr)
    assert begun is not None, run.stderr
    assert run.returncode == case.exit_code, run.stderr
    place = "soft_error" if case.exit_code == 3 else "cause"
    with nats_stack.client() as client:
        path = f"/api/executions/{begun[1]}"
        status = client.get(f"{path}/status").raise_for_status().json()
        detail = client.get(path).raise_for_status().json()
        listed = client.get(f"/api/executions?path=failing/{name}").raise_for_status().json()
        stream = client.get(f"{path}/events/stream").text
    (entry,) = [one for one in listed if str(one["execution_id"]) == begun[1]]
    events = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]
    last = next(one for one in events if one.get("event_type", "").startswith("playbook."))

    cause = status[place]
    assert (cause["kind"], cause["line"]) == (case.kind, cause["line"])
    assert detail[place] == entry[place] == cause
    lines = [line for line in run.stderr.splitlines() if ".yaml:" in line]
    assert re.search(rf":{cause['line']}: {case.sentence}", "\n".join(lines)), run.stderr
    if place == "cause":
        assert last["cause"] == cause
        assert status["error"] == detail["error"] == entry["error"] == last["error"]
        assert "None" not in status["error"]
    told = re.sub(r"^\S*/", "", lines[0])
    print(f"\n{name}: {told}\n  {json.dumps(cause)}")


@pytest.fixture
def calls() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An address, and the bodies that were sent to it."""
    bodies: list[dict[str, Any]] = []

    def answer(request: Request) -> Response:
        bodies.append(request.json)
        return Response({"ok": True})

    with serving(answer) as server:
        yield server.url, bodies


def test_a_failure_starts_its_handler_and_calls_an_address(
    nats_stack: Stack, calls: tuple[str, list[dict[str, Any]]]
) -> None:
    url, bodies = calls
    handler = HEAD.format("handler") + (
        "workflow:\n  - step: start\n    tool: {kind: noop, result: '{{ ended.error }}'}\n"
    )
    failing = HEAD.format("handled") + (
        f"on_failure: {{playbook: failing/handler, webhook: '{url}/hook'}}\n"
        "workflow:\n  - step: start\n    tool: {kind: postgres, auth: nobody, command: SELECT 1}\n"
    )
    with nats_stack.client() as client:
        for text in (handler, failing):
            client.post("/api/catalog/register", json={"content": text}).raise_for_status()
        begun = client.post("/api/execute", json={"path": "failing/handled"}).json()

        def handled() -> list[dict[str, Any]]:
            found = client.get("/api/executions?path=failing/handler").json()
            return [one for one in found if one["status"] == "COMPLETED"]

        wait_until(lambda: handled() and bodies)
        (entry,) = handled()
    assert str(entry["parent_execution_id"]) == str(begun["execution_id"])
    assert bodies[0]["ended"]["execution_id"] == str(begun["execution_id"])
    assert "nobody" in bodies[0]["ended"]["cause"]["message"]
