"""The commands that ask a server: their requests, output and exit codes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from noetl.commands.completion import answer_shells
from noetl.exits import Exit
from noetl.follow import servers
from noetl.follow.servers import address_of
from noetl.main import app
from noetl.stack.datadir import DataDirectory, StackState
from noetl.stack.errors import StackError, told_by
from noetl_engine.documents import lint_document
from noetl_testkit import web
from noetl_testkit.web import Request, Response, WebServer
from typer.testing import CliRunner

NOW = "2026-06-15T12:00:00Z"
STARTED = {"execution_id": "7", "status": "started", "commands_generated": 1}
PLAYBOOK = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: it, path: tests/it}
workflow:
  - step: start
    tool: {kind: noop}
"""
KEPT = {"status": "success", "message": "", "version": 2, "catalog_id": "5", "kind": "playbook"}
CREDENTIAL = {"id": "1", "name": "pg", "type": "postgres", "created_at": NOW, "updated_at": NOW}
GROUP = {
    "fingerprint": "f1",
    "path": "etl/a",
    "step": "load",
    "kind": "tool",
    "message": "HTTP error\nand more",
    "count": 3,
    "first_at": NOW,
    "last_at": NOW,
    "execution_ids": ["7"],
}


def standing(status: str, **fields: Any) -> dict[str, Any]:
    progress = {"total_steps": 1, "completed_steps": 0, "running_steps": 1, "failed_steps": 0}
    return {
        "execution_id": "7",
        "status": status,
        "current_step": "start",
        "progress": progress,
        "is_cancelled": False,
        "completed": status == "COMPLETED",
        "failed": status == "FAILED",
        "completed_steps": [],
        "start_time": NOW,
        "end_time": None,
        "duration_seconds": 1.0,
        "duration_human": "1s",
        "soft_errors": 0,
        **fields,
    }


def detail(status: str, **fields: Any) -> dict[str, Any]:
    page = {"page": 1, "page_size": 1, "total_events": 0, "total_pages": 0}
    return {
        **entry(status),
        "workload": {},
        "events": [],
        "result": None,
        "events_included": False,
        "events_endpoint": "/x",
        "pagination": {**page, "has_next": False, "has_prev": False},
        **fields,
    }


def entry(status: str) -> dict[str, Any]:
    return {
        "execution_id": "7",
        "catalog_id": "5",
        "path": "tests/it",
        "version": 1,
        "status": status,
        "started_at": NOW,
        "completed_at": None,
        "event_count": 7,
        "start_time": NOW,
        "end_time": None,
        "duration_seconds": 1.0,
        "duration_human": "1s",
        "progress": 100,
        "parent_execution_id": None,
        "error": None,
        "soft_errors": 0,
    }


class Script:
    """Answers by method and path; a list is one answer after the other."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers

    def __call__(self, request: Request) -> Response:
        name = f"{request.method} {request.path.removeprefix('/api/')}"
        given = self.answers.get(name, (404, {"error": f"no answer to {name}"}))
        if isinstance(given, list) and name.startswith("POST"):
            given = given.pop(0)
        status, body = given if isinstance(given, tuple) else (200, given)
        return Response(body, status)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    with web.serving(Script()) as served:
        monkeypatch.setenv("NOETL_SERVER_URL", served.url)
        monkeypatch.delenv("NOETL_SESSION_TOKEN", raising=False)
        yield served


def typed(*words: str, **keywords: Any) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr of a command."""

    done = CliRunner().invoke(app, list(words), **keywords)
    error = done.exception
    if isinstance(error, StackError):
        return int(error.exit_code), done.stdout, f"{done.stderr}noetl-server: {error}\n"
    assert error is None or isinstance(error, SystemExit), error
    return done.exit_code, done.stdout, done.stderr


def test_a_start_prints_the_id_alone(server: WebServer) -> None:
    server.answer = Script(**{"POST execute": STARTED})

    done = typed("start", "tests/it", "--payload", '{"a": 1}', "--set", "b=x", "--key", "k")

    assert done == (0, "7\n", "")
    (asked,) = server.requests
    assert asked.json == {"path": "tests/it", "workload": {"a": 1, "b": "x"}}
    assert asked.headers["idempotency-key"] == "k"


