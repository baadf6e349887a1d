"""The first cause of a failure, soft errors that fail their step, results of a failed loop."""

import json
from dataclasses import replace
from typing import Any

import pytest
from engine_driver import Run, make_arc, make_loop, make_playbook, make_step, posted
from noetl_contract.ingress import WireEvent
from noetl_engine.inputs import CommandExhausted, Limits, StepTimedOut
from noetl_engine.playbook import parse_playbook
from noetl_engine.playbook.defaults import Defaults, with_defaults
from noetl_engine.playbook.errors import PlaybookError
from noetl_engine.playbook.model import Playbook

CAUGHT = "event.name == 'call.error'"
TEXT = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: t, path: t}
workflow:
  - step: start
    loop: {in: "[1, 2, 3]", iterator: n, spec: {mode: parallel}}
    tool:
      - fetch: {kind: noop}
      - load:
          kind: noop
"""


def failing(run: Run, label: str, error: str, **context: Any) -> None:
    """Let a command fail with an error."""
    command = run.find(label)
    run.open.remove(command)
    run.finish(
        command,
        [
            run.event(command, "command.started", "STARTED"),
            run.event(command, "call.error", "FAILED", call_index=0, error=error, **context),
            run.event(command, "command.failed", "FAILED", error=error, **context),
        ],
    )


def answering(run: Run, label: str, *, handled: bool = False, **body: Any) -> None:
    """Let a command answer with an error."""
    command = run.find(label)
    run.open.remove(command)
    result = {"status": "error", "context": {"status": "error", **body}}
    extra = {"handled": True} if handled else {}
    run.finish(
        command,
        [
            run.event(command, "command.started", "STARTED"),
            run.event(command, "call.done", "COMPLETED", call_index=0, result=result),
            run.event(command, "command.completed", "error", status="error", **extra),
        ],
    )


def strict(playbook: Playbook) -> Playbook:
    return replace(playbook, fails_softly=True)


def test_iteration_task_and_line_are_told():
    run = Run(parse_playbook(TEXT)).start()
    failing(run, "start:i1", "task 'load': Database error: gone", task="load")
    run.work("start:i0").work("start:i2")
    end = run.rows[-1]

    assert end.error == (
        "step 'start' (line 9) failed in iteration 1, task 'load': Database error: gone"
    )
    assert end.meta["error"] == "Failed steps: start"
    (cause,) = [one.cause for one in run.decisions if one.cause is not None]
    assert (cause.step, cause.iteration, cause.task, cause.line) == ("start", 1, "load", 9)
    assert run.restore().state.causes == run.execution.state.causes


def test_the_number_of_a_task_becomes_its_label():
    run = Run(strict(parse_playbook(TEXT))).start()
    answering(run, "start:i0", error="HTTP 503 response", data={"failed_task": 0})
    run.work("start:i1").work("start:i2")

    assert run.rows[-1].error.startswith(
        "step 'start' (line 8) answered with an error in iteration 0, task 'fetch': HTTP 503"
    )


def test_of_a_trace_the_last_line_counts():
    run = Run(make_playbook(make_step("start"))).start()
    trace = "Traceback (most recent call last):\n  File …\nKeyError: 'apple'"
    answering(run, "start", error="Python script exited with code 1", stderr=trace)

    soft = run.decisions[-1].soft_error
    assert soft is not None
    assert soft.message == "Python script exited with code 1: KeyError: 'apple'"
    assert run.ended == ["COMPLETED"]
    assert run.restore().state.soft == run.execution.state.soft is not None


def test_the_earliest_failure_is_the_cause_and_the_others_are_named():
    playbook = make_playbook(
        make_step("start", "a", "b", mode="inclusive"), make_step("a"), make_step("b")
    )
    run = Run(playbook).start().work("start").work("b", fails=True)
    assert run.decisions[-1].cause is not None, "it is known before the end"
    run.work("a", fails=True)

    assert run.rows[-1].error == "step 'b' failed: b broke (failed too: a)"


def test_a_lost_worker_and_a_time_limit_have_kinds():
    run = Run(make_playbook(make_step("start", timeout_seconds=5))).start()
    command = run.find("start")
    run.decide(posted([run.event(command, "command.started", "STARTED")]))
    run.decide(StepTimedOut(command.event_id, holds=1))
    assert run.decisions[-1].cause is not None
    assert run.decisions[-1].cause.kind == "timeout"

    run = Run(make_playbook(make_step("start")), limits=Limits(max_attempts=1))
    command = run.start().find("start")
    run.decide(posted([run.event(command, "command.started", "STARTED")]))
    run.decide(CommandExhausted(command.event_id, 0))
    cause = run.decisions[-1].cause
    assert cause is not None
    assert cause.kind == "lost"
    assert cause.sentence().startswith("step 'start' failed: Command lost: worker w1")


def test_an_evaluate_error_names_step_part_and_value():
    playbook = make_playbook(
        make_step("start", "each"),
        make_step("each", loop=make_loop("{{ start.rowz }}")),
    )
    run = Run(playbook).start().work("start")
    end = run.rows[-1]

    text = end.result["context"]["error"]
    assert text == (
        "Orchestrator evaluate failed: step 'each', loop.in: Loop expression did not evaluate to "
        "an iterable: {{ start.rowz }} (got null)"
    )
    assert end.meta["cause"]["step"] == "each"
    assert run.execution.progress.current_step == "each"
    assert run.execution.progress.failed_steps == 1


def test_the_part_is_named_for_guards_sets_and_tools():
    for playbook, place in (
        (make_playbook(make_step("start", make_arc("a", "{{ 1 + missing }}")), make_step("a")),
         "step 'start', the guard of the arc to 'a': "),
        (make_playbook(make_step("start", "a"), make_step("a", when="{{ 1 + missing }}")),
         "step 'a', when: "),
    ):  # fmt: skip
        run = Run(playbook).start().work("start")
        assert run.rows[-1].error.startswith(f"Orchestrator evaluate failed: {place}")


def test_a_soft_error_fails_its_step_where_the_playbook_asks_for_it():
    run = Run(strict(make_playbook(make_step("start", "a"), make_step("a")))).start()
    answering(run, "start", error="HTTP 500 response")

    assert run.ended == ["FAILED"]
    assert run.rows[-1].error == "step 'start' answered with an error: HTTP 500 response"
    assert run.execution.progress.soft_errors == 0
    (change,) = run.decisions[-1].changes
    assert (change.status, change.error) == ("FAILED", "HTTP 500 response")
    assert run.restore().snapshot() == run.execution.snapshot()


@pytest.mark.parametrize(
    ("playbook", "step", "tool", "ending"),
    [
        ("fail", None, None, "FAILED"),
        ("fail", "continue", None, "COMPLETED"),
        ("fail", None, "continue", "COMPLETED"),
        ("continue", "fail", "continue", "COMPLETED"),
        ("continue", "fail", None, "FAILED"),
        (None, None, "fail", "FAILED"),
        ("fail", "continue", "fail", "FAILED"),
    ],
)
@pytest.mark.parametrize("form", ["alone", "in a list", "unlabelled", "in the workbook"])
def test_the_nearest_word_about_soft_errors_decides(
    form: str, playbook: str | None, step: str | None, tool: str | None, ending: str
):
    def errors(word: str | None) -> Any:
        return {} if word is None else {"spec": {"errors": word}}

    call = {"kind": "noop", **errors(tool)}
    other = {"kind": "noop", **errors({"fail": "continue", "continue": "fail"}.get(tool or ""))}
    written = {
        "alone": call,
        "in a list": [{"other": other}, {"call": call}],
        "unlabelled": [other, call],
        "in the workbook": {"kind": "workbook", "name": "w", **errors(tool)},
    }[form]
    text = {
        "apiVersion": "noetl.io/v2",
        "kind": "Playbook",
        "metadata": {"name": "n", "path": "p"},
        "workbook": [{"name": "w", "tool": {"kind": "noop", **errors("fail")}}] if tool else [],
        "workflow": [{"step": "start", "tool": written, **errors(step)}],
        **errors(playbook),
    }
    if form == "in the workbook" and not tool:
        text["workbook"] = [{"name": "w", "tool": {"kind": "noop"}}]
    run = Run(with_defaults(parse_playbook(json.dumps(text)), Defaults())).start()
    answering(run, "start", error="HTTP 409 response", data={"failed_task": 1})

    assert run.ended == [ending]
    assert run.restore().snapshot() == run.execution.snapshot()


def test_a_word_about_soft_errors_that_means_nothing_is_refused():
    for owner, words in (
        ("tool: {kind: noop, spec: {errors: fale}}", "spec.errors must be 'continue' or 'fail'"),
        ("tool: {kind: noop}\n    spec: {errors: fale}", "unknown variant `fale`"),
    ):
        text = TEXT.partition("- step: start")[0] + f"- step: start\n    {owner}\n"
        with pytest.raises(PlaybookError) as raised:
            parse_playbook(text)
        (problem,) = raised.value.problems
        assert words in f"{problem.hint} {problem.text}"


def test_such_a_failure_can_be_caught_and_shows_what_was_answered():
    playbook = strict(
        make_playbook(
            make_step("start", make_arc("x", CAUGHT, set={"ctx.why": "{{ output.message }}"})),
            make_step("x"),
        )
    )
    run = Run(playbook).start()
    answering(run, "start", error="HTTP 500 response", data={"body": "no"})

    context = run.find("x").context["render_context"]
    assert context["why"] == "HTTP 500 response"
    assert context["start"]["body"] == "no"


def test_an_error_that_a_rule_deals_with_stays_soft():
    run = Run(strict(make_playbook(make_step("start")))).start()
    answering(run, "start", error="HTTP 404 response", handled=True)

    assert run.ended == ["COMPLETED"]
    assert run.execution.progress.soft_errors == 1


def test_the_results_of_a_failed_loop_reach_its_error_arc():
    for mode in ("sequential", "parallel"):
        playbook = make_playbook(
            make_step("start", make_arc("x", CAUGHT), loop=make_loop([1, 2, 3], mode)),
            make_step("x"),
        )
        for reload in (False, True):
            run = Run(playbook, reload=lambda _, reload=reload: reload).start()
            data = {"_context_updates": {"ctx.last": 7}, "n": 1}
            run.work("start:i0", data=data)
            run.work("start:i1", fails=True)
            if mode == "parallel":
                run.work("start:i2", data={"n": 3})

            context = run.find("x").context["render_context"]
            assert context["start"][0]["data"]["n"] == 1, (mode, reload)
            assert len(context["start"]) == (1 if mode == "sequential" else 2)
            assert context["last"] == 7


def test_a_loop_of_soft_errors_ends_as_failed():
    playbook = strict(make_playbook(make_step("start", loop=make_loop([1, 2], "parallel"))))
    run = Run(playbook).start()
    answering(run, "start:i0", error="HTTP 500 response")
    run.work("start:i1")

    assert run.ended == ["FAILED"]
    assert run.execution.state.causes["start"].iteration == 0


def test_the_server_decides_where_the_playbook_does_not():
    text = TEXT.replace("      - fetch: {kind: noop}\n", "")
    assert with_defaults(parse_playbook(text), Defaults()).fails_softly is False
    assert with_defaults(parse_playbook(text), Defaults(fails_softly=True)).fails_softly is True
    own = f"spec: {{errors: continue}}\n{text}"
    assert with_defaults(parse_playbook(own), Defaults(fails_softly=True)).fails_softly is False

    child = text.replace(
        "kind: noop", "kind: playbook\n          path: p\n          return_step: s"
    )
    given = with_defaults(parse_playbook(child), Defaults(fails_with_child=True))
    (task,) = given.start.tool.tasks  # type: ignore[union-attr]
    assert task.rendered["on_child_failure"] == "fail"


def test_what_a_container_reports_may_fail_its_step():
    playbook = strict(make_playbook(make_step("start", tool=None)))
    run = Run(playbook).start()
    command = run.find("start")
    done = run.event(command, "command.completed", "success", pending_callback=True)
    run.decide(posted([run.event(command, "command.started", "STARTED"), done]))
    callback = WireEvent(
        event_type="call.done", step="start", status="FAILED", context={"error": "exit 3"}
    )
    run.decide(posted([callback]))

    assert run.ended == ["FAILED"]
    assert run.rows[-1].error == "step 'start' failed: exit 3"
