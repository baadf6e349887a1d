"""Messages to the author of a broken playbook: in `validate`, in `run` and in the API."""

import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from noetl_engine.playbook.lint import Finding, lint
from noetl_testkit.stack import Stack, command
from noetl_testkit.waiting import PATIENCE_SECONDS
from noetl_testkit.web import Response, serving

pytestmark = pytest.mark.e2e

FOLDER = Path(__file__).parent / "mistakes"
UNION = "data did not match any variant of untagged enum ToolDefinition"


@dataclass(frozen=True)
class Mistake:
    """Messages about a playbook in :data:`FOLDER`.

    ``lint`` is the severity and words of a finding, nothing where only running can show it;
    ``refused`` the status of the refusal, ``ends`` how the execution ends otherwise. ``says`` is
    in the output of `run` and in the API's answer or events; ``hint`` only in the output.
    ``cause`` are kind and step of the first cause, or of the first soft error.
    """

    says: str
    lint: tuple[str, str] | None = None
    refused: int | None = None
    ends: str | None = None
    soft_errors: int = 0
    hint: str = ""
    cause: tuple[str, str] | None = None


MISTAKES = {
    # Refused before anything runs.
    "bad_arc": Mistake(
        "references unknown step 'finsh' in next.arcs",
        lint=("error", "did you mean 'finish'?"), refused=422, hint="did you mean 'finish'?"),
    "bad_version": Mistake(
        "Unsupported API version: noetl.io/v3", lint=("error", "noetl.io/v3"), refused=422),
    "both_argument_blocks": Mistake(
        UNION, lint=("error", "two names of one block"), refused=400, hint="write only one"),
    "case_block": Mistake(
        "'case' blocks are not allowed", lint=("error", "'case' blocks"), refused=422),
    "duplicate_key": Mistake(
        'duplicate entry with key "url"', lint=("error", "duplicate entry"), refused=422),
    "missing_start": Mistake(
        "must have a step named 'start'", lint=("error", "named 'start'"), refused=422),
    "tab_indentation": Mistake(
        "found character that cannot start any token", lint=("error", "not with a tab"),
        refused=422, hint="not with a tab"),
    "unknown_filter": Mistake(
        "filter uppper is unknown", lint=("error", "filter uppper"), refused=422),
    "unknown_kind": Mistake(
        UNION, lint=("error", "did you mean 'python'?"), refused=400, hint="mean 'python'?"),
    "unquoted_template": Mistake(
        "expected a string key", lint=("error", "in quotes"), refused=422, hint="in quotes"),
    "wrong_indentation": Mistake(
        UNION, lint=("warning", "belongs in 'tool'"), refused=400, hint="tool must be a mapping"),
    # Begun, and failed.
    "bad_credential": Mistake("no_such_alias", ends="FAILED", cause=("tool", "start")),
    "cyclic_workbook": Mistake(
        "Tool not found: workbook", lint=("error", "names itself"), ends="FAILED",
        cause=("tool", "start")),
    "loop_over_nothing": Mistake(
        "did not evaluate to an iterable", ends="FAILED", cause=("evaluate", "each")),
    "sql_error": Mistake(
        'relation "nowhere" does not exist', ends="FAILED", cause=("tool", "start")),
    "template_syntax": Mistake(
        "syntax error: expected token 'name'", lint=("error", "syntax error"), ends="FAILED",
        cause=("evaluate", "end")),
    "nan_result": Mistake(
        "Result error: result.mean is NaN", ends="FAILED", cause=("tool", "start")),
    "nan_in_a_loop": Mistake(
        "result.rows[1].price is Infinity", ends="FAILED", cause=("tool", "start")),
    "timeout": Mistake(
        "timed out after 1 seconds", ends="FAILED", cause=("timeout", "start")),
    "endless": Mistake("", lint=("warning", "round in a circle"), ends="CANCELLED"),
    # Completed, with an error in the answer that no arc looks at.
    "http_500": Mistake(
        "HTTP 500", ends="COMPLETED", soft_errors=1, cause=("soft", "start")),
    "huge_result": Mistake(
        "its result is too large", ends="FAILED", cause=("tool", "start")),
    "python_exception": Mistake(
        "KeyError: 'apple'", ends="COMPLETED", soft_errors=1, cause=("soft", "start")),
    # Completed, but not as meant: only `validate` can tell.
    "braces_in_code": Mistake(" = Ada", lint=("warning", "f-string"), ends="COMPLETED"),
    "key_typo": Mistake("", lint=("warning", "did you mean 'next'?"), ends="COMPLETED"),
    "old_guard": Mistake("expensive", lint=("warning", "write 'when'"), ends="COMPLETED"),
    "undefined_name": Mistake("", lint=("warning", "mean 'start'?"), ends="COMPLETED"),
    "unreachable_step": Mistake("", lint=("warning", "'report' never runs"), ends="COMPLETED"),
    # No mistake after all: a join doesn't wait for a branch that can't come any more.
    "join_never_satisfied": Mistake("join", ends="COMPLETED"),
}  # fmt: skip
each = pytest.mark.parametrize("name", list(MISTAKES))


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    """A host that answers every request with 500."""
    with serving(lambda _: Response({"error": "broken"}, 500)) as server:
        yield server.url