@pytest.mark.parametrize(
    ("status", "result", "code"),
    [
        (standing("COMPLETED"), detail("COMPLETED", result={"n": 1}), Exit.DONE),
        (standing("COMPLETED", soft_errors=2), detail("COMPLETED"), Exit.SOFT_ERRORS),
        (standing("FAILED", error="no"), detail("FAILED", error="no"), Exit.FAILED),
        (standing("RUNNING"), None, Exit.STILL_RUNNING),
    ],
)
def test_the_exit_code_tells_how_it_ended(
    server: WebServer, status: Any, result: Any, code: Exit
) -> None:
    server.answer = Script(
        **{
            "POST execute": STARTED,
            "GET executions/7/status": status,
            "GET executions/7": result,
        }
    )

    exit_code, shown, said = typed("start", "tests/it", "--wait", "0", "--json")

    assert exit_code == code
    told = json.loads(shown)
    assert (told["execution_id"], told["status"]) == ("7", status["status"])
    assert told["result"] == (result or {}).get("result")
    assert bool(said) == (code is not Exit.DONE)


def test_a_payload_comes_from_a_file_or_from_standard_input(
    server: WebServer, tmp_path: Path
) -> None:
    server.answer = Script(**{"POST execute": STARTED})
    (tmp_path / "p.json").write_text('{"a": 1}')

    typed("start", "tests/it", "--payload", f"@{tmp_path / 'p.json'}")
    typed("start", "tests/it", "--payload", "-", input='{"a": 2}')
    code, _, said = typed("start", "tests/it", "--payload", "@/nowhere")

    assert [one.json["workload"] for one in server.requests] == [{"a": 1}, {"a": 2}]
    assert (code, "can't read --payload @/nowhere" in said) == (1, True)


def test_errors_name_what_to_type_next(server: WebServer) -> None:
    server.answer = Script(
        **{
            "POST execute": (404, {"error": "Playbook not found: nope"}),
            "GET executions": (401, {"error": "No login"}),
            "GET failures": (403, {"error": "lacks executions.read"}),
            "DELETE credentials/x": (404, {"error": "Credential 'x' not found"}),
        }
    )

    assert "noetl-server list playbooks" in typed("start", "nope")[2]
    assert "--token" in typed("list")[2]
    assert "noetl-server key create" in typed("failures")[2]
    assert "noetl-server credential list" in typed("credential", "remove", "x")[2]


def test_lists_are_tables_for_people_and_json_for_programs(server: WebServer) -> None:
    wait = {
        "wait_id": "9", "execution_id": "7", "path": "tests/it", "version": 1, "step": "ask",
        "iteration": 2, "kind": "wait", "signal": "approve", "title": "Release?",
        "description": "", "form": {}, "on_timeout": None, "since": NOW, "due_at": NOW,
    }  # fmt: skip
    old, new = ({**KEPT, "path": "a/b", "version": number} for number in (1, 2))
    entries = [
        {**one, "content": None, "layout": None, "payload": None, "meta": None, "created_at": NOW}
        for one in (new, old)
    ]
    server.answer = Script(
        **{
            "GET executions": [entry("FAILED")],
            "POST catalog/list": [{"entries": entries}, {"entries": entries}],
            "GET waits": {"waits": [wait]},
        }
    )

    assert "7          FAILED  tests/it v1  2026-06-15 12:00:00  1s" in typed("list")[1]
    assert json.loads(typed("list", "--json", "--status", "failed")[1])[0]["path"] == "tests/it"
    assert server.requests[-1].query == {"status": "FAILED", "limit": "20"}
    assert typed("list", "playbooks")[1].splitlines()[1:] == [
        "a/b       2        2026-06-15 12:00:00"
    ]
    assert json.loads(typed("list", "playbooks", "--json")[1])[0]["version"] == 2
    assert "approve  ask[2]  tests/it" in typed("list", "waits")[1]
    assert typed("list", "waits", "--status", "x")[0] == Exit.FAILED


