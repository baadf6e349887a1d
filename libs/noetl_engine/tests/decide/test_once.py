"""Commands that may not run twice: a lost one ends as unknown, for a person."""

from datetime import timedelta
from typing import Any

import pytest
from engine_driver import NOW, Run, make_playbook, make_step
from noetl_contract.failures.cause import kind_of_message
from noetl_contract.tools import TOOLS
from noetl_engine.inputs import CommandExhausted, Limits, WorkerSeen
from noetl_engine.playbook import parse_playbook
from noetl_engine.playbook.model import Pipeline, Task, Tool
from noetl_engine.state.snapshot import dump_state, load_state

GONE = {"w1": WorkerSeen(NOW, NOW - timedelta(days=1), None, deregistered_at=NOW)}
ONCE = make_playbook(make_step("start", "end", repeatable=False), make_step("end"))


def lost(run: Run) -> Run:
    """The worker has the command, and is heard no more."""
    (command,) = run.open
    run.claim(command, "w1")
    run.wait(100)
    run.workers = GONE
    return run


def test_a_lost_command_is_given_to_nobody_else() -> None:
    run = lost(Run(ONCE).start())
    (command,) = run.open

    answer = run.claim(command, "w2").answer
    assert (answer.status, answer.detail["code"]) == (409, "already_terminal")

    run.decide(CommandExhausted(command.event_id, attempts=0))
    failed = run.rows_of("command.failed")[0]
    error = failed.result["context"]["error"]
    assert error.startswith("Outcome unknown: worker w1 stopped answering")
    assert failed.meta["reason"] == "outcome_unknown"
    assert kind_of_message(error) == "lost"
    assert run.ended == ["FAILED"]


def test_one_that_never_began_fails_with_the_reason() -> None:
    """Its failure is known; as another worker's, its outcome might no longer be."""
    run = Run(ONCE).start()
    (command,) = run.open
    run.claim(command, "w1")
    events = run.outcome_events(command, fails=True)
    for event in events:
        event.meta["never_began"] = True

    assert run.finish(command, events).answer.body == {"status": "ok"}
    assert run.ended == ["FAILED"]


def test_it_can_be_restarted() -> None:
    run = lost(Run(ONCE).start())
    run.decide(CommandExhausted(run.open[0].event_id, attempts=0))
    again = run.restart()

    assert [command.step for command in again.open] == ["start"]
    again.work_all()
    assert again.ended == ["COMPLETED"]


def test_its_command_says_so() -> None:
    run = Run(ONCE).start()
    (command,) = run.open

    assert command.meta["repeatable"] is False
    state = run.execution.state
    assert load_state(dump_state(state)).commands[command.event_id].once


def test_a_command_that_nobody_took_is_announced_again() -> None:
    run = Run(ONCE).start()
    (command,) = run.open
    run.decide(CommandExhausted(command.event_id, attempts=0))

    assert not run.ended
    assert run.claim(command, "w2").answer.status == 200


PIPELINE = Pipeline(
    tasks=(
        Task(label="one", tool=Tool(kind="python")),
        Task(label="two", tool=Tool(kind="shell")),
    )
)


@pytest.mark.parametrize(
    ("tool", "said", "is_once"),
    [
        (Tool(kind="python"), None, False),
        (Tool(kind="shell"), None, True),
        (Tool(kind="shell"), True, False),
        (Tool(kind="python"), False, True),
        (PIPELINE, None, True),
    ],
)
def test_kinds_may_be_taken_out_and_the_step_wins(
    *, tool: Any, said: bool | None, is_once: bool
) -> None:
    playbook = make_playbook(make_step("start", tool=tool, repeatable=said))
    run = Run(playbook, limits=Limits(once=frozenset({"shell"}))).start()

    assert ("repeatable" in run.open[0].meta) is is_once


def test_every_kind_is_repeated_as_clients_expect() -> None:
    assert all(kind.is_repeatable for kind in TOOLS.values())


@pytest.mark.parametrize(
    ("written", "read"), [("true", True), ("false", False), ("maybe", None), ("null", None)]
)
def test_the_key_of_a_step(*, written: str, read: bool | None) -> None:
    text = f"""
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: t, path: p}}
workflow: [{{step: start, spec: {{repeatable: {written}}}, tool: {{kind: noop}}}}]
"""
    assert parse_playbook(text).steps["start"].repeatable is read