@pytest.fixture(scope="module")
def stack(nats_stack: Stack) -> Stack:
    body = {"name": "mistakes_db", "type": "postgres", "data": nats_stack.database_login()}
    with nats_stack.client() as client:
        client.post("/api/credentials", json=body).raise_for_status()
    return nats_stack


@pytest.fixture(scope="module")
def runs(stack: Stack, service: str) -> dict[str, subprocess.CompletedProcess[str]]:
    """Every playbook run once, some at a time."""

    def run(name: str) -> subprocess.CompletedProcess[str]:
        limit = ["--timeout", "1"] if name == "endless" else []
        if MISTAKES[name].ends is not None:
            limit += ["--anyway"]
        where = ["--server-url", stack.url, "--set", f"service={service}"]
        return subprocess.run(
            [*command(is_warm=True), "run", str(FOLDER / f"{name}.yaml"), *where, *limit],
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    with ThreadPoolExecutor(4) as pool:
        return dict(zip(MISTAKES, pool.map(run, MISTAKES), strict=True))


def text_of(name: str) -> str:
    return (FOLDER / f"{name}.yaml").read_text()


def words(finding: Finding) -> str:
    return f"{finding.message} {finding.hint}"


def test_every_file_is_in_the_table() -> None:
    assert sorted(MISTAKES) == sorted(path.stem for path in FOLDER.glob("*.yaml"))


@each
def test_validate_tells_what_can_be_known_before(name: str) -> None:
    mistake, found = MISTAKES[name], lint(text_of(name))

    if mistake.lint is None:
        assert found == []
    else:
        severity, said = mistake.lint
        assert any(one.severity == severity and said in words(one) for one in found), found
    assert bool(mistake.refused) <= any(one.severity == "error" for one in found)


@each
def test_run_tells_it_and_ends_with_the_right_code(
    runs: dict[str, subprocess.CompletedProcess[str]], name: str
) -> None:
    mistake, run = MISTAKES[name], runs[name]

    assert mistake.says in run.stdout.replace("\\n", "\n") + run.stderr
    assert mistake.hint in run.stderr
    completed = 3 if mistake.soft_errors else 0
    assert run.returncode == (completed if mistake.ends == "COMPLETED" else 1), run.stderr
    assert "failed: None" not in run.stderr
    if mistake.cause is not None:
        kind, step = mistake.cause
        verb = "answered with an error" if kind == "soft" else "failed"
        assert re.search(rf"\.yaml:\d+: step '{step}' {verb}", run.stderr), run.stderr
    assert "Traceback" not in run.stderr, run.stderr


def test_a_file_that_run_refuses_leaves_the_version_before_it_the_newest(
    stack: Stack, tmp_path: Path
) -> None:
    good = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: kept, path: mistakes/kept}
workflow: [{step: start, tool: {kind: noop}}]
"""
    parent = good.replace("kept", "of_kept").replace(
        "{kind: noop}", "{kind: playbook, path: mistakes/kept}"
    )
    file, above = tmp_path / "kept.yaml", tmp_path / "above.yaml"
    file.write_text(good)
    above.write_text(parent)
    assert run_file(stack, file).returncode == 0
    file.write_text(good.replace("noop", "nop"))
    refused_run = run_file(stack, file)

    with stack.client() as client:
        named = {"path": "mistakes/kept", "version": "latest"}
        newest = client.post("/api/catalog/resource", json=named).raise_for_status().json()
        again = client.post("/api/execute", json={"path": "mistakes/kept"})

    assert (refused_run.returncode, newest["version"]) == (1, 1)
    assert "did you mean 'noop'?" in refused_run.stderr
    assert again.status_code == 200
    assert run_file(stack, above).returncode == 0


def run_file(stack: Stack, file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command(is_warm=True), "run", str(file), "--server-url", stack.url],
        capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip


@each
def test_the_api_tells_it(
    stack: Stack, runs: dict[str, subprocess.CompletedProcess[str]], name: str
) -> None:
    mistake = MISTAKES[name]
    with stack.client() as client:
        if mistake.refused is not None:
            refusal = refused(client, name)
            assert refusal.status_code == mistake.refused
            assert mistake.says in refusal.json()["error"]
            return
        begun = re.search(r"execution (\d+)", runs[name].stderr)
        assert begun is not None, runs[name].stderr
        detail = client.get(f"/api/executions/{begun[1]}").raise_for_status().json()
        status = client.get(f"/api/executions/{begun[1]}/status").raise_for_status().json()

    assert mistake.ends == detail["status"]
    assert mistake.soft_errors == detail["soft_errors"]
    assert mistake.says in repr(detail).replace("\\'", "'")
    if mistake.cause is not None:
        place = "soft_error" if mistake.soft_errors else "cause"
        assert detail[place] == status[place]
        assert (detail[place]["kind"], detail[place]["step"]) == mistake.cause
        assert mistake.says in detail[place]["message"].replace("\\'", "'")
        assert detail[place]["line"] >= 1
        if not mistake.soft_errors:
            assert mistake.says in detail["error"] == status["error"]


def refused(client: httpx.Client, name: str) -> httpx.Response:
    """The refusal: of the registration where the text is no YAML, else of the start."""
    answer = client.post("/api/catalog/register", json={"content": text_of(name)})
    if answer.status_code != 200:
        return answer
    return client.post("/api/execute", json={"path": answer.json()["path"]})