def test_each_execution_that_is_not_cancelled_is_told(server: WebServer) -> None:
    server.answer = Script(
        **{
            "POST executions/7/cancel": {
                "execution_id": 7, "message": "", "status": "cancelled",
                "cancelled_executions": ["7", "8"],
            },
            "POST executions/9/cancel": (422, {"error": "Cannot cancel execution in FAILED state"}),
        }
    )  # fmt: skip

    code, shown, said = typed("cancel", "7", "9", "--reason", "done", "--cascade")

    assert (code, shown) == (1, "execution 7 is cancelled, with 8\n")
    assert said.startswith("noetl-server: 9: Cannot cancel")
    assert server.requests[0].json == {"reason": "done", "cascade": True}


def test_a_signal_carries_its_payload(server: WebServer) -> None:
    answer = {
        "execution_id": 7, "signal": "go", "signal_id": "s", "status": "taken",
        "step": "ask", "iteration": None,
    }  # fmt: skip
    server.answer = Script(**{"POST executions/7/signals/go": answer})

    done = typed("signal", "7", "go", "--set", "decision=approve", "--id", "s", "--step", "ask")

    assert done == (0, "step ask of execution 7 goes on\n", "")
    assert server.requests[0].json == {
        "id": "s", "payload": {"decision": "approve"}, "step": "ask"
    }  # fmt: skip


@pytest.mark.parametrize(
    "text", ['{"db_password": "geheim"}', "# as a file\ndb_password='geheim'\n"]
)
def test_data_of_a_credential_is_sent_and_not_shown(server: WebServer, text: str) -> None:
    server.answer = Script(**{"POST credentials": CREDENTIAL})

    code, shown, said = typed(
        "credential", "add", "pg", "--type", "postgres", "--file", "-", "--tag", "a", input=text
    )

    assert (code, shown) == (0, "credential pg of type postgres is stored: db_password\n")
    assert "geheim" not in shown + said
    assert server.requests[0].json == {
        "name": "pg", "type": "postgres", "data": {"db_password": "geheim"}, "tags": ["a"],
    }  # fmt: skip


@pytest.mark.parametrize("text", ['{"db_password": "geheim', '["geheim"]', ""])
def test_data_that_cannot_be_read_is_not_quoted(server: WebServer, text: str) -> None:
    code, shown, said = typed("credential", "add", "pg", "--file", "-", input=text)

    assert code == Exit.FAILED
    assert "geheim" not in shown + said
    assert not server.requests


def test_failures_are_shown_and_dealt_with_page_by_page(server: WebServer) -> None:
    def page(*, more: bool, **outcome: str) -> dict[str, Any]:
        results = [{"execution_id": "7", **outcome}]
        refused = int("error" in outcome)
        counts = {"restarted": 1 - refused, "refused": refused, "has_more": more}
        return {"fingerprint": "f1", **counts, "results": results}

    server.answer = Script(
        **{
            "GET failures": {"failures": [GROUP], "is_complete": True},
            "POST failures/restart": [
                page(more=True, restarted_as="8"), page(more=True, error="gone"),
            ],
            "POST failures/dismiss": [{"fingerprint": "f1", "dismissed": 3, "has_more": False}],
        }
    )  # fmt: skip

    assert (
        "f1     3      2026-06-15 12:00:00  etl/a     load  7          HTTP error\n"
        in (typed("failures")[1])
    )
    code, shown, _ = typed("failures", "restart", "f1")
    assert (code, shown) == (1, "execution 7: goes on as 8\nexecution 7: gone\n")
    assert typed("failures", "dismiss", "f1")[1] == "3 dismissed\n"


