"""Commands name a large workload: the log has it once, and each run gets it whole."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from engine_driver import Run, make_loop, make_playbook, make_step
from noetl_contract.commands import NAMED, named_position
from noetl_contract.json import JsonObject
from noetl_engine.inputs import Limits
from noetl_engine.outputs import NewCommand
from noetl_engine.playbook.model import Cursor, Loop, LoopMode, Pipeline, Playbook, Task, Tool

ALL = replace(Limits(), repeated_workload_bytes=0)


def rows(count: int) -> list[JsonObject]:
    return [
        {"id": n, "name": f"customer {n:06}", "mail": f"{n:06}@example.org"} for n in range(count)
    ]


def over_rows(mode: str = "parallel", **fields: Any) -> Playbook:
    loop = make_loop("{{ workload.rows }}", mode, iterator="row", **fields)
    return make_playbook(make_step("start", "each"), make_step("each", loop=loop))


def issued_bytes(run: Run, step: str) -> list[int]:
    """Return the bytes of a step's ``command.issued`` rows, from the first to the last."""
    found = [row for row in run.rows_of("command.issued") if row.node_name == step]
    return [len(orjson.dumps((row.context, row.meta, row.note))) for row in found]


def whole(run: Run, command: NewCommand) -> JsonObject:
    """Return the context for a worker that can't read short ones."""
    body = run.claim(command, "w9", http=True).answer.body
    assert NAMED not in body["context"]
    assert "workload" not in body
    context: JsonObject = body["context"]
    return context


def told_once(context: Any) -> Any:
    """Return a context as its worker reads it."""
    return orjson.loads(orjson.dumps(context))


@pytest.mark.parametrize(("mode", "most"), [("parallel", 16), ("sequential", None)])
def test_an_iterations_row_does_not_grow_with_the_payload(mode: str, most: int | None) -> None:
    sizes = {}
    for count in (150, 600):
        payload = {"rows": rows(count)}
        run = Run(over_rows(mode, max_in_flight=most), payload=payload).start()
        seen = []
        while run.open:
            command = run.open[0]
            if command.step == "each":
                seen.append(command.context["render_context"]["row"])
            run.work(run.label(command))
        assert run.ended == ["COMPLETED"]
        assert sorted(seen, key=lambda one: one["id"]) == payload["rows"]
        sizes[count] = issued_bytes(run, "each")
        assert len(sizes[count]) == count
    # The digits of the index and of ids.
    assert max(sizes[600]) <= max(sizes[150]) + 16
    assert max(sizes[600]) < 1500


def test_a_chain_writes_its_payload_once() -> None:
    names = ["start", *(f"s{n}" for n in range(50))]
    steps = [make_step(name, *names[at + 1 : at + 2]) for at, name in enumerate(names)]
    payload = {"text": "x" * 1_500_000}

    run = Run(make_playbook(*steps), payload=payload).start().work_all()

    assert run.ended == ["COMPLETED"]
    written = sum(len(orjson.dumps((row.context, row.result, row.note))) for row in run.rows)
    assert len(run.rows_of("command.issued")) == 51
    assert written < 1_600_000


@pytest.mark.parametrize("reload", [lambda _turn: False, lambda turn: turn % 3 == 2])
def test_a_claim_gives_the_whole_context(reload: Callable[[int], bool]) -> None:
    """The same as if nothing had been left out, also after a reload from the log."""
    contexts = []
    for limits in (Limits(), ALL):
        run = Run(over_rows(max_in_flight=3), payload={"rows": rows(200), "more": {"a": 1}})
        run.limits, run.reload = limits, reload
        run.start()
        run.work("start", data={"good": [1, 2]})
        contexts.append([told_once(whole(run, command)) for command in run.open[:3]])
    assert contexts[0] == contexts[1]
    scope = contexts[0][1]["render_context"]
    assert scope["row"] == rows(200)[1]
    assert scope["workload"]["rows"] == scope["rows"] == scope["ctx"]["rows"] == rows(200)
    assert scope["start"]["good"] == [1, 2]


def test_a_worker_that_reads_names_gets_the_workload_once() -> None:
    run = Run(over_rows(max_in_flight=2), payload={"rows": rows(200)}).start().work("start")
    first, second = run.open

    brought = run.claim(first, "w1", known_workload=0).answer.body
    known = run.claim(second, "w1", known_workload=named_position(brought["context"])).answer.body

    assert brought["workload"] == {"rows": rows(200)}
    assert "workload" not in known
    assert len(orjson.dumps(known)) < 2500
    assert known["context"]["render_context"]["row"] == rows(200)[1]


def test_the_commands_of_a_small_workload_are_as_ever() -> None:
    payload = {"rows": rows(40)}
    run = Run(over_rows(), payload=payload).start().work_all()
    before = Run(over_rows(), payload=payload, limits=ALL).start().work_all()

    assert len(orjson.dumps(payload)) < 4096
    assert [row.context for row in run.rows] == [row.context for row in before.rows]
    assert all(command.short is None for command in run.issued.values())


def test_other_commands_name_it_too() -> None:
    """A pipeline, a playbook that is called, and the claim of a cursor."""
    pipeline = Pipeline(
        tasks=(Task(label="one", tool=Tool(kind="noop"), rendered={"kind": "noop"}),)
    )
    cursor = Loop(mode=LoopMode.CURSOR, iterator="item", cursor=Cursor(claim="SELECT 1"))
    called = Tool(kind="playbook", config={"path": "a/b", "payload": {"n": "{{ workload.n }}"}})
    playbook = make_playbook(
        make_step("start", "called", tool=pipeline),
        make_step("called", "drain", tool=called),
        make_step("drain", loop=cursor),
    )

    run = Run(playbook, payload={"text": "x" * 10_000, "n": 5}).start()
    run.work("start").work("called")

    assert [row.node_name for row in run.rows_of("command.issued")] == ["start", "called", "drain"]
    assert all(
        size < 2000 for name in ("start", "called", "drain") for size in issued_bytes(run, name)
    )
    scope = whole(run, run.open[0])["render_context"]
    assert (scope["workload"]["n"], scope["text"]) == (5, "x" * 10_000)
    assert scope["__frame_max_rows"] == scope["ctx"]["__frame_max_rows"]


def test_the_workload_that_a_restart_changed_is_the_one_that_is_named() -> None:
    run = Run(over_rows(), payload={"rows": rows(200)}).start()
    run.work("start")
    while run.open:
        run.work(run.label(run.open[0]), fails=run.label(run.open[0]) == "each:i0")
    assert run.ended == ["FAILED"]

    again = run.restart(input={"rows": [*rows(200)[:100], *rows(300)[200:]]})

    command = again.find("each:i0")
    scope = told_once(whole(again, command))["render_context"]
    assert scope["workload"]["rows"][100]["id"] == 200
    assert scope["rows"] == scope["workload"]["rows"] == scope["ctx"]["rows"]
    (row, *_) = (one for one in again.rows_of("command.issued") if one.event_id == command.event_id)
    restored = again.rows_of("execution.restored")[0]
    assert named_position(row.context) == restored.position
