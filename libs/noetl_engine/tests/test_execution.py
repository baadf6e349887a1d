"""The execution as the orchestrator holds it, and corners of guards and routers."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from engine_driver import EXECUTION_ID, Run, make_arc, make_loop, make_playbook, make_step, posted
from noetl_contract.ingress import WireEvent
from noetl_engine.execution import Execution
from noetl_engine.playbook import parse_playbook
from noetl_engine.playbook.model import AdmitRule
from noetl_engine.state.identity import REMEMBERED_EVENTS

COUNTER = make_playbook(
    make_step("start", "w"),
    make_step("w", "g"),
    make_step(
        "g",
        make_arc("w", "ctx.n < 200"),
        make_arc("end"),
        set={"ctx.n": "{{ output.n }}"},
    ),
    make_step("end"),
)


def play_counter(run: Run) -> Run:
    rounds = iter(range(1, 1000))
    return run.start().work_all(data=lambda _command: {"n": next(rounds) // 2, "x": "y" * 100})


def test_memory_does_not_grow_with_the_rounds_of_a_cycle():
    sizes: list[int] = []
    run = Run(COUNTER)
    run.reload = lambda _turn: sizes.append(run.execution.memory_size()) or False
    play_counter(run)

    assert run.ended == ["COMPLETED"]
    assert max(sizes[len(sizes) // 2 :]) < 1.2 * max(sizes[: len(sizes) // 2])
    assert len(run.execution._memory.values.rows) < 200


def test_memory_size_counts_large_values():
    def size(payload: dict[str, Any]) -> int:
        run = Run(make_playbook(make_step("start")), payload=payload).start()
        return run.execution.memory_size()

    assert size({"x": "y" * 100_000}) - size({}) >= 100_000
    assert size({"x": list(range(100_000))}) - size({}) >= 1_000_000


def test_a_restored_execution_is_smaller_and_goes_on():
    run = Run(COUNTER).start().work("start", data={"x": "y" * 10_000})
    run.take_snapshot()
    restored = run.restore()

    assert restored.memory_size() < run.execution.memory_size() - 10_000
    assert restored.position == run.execution.position


def test_a_snapshot_of_another_format_is_refused():
    run = Run(COUNTER).start()
    data = orjson.loads(run.execution.snapshot()) | {"format": 0}

    with pytest.raises(ValueError, match="format 0"):
        Execution.restore(EXECUTION_ID, orjson.dumps(data), [])


def test_the_remembered_ids_are_bounded():
    run = Run(COUNTER).start()
    for event_id in range(10_000, 10_000 + 3 * REMEMBERED_EVENTS):
        for worker in ("w1", "w2"):
            event = WireEvent(event_type="note", step="x", event_id=event_id, worker_id=worker)
            run.decide(posted((event,)))

    state = run.execution.state
    assert len(state.recent) == REMEMBERED_EVENTS
    assert len(state.renamed) == REMEMBERED_EVENTS


def test_the_error_is_known_after_a_failure():
    run = Run(make_playbook(make_step("start"))).start().work("start", fails=True)

    assert run.execution.state.error == "step 'start' failed: start broke"
    assert run.restore().state.error == "step 'start' failed: start broke"


def test_rows_of_a_command_that_is_not_open_change_nothing():
    """A log from elsewhere may hold anything; folding never fails."""
    run = Run(make_playbook(make_step("start"))).start().work("start")
    before = orjson.loads(run.execution.snapshot())
    types = [
        "command.claimed",
        "command.started",
        "call.done",
        "call.error",
        "command.completed",
        "command.failed",
        "playbook_started",
        "playbook.failed",
        "something.new",
    ]
    rows = [
        replace(row, position=len(run.rows) + 1 + index, event_type=kind, note={"command": 1})
        for index, (kind, row) in enumerate(zip(types, [run.rows[-2]] * len(types), strict=True))
    ]
    after = orjson.loads(Execution.restore(EXECUTION_ID, None, [*run.rows, *rows]).snapshot())

    assert after["execution"][1] == before["execution"][1] + len(rows)
    for part in ("steps", "commands", "progress", "variables"):
        assert before[part] == after[part]
    assert before["execution"][2] == after["execution"][2]


def test_unknown_operations_in_notes_are_passed_over():
    run = Run(make_playbook(make_step("start"))).start()
    row = replace(run.rows[-1], position=3, event_type="x", note={"ops": [["from the future", 1]]})

    assert Execution.restore(EXECUTION_ID, None, [*run.rows, row]).position == 3


def routed(text: str) -> str:
    source = f"""
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: p}}
workflow:
- step: start
  tool: {{kind: noop}}
{text}
- {{step: a, tool: {{kind: noop}}}}
- {{step: b, tool: {{kind: noop}}}}
"""
    return Run(parse_playbook(source)).start().work("start").story


@pytest.mark.parametrize(
    ("text", "story"),
    [
        ("  next: a", "enter a I(a)"),
        ("  next: [a, b]", "enter a enter b I(a) I(b)"),
        ("  next: [{step: a}, {step: b}]", "skip b enter a I(a)"),
        ("  next: {}", "playbook.completed"),
        ("  next: []", "playbook.completed"),
        (
            "  next: {spec: {on_no_match: quiet}, arcs: [{step: a, when: 'false'}]}",
            "skip a playbook.completed",
        ),
        (
            "  spec: {next_mode: inclusive}\n  next: [{step: a}, {step: b}]",
            "enter a enter b I(a) I(b)",
        ),
    ],
)
def test_every_form_of_next_is_routed(text: str, story: str) -> None:
    assert routed(text) == f"started I(start) W(start) {story}"


@pytest.mark.parametrize(
    ("rules", "when", "runs"),
    [
        ((AdmitRule(when="n == 1", allow=False),), None, False),
        ((AdmitRule(when="n == 2", allow=False),), None, True),
        ((AdmitRule(when="n == 1", allow=True), AdmitRule(when=None, allow=False)), None, True),
        ((AdmitRule(when="n == 2", allow=True), AdmitRule(when=None, allow=False)), None, False),
        ((AdmitRule(when=None, allow=True),), "n == 2", False),
    ],
)
def test_admission_rules_are_a_second_guard(
    rules: tuple[AdmitRule, ...], when: str | None, *, runs: bool
) -> None:
    playbook = make_playbook(
        make_step("start", "a"), make_step("a", admit=rules, when=when), workload={"n": 1}
    )
    run = Run(playbook).start().work("start")

    assert bool(run.open) is runs


def test_a_collection_that_does_not_render_fails_the_execution():
    playbook = make_playbook(
        make_step("start", "lp"), make_step("lp", loop=make_loop("{{ 1 + missing }}"))
    )

    assert Run(playbook).start().work("start").ended == ["FAILED"]


def test_a_claim_after_the_end_is_refused():
    playbook = make_playbook(
        make_step("start", "a", "b", mode="inclusive"),
        make_step("a", make_arc("c", "{{ 1 + missing }}")),
        make_step("b"),
        make_step("c"),
    )
    run = Run(playbook).start().work("start")
    other = run.find("b")
    run.work("a")

    assert run.claim(other, "w2").answer.error == "Command already reached terminal state"