def test_a_schedule_is_made_without_a_file_and_removed(server: WebServer) -> None:
    schedule = {
        "schedule_id": "1", "path": "s/a", "catalog_id": "5", "version": 1, "playbook": "p",
        "playbook_version": None, "cron": None, "interval_seconds": 900, "timezone": "UTC",
        "overlap": "skip", "catch_up_seconds": 1, "jitter_seconds": 0, "start": None, "end": None,
        "state": "active", "reason": None, "owner": None, "paused_at": None, "paused_by": None,
        "next_at": NOW,
    }  # fmt: skip
    moved = {"status": "success", "message": "", "path": "s/a", "versions": [1]}
    server.answer = Script(
        **{
            "POST catalog/register": [{**KEPT, "path": "s/a", "problems": ["no playbook 'p'"]}],
            "GET schedules": {"schedules": [schedule]},
            "POST catalog/delete": [moved],
        }
    )

    made = typed("schedule", "create", "s/a", "--playbook", "p", "--every", "15m", "--set", "n=1")

    assert made == (0, f"s/a version 2, next at {NOW}\n", "s/a: warning: no playbook 'p'\n")
    assert typed("schedule", "remove", "s/a") == (0, "s/a is removed\n", "")
    assert typed("schedule", "create", "s/a", "--playbook", "p")[0] == Exit.FAILED


def test_documents_of_a_folder_are_registered_playbooks_first(
    server: WebServer, tmp_path: Path
) -> None:
    schedule = PLAYBOOK.partition("workflow")[0].replace("Playbook", "Schedule")
    schedule += 'spec: {playbook: p, cron: "@daily"}\n'
    (tmp_path / "a_schedule.yaml").write_text(schedule)
    (tmp_path / "bad.yml").write_text(PLAYBOOK.replace("noop", "nop"))
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "it.yaml").write_text(PLAYBOOK)
    (tmp_path / "values.yaml").write_text("replicas: 2\n")
    server.answer = Script(
        **{"POST catalog/register": [{**KEPT, "path": "tests/it"}, {**KEPT, "path": "a/s"}]}
    )

    code, shown, said = typed("register", str(tmp_path))

    assert (code, shown) == (1, "tests/it version 2\na/s version 2\n")
    assert f"{tmp_path / 'bad.yml'}:6:18: error: unknown tool kind 'nop'" in said
    assert f"{tmp_path / 'values.yaml'}: left out" in said
    assert [one.json["resource_type"] for one in server.requests] == ["Playbook", "Schedule"]


