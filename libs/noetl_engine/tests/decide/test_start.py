"""Starts: rows that are written, and refusals that write nothing (R9)."""

from typing import Any

import pytest
from engine_driver import EXECUTION_ID, NOW, Run, make_loop, make_playbook, make_step
from noetl_engine.errors import StartRefused
from noetl_engine.playbook.model import Cursor, Loop, LoopMode, Tool

PLAYBOOK = make_playbook(make_step("start"), workload={"a": 1, "b": {"x": 1}})


def test_the_first_row_holds_the_merged_workload():
    run = Run(PLAYBOOK, payload={"b": 2, "c": 3}).start(trace={"traceparent": "t"})
    row = run.rows[0]

    assert (row.event_type, row.position, row.created_at) == ("playbook_started", 1, NOW)
    assert (row.node_id, row.node_name, row.node_type) == (
        "playbook",
        "tests/playbook",
        "execution",
    )
    assert (row.status, row.result, row.error) == ("STARTED", None, None)
    assert row.context == {
        "catalog_id": "42",
        "execution_id": str(EXECUTION_ID),
        "path": "tests/playbook",
        "workload": {"a": 1, "b": 2, "c": 3},
    }
    assert row.meta == {
        "emitted_at": "2026-06-14T10:00:00.000000Z",
        "emitter": "control_plane",
        "trace": {"traceparent": "t"},
    }


def test_the_command_follows_with_its_parent():
    run = Run(PLAYBOOK).start()
    started, issued = run.rows
    command = run.open[0]

    assert (issued.node_type, issued.status) == ("python", "PENDING")
    assert issued.parent_event_id == started.event_id
    assert command.command_id == f"{EXECUTION_ID}:start:{issued.event_id}"
    assert issued.meta == {
        "command_id": command.command_id,
        "step": "start",
        "tool_kind": "python",
        "max_attempts": 3,
        "attempt": 1,
        "execution_id": str(EXECUTION_ID),
        "catalog_id": "42",
        "actionable": True,
    }


def test_the_answer_counts_the_commands():
    loop = make_playbook(make_step("start", loop=make_loop([1, 2, 3])))

    for playbook, count in ((PLAYBOOK, 1), (loop, 3)):
        answer = Run(playbook).start().decisions[0].answer
        assert answer.body == {
            "execution_id": str(EXECUTION_ID),
            "status": "started",
            "commands_generated": count,
        }


def test_the_same_start_again_is_answered_alike_and_writes_nothing():
    run = Run(PLAYBOOK).start().work("start")
    run.start()

    first, *_, again = run.decisions
    assert first.answer == again.answer
    assert not again.events


def test_the_start_step_knows_the_execution_but_no_steps():
    context = Run(PLAYBOOK, payload={"ctx_only": 1}).start().open[0].context["render_context"]

    assert context["execution_id"] == str(EXECUTION_ID)
    assert (context["catalog_id"], context["path"]) == ("42", "tests/playbook")
    assert context["workload"] == {"a": 1, "b": {"x": 1}, "ctx_only": 1}
    assert context["ctx"]["ctx_only"] == context["ctx_only"] == 1
    assert "steps" not in context


def test_a_looped_start_may_use_ctx_and_the_execution_id():
    playbook = make_playbook(
        make_step("start", loop=make_loop("{{ ctx['items'] }}")), workload={"items": [1, 2]}
    )
    run = Run(playbook).start()

    enter = run.rows[1]
    assert enter.result == {
        "status": "ENTERED",
        "context": {"iterations_expected": 2, "iterator_var": "item"},
    }
    assert enter.meta == {"emitted_by": "execute_handler"}
    assert enter.parent_event_id == run.rows[0].event_id
    assert len(run.open) == 1


def test_the_guards_of_the_start_step_are_ignored():
    run = Run(make_playbook(make_step("start", when="false"))).start()

    assert run.open


@pytest.mark.parametrize(
    ("items", "word"),
    [
        ("{{ missing }}", "null"),
        ("{{ true }}", "bool"),
        ("{{ 3 }}", "number"),
        ("plain", "string"),
        ("{{ {'a': 1} }}", "object"),
    ],
)
def test_a_looped_start_needs_an_array(items: str, word: str) -> None:
    run = Run(make_playbook(make_step("start", loop=make_loop(items))))

    with pytest.raises(StartRefused) as refused:
        run.start()
    assert refused.value.status == 422
    text = f"start step loop.in must resolve to a JSON array, got: {word}"
    assert refused.value.text == text
    assert not run.rows
    assert run.execution.position == 0


def test_a_cursor_on_the_start_step_is_refused_as_ever():
    loop = Loop(iterator="row", mode=LoopMode.CURSOR, cursor=Cursor(claim="SELECT 1"))

    with pytest.raises(StartRefused, match="got: null"):
        Run(make_playbook(make_step("start", loop=loop))).start()


def test_a_start_that_does_not_render_is_refused():
    broken = Tool(kind="http", config={"url": "{{ 1 + missing }}"})

    with pytest.raises(StartRefused) as refused:
        Run(make_playbook(make_step("start", tool=broken))).start()
    assert refused.value.status == 422


@pytest.mark.parametrize(
    ("path", "execution_pool", "pool"),
    [
        ("tests/p", None, "shared"),
        ("system/p", None, "system"),
        ("subscription/p", None, "subscription"),
        ("systems/p", None, "shared"),
        ("system/p", "gpu", "gpu"),
    ],
)
def test_the_pool_comes_from_the_start_or_the_path(
    path: str, execution_pool: str | None, pool: str
) -> None:
    playbook = make_playbook(make_step("start", "a"), make_step("a"), path=path)
    run = Run(playbook).start(execution_pool=execution_pool).work_all()

    assert {command.pool for command in run.issued.values()} == {pool}


def test_the_trace_travels_with_every_command():
    trace: dict[str, Any] = {"traceparent": "t"}
    playbook = make_playbook(make_step("start", "a"), make_step("a"))
    run = Run(playbook, reload=lambda _turn: True).start(trace=trace).work_all()

    assert [command.trace for command in run.issued.values()] == [trace, trace]
    assert all(command.meta["trace"] == trace for command in run.issued.values())


def test_the_header_survives_a_reload():
    run = Run(PLAYBOOK).start(parent_execution_id=99)
    restored = run.restore().state

    assert restored.execution_id == EXECUTION_ID
    assert (restored.catalog_id, restored.path, restored.version) == (42, "tests/playbook", 3)
    assert restored.parent_execution_id == 99
    assert run.rows[-1].parent_execution_id == 99