def test_what_the_catalog_says_against_a_document_is_told_once(
    server: WebServer, tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text(PLAYBOOK.replace("noop", "nop"))
    (nop,) = (one.message for one in lint_document(PLAYBOOK.replace("noop", "nop")))
    missing = "playbook 'p' is not registered"
    kept = {**KEPT, "path": "tests/it", "problems": [nop, missing]}
    server.answer = Script(**{"POST catalog/register": kept})

    code, shown, said = typed("register", str(tmp_path / "a.yaml"), "--anyway")

    assert (code, shown) == (0, "tests/it version 2\n")
    assert said.count("unknown tool kind 'nop'") == 1
    assert f"{tmp_path / 'a.yaml'}: warning: {missing}\n" in said


def test_what_the_server_refuses_stops_no_other_document(server: WebServer, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(PLAYBOOK)
    refused = (422, {"error": "The document belongs to somebody else"})
    server.answer = Script(**{"POST catalog/register": [refused, {**KEPT, "path": "tests/it"}]})

    code, shown, said = typed(
        "register", str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml"), "--json"
    )

    assert (code, json.loads(shown)[0]["version"]) == (1, 2)
    assert f"{tmp_path / 'a.yaml'}: The document belongs" in said


def test_the_console_s_address_is_printed(server: WebServer) -> None:
    assert typed("open")[1] == f"{server.url}/console\n"
    assert typed("open", "7")[1] == f"{server.url}/console/runs/7\n"
    assert typed("open", "a/b c")[1] == f"{server.url}/console/playbooks/a/b%20c\n"


def test_the_server_is_that_of_the_option_then_the_variable_then_the_local_stack(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NOETL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("NOETL_SESSION_TOKEN", raising=False)
    directory = DataDirectory(tmp_path / "data")
    with directory.hold():
        identity = directory.identity()
        identity.admin_key = "nk_local"
        directory.save_identity(identity)
        directory.save_state(StackState(services=[], url="http://127.0.0.1:8082"))

        monkeypatch.setenv("NOETL_SERVER_URL", "https://far/")
        assert address_of("https://given/", None, None) == ("https://given", "")
        assert address_of(None, "nk_1", None) == ("https://far", "nk_1")
        assert address_of(None, None, tmp_path / "data") == ("http://127.0.0.1:8082", "nk_local")
        # The address that `env` prints is that of this stack, with its key.
        monkeypatch.setenv("NOETL_SERVER_URL", "http://127.0.0.1:8082")
        assert address_of(None, None, None) == ("http://127.0.0.1:8082", "nk_local")


HEALTH = {"status": "ok", "database": "connected", "nats": "connected", "version": "0.1.0"}


@pytest.fixture
def usual(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WebServer]:
    """A server at the default port, with no stack in the current directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("NOETL_SERVER_URL", "NOETL_DATA_DIR", "NOETL_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with web.serving(Script(**{"GET health": HEALTH, "GET executions": []})) as served:
        monkeypatch.setattr(servers, "DEFAULT_PORT", int(served.url.rpartition(":")[2]))
        yield served


def test_the_server_at_the_default_port_is_used_where_no_other_is_named(
    usual: WebServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, out, told = typed("list", "--json")
    assert (code, json.loads(out)) == (0, [])
    assert f"server http://localhost:{servers.DEFAULT_PORT} (it answers at the default" in told

    assert servers.find_server(None, tmp_path / "named") is None
    monkeypatch.setenv("NOETL_DATA_DIR", str(tmp_path / "named"))
    assert servers.find_server(None, None) is None
    monkeypatch.delenv("NOETL_DATA_DIR")
    with DataDirectory(tmp_path / ".noetl").hold():
        assert servers.find_server(None, None) is None, "a stack is starting here"

    usual.answer = Script(**{"GET health": {"status": "UP"}})
    assert servers.find_server(None, None) is None, "another program answers"


def test_the_status_is_that_of_the_server_that_the_rule_names(
    usual: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = typed("status")
    assert code == 0
    assert out.startswith(f"server http://localhost:{servers.DEFAULT_PORT} (it answers at")
    assert "status ok, database connected, nats connected, version 0.1.0" in out

    monkeypatch.setenv("NOETL_SERVER_URL", usual.url)
    _, out, _ = typed("status")
    assert out.startswith(f"server {usual.url} (NOETL_SERVER_URL)\n")
    _, out, _ = typed("status", "--json")
    assert json.loads(out) == {"server": usual.url, "reason": "NOETL_SERVER_URL", **HEALTH}

    usual.answer = Script(**{"GET health": (503, {**HEALTH, "status": "unhealthy"})})
    code, _, told = typed("status")
    assert code == Exit.UNREACHABLE, told


def test_run_does_not_start_a_second_stack_beside_the_one_at_the_default_port(
    usual: WebServer, tmp_path: Path
) -> None:
    (tmp_path / "p.yaml").write_text(PLAYBOOK)

    typed("run", "p.yaml")

    assert "POST /api/catalog/register" in [f"{one.method} {one.path}" for one in usual.requests]
    assert not (tmp_path / ".noetl").exists()


def test_an_error_ends_with_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    class Away(StackError):
        exit_code = Exit.UNREACHABLE

    with pytest.raises(SystemExit) as ended, told_by("noetl-server"):
        raise Away("nobody is there")

    assert ended.value.code == 4
    assert capsys.readouterr().err == "noetl-server: nobody is there\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(shell: str) -> None:
    code, script, _ = typed("completion", shell)
    assert code == 0
    assert f"_NOETL_SERVER_COMPLETE=complete_{shell}" in script


def test_bash_is_answered() -> None:
    answer_shells()
    asked = {
        "COMP_WORDS": "noetl-server credential ",
        "COMP_CWORD": "2",
        "_NOETL_SERVER_COMPLETE": "complete_bash",
    }

    done = CliRunner().invoke(app, [], env=asked, prog_name="noetl-server")

    assert done.stdout.split() == ["add", "list", "remove"]
