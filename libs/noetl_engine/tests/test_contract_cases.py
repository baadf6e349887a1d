"""The contract's event sequences, its cases 1 to 22, row by row in its notation."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from engine_driver import Run, cancel, make_arc, make_loop, make_playbook, make_step, posted
from noetl_engine.inputs import Continued
from noetl_engine.playbook.model import Playbook, Tool

START = "started I(start) W(start)"
DONE = "playbook.completed"
FAILED = "playbook.failed"


def enter(name: str) -> str:
    return f"enter {name} I({name}) W({name})"


@dataclass
class Case:
    name: str
    playbook: Playbook
    order: str
    """Labels in the order in which they end, ``!`` before one that fails."""
    story: str
    rows: int
    payload: dict[str, Any] = field(default_factory=dict)


def start(*arcs: Any, **fields: Any) -> Any:
    return make_step("start", *arcs, **fields)


def when(target: str, guard: Any = "false", **fields: Any) -> Any:
    return make_arc(target, guard, **fields)


def below(step: str, limit: int) -> str:
    return f"(output.n) < {limit}" if step == "self" else f"({step}.n | default(0)) < {limit}"


LOOP3 = make_loop([1, 2, 3])
PARALLEL3 = make_loop([1, 2, 3], "parallel")

SECTION_16 = [
    Case("start only", make_playbook(start()), "start", f"{START} {DONE}", 7),
    Case(
        "start and end",
        make_playbook(start("end"), make_step("end")),
        "start end",
        f"{START} {enter('end')} {DONE}",
        13,
    ),
    Case(
        "conditional, one of two taken",
        make_playbook(
            start(when("cold"), when("hot", guard=True)), make_step("cold"), make_step("hot")
        ),
        "start hot",
        f"{START} skip cold {enter('hot')} {DONE}",
        14,
    ),
    Case(
        "control_flow_workbook, hot",
        make_playbook(
            start("eval_flag"),
            make_step("eval_flag", when("hot_path", guard=True), when("cold_path")),
            make_step("hot_path", "a", "b", mode="inclusive"),
            make_step("cold_path", "c"),
            make_step("a", "end"),
            make_step("b", "end"),
            make_step("c", "end"),
            make_step("end"),
        ),
        "start eval_flag hot_path a b end",
        f"{START} {enter('eval_flag')} skip cold_path {enter('hot_path')} enter a enter b I(a) I(b)"
        f" W(a) W(b) {enter('end')} {DONE}",
        38,
    ),
    Case(
        "guard false in the middle",
        make_playbook(
            start("a"), make_step("a", "b", when="false"), make_step("b", "end"), make_step("end")
        ),
        "start b end",
        f"{START} skip a {enter('b')} {enter('end')} {DONE}",
        20,
    ),
    Case(
        "guard-skipped end",
        make_playbook(start("end"), make_step("end", when="false")),
        "start",
        f"{START} skip end {DONE}",
        8,
    ),
    Case(
        "guard-skipped step leading to end",
        make_playbook(start("a"), make_step("a", "end", when="false"), make_step("end")),
        "start end",
        f"{START} skip a {enter('end')} {DONE}",
        14,
    ),
    Case(
        "no arc matches",
        make_playbook(start(when("end")), make_step("end")),
        "start",
        f"{START} skip end {DONE}",
        8,
    ),
    Case(
        "iterator of 3, sequential",
        make_playbook(start("lp"), make_step("lp", "end", loop=LOOP3), make_step("end")),
        "start lp:i0 lp:i1 lp:i2 end",
        f"{START} enter lp{{3}} I(lp:i0) W(lp:i0) I(lp:i1) W(lp:i1) I(lp:i2) W(lp:i2)"
        f" {enter('end')} {DONE}",
        29,
    ),
    Case(
        "iterator of 3, parallel",
        make_playbook(start("lp"), make_step("lp", "end", loop=PARALLEL3), make_step("end")),
        "start lp:i2 lp:i0 lp:i1 end",
        f"{START} enter lp{{3}} I(lp:i0) I(lp:i1) I(lp:i2) W(lp:i2) W(lp:i0) W(lp:i1)"
        f" {enter('end')} {DONE}",
        29,
    ),
    Case(
        "looped start",
        make_playbook(
            start("process", loop=make_loop([1, 2, 3, 4, 5])),
            make_step("process", "verify", loop=LOOP3),
            make_step("verify", "end"),
            make_step("end"),
        ),
        "start:i0 start:i1 start:i2 start:i3 start:i4 process:i0 process:i1 process:i2 verify end",
        "started enter start{5} I(start:i0) W(start:i0) I(start:i1) W(start:i1) I(start:i2) "
        "W(start:i2) I(start:i3) W(start:i3) I(start:i4) W(start:i4) enter process{3} "
        "I(process:i0) W(process:i0) I(process:i1) W(process:i1) I(process:i2) W(process:i2) "
        f"{enter('verify')} {enter('end')} {DONE}",
        56,
    ),
    Case(
        "empty loop",
        make_playbook(start("lp"), make_step("lp", "end", loop=make_loop([])), make_step("end")),
        "start end",
        f"{START} enter lp{{0}} exit lp {enter('end')} {DONE}",
        15,
    ),
    Case(
        "inclusive a, b and a join",
        make_playbook(
            start("a", "b", mode="inclusive"),
            make_step("a", "join"),
            make_step("b", "join"),
            make_step("join", "end"),
            make_step("end"),
        ),
        "start a b join end",
        f"{START} enter a enter b I(a) I(b) W(a) W(b) {enter('join')} {enter('end')} {DONE}",
        31,
    ),
    Case(
        "failing step",
        make_playbook(start("a"), make_step("a", "end"), make_step("end")),
        "start !a",
        f"{START} enter a I(a) F(a) {FAILED}",
        13,
    ),
    Case(
        "parallel, b fails last",
        make_playbook(start("a", "b", mode="inclusive"), make_step("a"), make_step("b")),
        "start a !b",
        f"{START} enter a enter b I(a) I(b) W(a) F(b) {FAILED}",
        19,
    ),
    Case(
        "parallel, a fails first",
        make_playbook(
            start("a", "b", mode="inclusive"),
            make_step("a", "join"),
            make_step("b", "join"),
            make_step("join", "end"),
            make_step("end"),
        ),
        "start !a b",
        f"{START} enter a enter b I(a) I(b) F(a) W(b) {FAILED}",
        19,
    ),
    Case(
        "sequential loop, i1 of 3 fails",
        make_playbook(start("lp"), make_step("lp", "end", loop=LOOP3), make_step("end")),
        "start lp:i0 !lp:i1",
        f"{START} enter lp{{3}} I(lp:i0) W(lp:i0) I(lp:i1) F(lp:i1) {FAILED}",
        18,
    ),
    Case(
        "evaluate error",
        make_playbook(start(when("a", "{{ 1 + missing }}")), make_step("a")),
        "start",
        f"{START} {FAILED}",
        7,
    ),
    Case(
        "step set",
        make_playbook(start("end", set={"ctx.x": "1"}), make_step("end")),
        "start end",
        f"{START} set {enter('end')} {DONE}",
        14,
    ),
    Case(
        "arc set",
        make_playbook(
            start(make_arc("end", set={"ctx.x": "1"}), set={"ctx.y": "1"}), make_step("end")
        ),
        "start end",
        f"{START} set set {enter('end')} {DONE}",
        15,
    ),
    Case(
        "loop by arcs, two rounds",
        make_playbook(
            start("w"),
            make_step("w", "g"),
            make_step(
                "g", when("w", "ctx.n < 2"), make_arc("end"), set={"ctx.n": "{{ output.n }}"}
            ),
            make_step("end"),
        ),
        "start w g w g end",
        f"{START} {enter('w')} {enter('g')} set {enter('w')} {enter('g')} set"
        f" {enter('end')} {DONE}",
        39,
    ),
    Case(
        "fanout_reduce: two branches, a reduce step, no end",
        make_playbook(
            start("a", "b", mode="inclusive"),
            make_step("a", "reduce"),
            make_step("b", "reduce"),
            make_step("reduce"),
        ),
        "start b a reduce",
        f"{START} enter a enter b I(a) I(b) W(b) W(a) {enter('reduce')} {DONE}",
        25,
    ),
    Case(
        "looped start over nothing",
        make_playbook(start("end", loop=make_loop([])), make_step("end")),
        "end",
        f"started enter start{{0}} exit start {enter('end')} {DONE}",
        10,
    ),
]


def optional(guard: Any) -> Playbook:
    return make_playbook(
        start(when("opt", guard), make_arc("fin"), mode="exclusive"),
        make_step("opt", "fin"),
        make_step("fin"),
    )


def nested(mode: str) -> Playbook:
    return make_playbook(
        start("a", "b", mode="inclusive"),
        make_step("a", "c", "d", mode=mode),
        make_step("b", "j2"),
        make_step("c", "j1"),
        make_step("d", "j1"),
        make_step("j1", "j2"),
        make_step("j2"),
    )


FAILING_BRANCH = make_playbook(
    start("a", "b", mode="inclusive"),
    make_step("a", "j"),
    make_step("b", "j"),
    make_step("j", "end"),
    make_step("end"),
)

SECTION_22 = [
    Case(
        "1 optional step, taken",
        optional(guard=True),
        "start opt fin",
        f"{START} {enter('opt')} {enter('fin')} {DONE}",
        19,
    ),
    Case(
        "1 optional step, not taken",
        optional(guard=False),
        "start fin",
        f"{START} skip opt {enter('fin')} {DONE}",
        14,
    ),
    Case(
        "2 nested diamonds",
        nested("inclusive"),
        "start a b c d j1 j2",
        f"{START} enter a enter b I(a) I(b) W(a) enter c enter d I(c) I(d) W(b) W(c) W(d)"
        f" {enter('j1')} {enter('j2')} {DONE}",
        43,
    ),
    Case(
        "2 nested diamonds, a exclusive",
        nested("exclusive"),
        "start a b c j1 j2",
        f"{START} enter a enter b I(a) I(b) W(a) skip d enter c I(c) W(b) W(c)"
        f" {enter('j1')} {enter('j2')} {DONE}",
        38,
    ),
    Case(
        "3 selected by one, rejected by another",
        make_playbook(start("m", "a", mode="inclusive"), make_step("a", when("m")), make_step("m")),
        "start a m",
        f"{START} {enter('a')} {enter('m')} {DONE}",
        19,
    ),
    Case(
        "4 dead end beside a branch",
        make_playbook(
            start("a", "b", mode="inclusive"),
            make_step("a", when("c")),
            make_step("b", "end"),
            make_step("c", "end"),
            make_step("end"),
        ),
        "start a b end",
        f"{START} enter a enter b I(a) I(b) W(a) skip c W(b) {enter('end')} {DONE}",
        26,
    ),
    Case(
        "5 join behind a cycle",
        make_playbook(
            start("h", "x", mode="inclusive"),
            make_step("h", "u"),
            make_step("u", when("J", "output.n >= 2"), make_arc("r")),
            make_step("r", "h"),
            make_step("x", "J"),
            make_step("J", "end"),
            make_step("end"),
        ),
        "start h x u r h u J end",
        f"{START} enter h enter x I(h) I(x) W(h) enter u I(u) W(x) W(u) {enter('r')} {enter('h')}"
        f" {enter('u')} {enter('J')} {enter('end')} {DONE}",
        55,
    ),
    Case(
        "6 join on a cycle, two rounds",
        make_playbook(
            start("h"),
            make_step("h", "a", "b", mode="inclusive"),
            make_step("a", "j"),
            make_step("b", "j"),
            make_step("j", when("h", "output.n < 2"), make_arc("end")),
            make_step("end"),
        ),
        "start h a b j h a b j end",
        f"{START} {enter('h')} enter a enter b I(a) I(b) W(a) W(b) {enter('j')}"
        f" {enter('h')} enter a enter b I(a) I(b) W(a) W(b) {enter('j')} {enter('end')} {DONE}",
        61,
    ),
    Case(
        "7 self arc",
        make_playbook(
            start("a"), make_step("a", when("a", "output.n < 3"), make_arc("b")), make_step("b")
        ),
        "start a a a b",
        f"{START} {enter('a')} {enter('a')} {enter('a')} {enter('b')} {DONE}",
        31,
    ),
    Case(
        "8 loop of 2 inside a cycle, two rounds",
        make_playbook(
            start("h"),
            make_step("h", "lp"),
            make_step("lp", "g", loop=make_loop([1, 2])),
            make_step("g", when("h", "output.n < 2"), make_arc("end")),
            make_step("end"),
        ),
        "start h lp:i0 lp:i1 g h lp:i0 lp:i1 g end",
        f"{START} "
        + f"{enter('h')} enter lp{{2}} I(lp:i0) W(lp:i0) I(lp:i1) W(lp:i1) {enter('g')} " * 2
        + f"{enter('end')} {DONE}",
        59,
    ),
    Case(
        "9 cycle with two entries",
        make_playbook(
            start("h"),
            make_step("h", when("b"), make_arc("a")),
            make_step("a", "b"),
            make_step("b", when("a", "output.n < 2"), make_arc("end")),
            make_step("end"),
        ),
        "start h a b a b end",
        f"{START} {enter('h')} {enter('a')} {enter('b')} {enter('a')} {enter('b')}"
        f" {enter('end')} {DONE}",
        43,
    ),
    Case(
        "10 failing branch, a first",
        FAILING_BRANCH,
        "start !a b",
        f"{START} enter a enter b I(a) I(b) F(a) W(b) {FAILED}",
        19,
    ),
    Case(
        "10 failing branch, b last",
        FAILING_BRANCH,
        "start a !b",
        f"{START} enter a enter b I(a) I(b) W(a) F(b) {FAILED}",
        19,
    ),
    Case(
        "11 failure reaches further",
        make_playbook(
            start("a", "b", mode="inclusive"),
            make_step("a", "m"),
            make_step("m", "end"),
            make_step("b", "end"),
            make_step("end"),
        ),
        "start !a b",
        f"{START} enter a enter b I(a) I(b) F(a) W(b) {FAILED}",
        19,
    ),
    Case(
        "11 independent branch goes on",
        make_playbook(
            start("a", "b", mode="inclusive"),
            make_step("a", "end"),
            make_step("b", "c"),
            make_step("c", "end"),
            make_step("end"),
        ),
        "start !a b c",
        f"{START} enter a enter b I(a) I(b) F(a) W(b) {enter('c')} {FAILED}",
        25,
    ),
    Case(
        "12 handled failure",
        make_playbook(
            start("a"),
            make_step("a", when("x", "event.name == 'call.error'"), make_arc("y")),
            make_step("x"),
            make_step("y"),
        ),
        "start !a x",
        f"{START} enter a I(a) F(a) skip y {enter('x')} {DONE}",
        20,
    ),
    Case(
        "13 parallel loop, i1 of 3 fails first",
        make_playbook(start("lp"), make_step("lp", "end", loop=PARALLEL3), make_step("end")),
        "start !lp:i1 lp:i0 lp:i2",
        f"{START} enter lp{{3}} I(lp:i0) I(lp:i1) I(lp:i2) F(lp:i1) W(lp:i0) W(lp:i2) {FAILED}",
        23,
    ),
    Case(
        "13 the same with max_in_flight 2",
        make_playbook(
            start("lp"),
            make_step("lp", "end", loop=make_loop([1, 2, 3], "parallel", max_in_flight=2)),
            make_step("end"),
        ),
        "start !lp:i1 lp:i0",
        f"{START} enter lp{{3}} I(lp:i0) I(lp:i1) F(lp:i1) W(lp:i0) {FAILED}",
        18,
    ),
    Case(
        "14 re-entry guarded off",
        make_playbook(
            start("w"),
            make_step("w", "g", when="not w.n"),
            make_step("g", when("w", "output.n < 3"), make_arc("end")),
            make_step("end"),
        ),
        "start w g g g end",
        f"{START} {enter('w')} {enter('g')} skip w {enter('g')} skip w {enter('g')}"
        f" {enter('end')} {DONE}",
        39,
    ),
    Case(
        "14 guarded-off steps leading to each other",
        make_playbook(
            start("a"), make_step("a", "b", when="false"), make_step("b", "a", when="false")
        ),
        "start",
        f"{START} skip a skip b {DONE}",
        9,
    ),
    Case(
        "15 two arcs of one router into a parallel loop",
        make_playbook(
            start("lp", "lp", mode="inclusive"),
            make_step("lp", "end", loop=make_loop([1, 2], "parallel")),
            make_step("end"),
        ),
        "start lp:i0 lp:i1 end",
        f"{START} enter lp{{2}} I(lp:i0) I(lp:i1) W(lp:i0) W(lp:i1) {enter('end')} {DONE}",
        24,
    ),
    Case(
        "15 two branches into a parallel loop",
        make_playbook(
            start("a", "b", mode="inclusive"),
            make_step("a", "lp"),
            make_step("b", "lp"),
            make_step("lp", "end", loop=make_loop([1, 2], "parallel")),
            make_step("end"),
        ),
        "start a b lp:i0 lp:i1 end",
        f"{START} enter a enter b I(a) I(b) W(a) W(b) enter lp{{2}} I(lp:i0) I(lp:i1)"
        f" W(lp:i0) W(lp:i1) {enter('end')} {DONE}",
        36,
    ),
    Case(
        "15 two guarded-off steps into a parallel loop",
        make_playbook(
            start("a", "b", mode="inclusive"),
            make_step("a", "lp", when="false"),
            make_step("b", "lp", when="false"),
            make_step("lp", "end", loop=make_loop([1, 2], "parallel")),
            make_step("end"),
        ),
        "start lp:i0 lp:i1 end",
        f"{START} skip a skip b enter lp{{2}} I(lp:i0) I(lp:i1) W(lp:i0) W(lp:i1)"
        f" {enter('end')} {DONE}",
        26,
    ),
    Case(
        "16 inclusive, nothing matches",
        make_playbook(
            start(when("a"), when("b"), mode="inclusive"),
            make_step("a", "end"),
            make_step("b", "end"),
            make_step("end"),
        ),
        "start",
        f"{START} skip a skip b {DONE}",
        9,
    ),
    Case(
        "17 empty loops in a row",
        make_playbook(
            start("l1"),
            make_step("l1", "l2", loop=make_loop([])),
            make_step("l2", "end", loop=make_loop([])),
            make_step("end"),
        ),
        "start end",
        f"{START} enter l1{{0}} exit l1 enter l2{{0}} exit l2 {enter('end')} {DONE}",
        17,
    ),
    Case(
        "17 looped start over nothing, no next",
        make_playbook(start(loop=make_loop([]))),
        "",
        f"started enter start{{0}} exit start {DONE}",
        4,
    ),
    Case(
        "17 an empty loop that leads to itself",
        make_playbook(start("lp"), make_step("lp", "lp", loop=make_loop([]))),
        "start",
        f"{START} {FAILED}",
        7,
    ),
]


def play(case: Case, **options: Any) -> Run:
    run = Run(case.playbook, payload=case.payload, **options).start()
    visits: dict[str, int] = {}
    for word in case.order.split():
        label = word.removeprefix("!")
        visits[label] = visits.get(label, 0) + 1
        run.work(label, fails=word.startswith("!"), data={"n": visits[label]})
    return run


@pytest.mark.parametrize("case", SECTION_16 + SECTION_22, ids=lambda case: case.name)
def test_the_log_is_the_contract_s(case: Case) -> None:
    run = play(case)

    assert run.story == case.story
    assert len(run.rows) == case.rows
    assert run.ended == [run.execution.status]


@pytest.mark.parametrize("case", SECTION_16 + SECTION_22, ids=lambda case: case.name)
def test_nothing_changes_when_every_decision_starts_from_the_log(case: Case) -> None:
    """A reload before each decision, from the whole log and from a snapshot without values."""
    whole = play(case, reload=lambda _turn: True)
    assert whole.story == case.story

    run = Run(case.playbook, payload=case.payload)
    run.reload = lambda _turn: run.take_snapshot() or True
    run.start()
    visits: dict[str, int] = {}
    for word in case.order.split():
        label = word.removeprefix("!")
        visits[label] = visits.get(label, 0) + 1
        run.work(label, fails=word.startswith("!"), data={"n": visits[label]})
    assert run.story == case.story


def test_case_14_end_guarded_off_is_section_16_s() -> None:
    """Two more variants of case 14 are rows of the contract's table."""
    names = {case.name: case.rows for case in SECTION_16}

    assert names["guard-skipped end"] == 8
    assert names["guard-skipped step leading to end"] == 14


LOOP5 = [1, 2, 3, 4, 5]


def cancel_in_loop(loop: Any) -> Run:
    run = Run(make_playbook(start("lp"), make_step("lp", "end", loop=loop), make_step("end")))
    return run.start().work("start")


def test_case_19_cancel_while_a_sequential_loop_is_half_issued() -> None:
    run = cancel_in_loop(make_loop(LOOP5)).work("lp:i0")
    command = run.find("lp:i1")
    started, *rest = run.outcome_events(command)
    run.work_start(command, started)
    run.decide(cancel())

    assert len(run.rows) == 16
    assert run.story.endswith("I(lp:i1) playbook_cancelled")

    late = run.finish(command, rest)

    assert late.answer.body == {"status": "ok"}
    assert [row.event_type for row in late.events] == ["call.done", "command.completed"]
    assert run.execution.status == "CANCELLED"


def test_case_19_cancel_while_a_parallel_loop_is_half_issued() -> None:
    run = cancel_in_loop(make_loop(LOOP5, "parallel", max_in_flight=2))
    first, second = run.find("lp:i0"), run.find("lp:i1")
    started, *rest = run.outcome_events(first)
    run.work_start(first, started)
    cancelled = run.decide(cancel())

    assert len(run.rows) == 12
    assert [(change.event_id, change.status) for change in cancelled.changes] == [
        (first.event_id, "CANCELLED"),
        (second.event_id, "CANCELLED"),
    ]

    assert run.claim(second, "w2").answer.status == 409
    assert run.claim(second, "w2").answer.error == "Execution has been cancelled"
    run.finish(first, rest)
    assert not run.decide(Continued()).events
    assert len(run.rows) == 14


def test_case_20_two_outcomes_in_one_batch() -> None:
    fan_in = next(case for case in SECTION_16 if case.name == "inclusive a, b and a join")
    run = Run(fan_in.playbook).start().work("start")
    a, b = run.find("a"), run.find("b")
    for command in (a, b):
        run.claim(command, "w1")
    events = [event for command in (a, b) for event in run.outcome_events(command)]
    run.decide(posted(tuple(events), batch=True))
    run.open = [command for command in run.open if command.step == "join"]
    run.work_all()

    types = [row.event_type for row in run.rows if row.node_name == "join"]
    assert types.count("step.enter") == 1
    assert len(run.rows) == 31


def test_case_22_the_worker_of_a_dies() -> None:
    run = Run(make_playbook(start("a"), make_step("a"))).start().work("start")
    command = run.find("a")
    started, *late = run.outcome_events(command)
    run.work_start(command, started)
    run.wait(120)
    run.workers = {}
    run.claim(command, "w2")
    second = run.outcome_events(command, worker="w2", attempts=1)
    run.finish(command, second, worker="w2", attempts=1)

    assert len(run.rows) == 15
    assert run.execution.status == "COMPLETED"

    answer = run.finish(command, late).answer
    assert answer.body == {"status": "late", "reason": "finished"}
    assert len(run.rows) == 17


@pytest.mark.parametrize(
    "config",
    [
        {"url": "http://h", "retry": {"max_attempts": 3}},
        {"url": "http://h", "spec": {"policy": {"rules": [{"else": {"then": {"do": "retry"}}}]}}},
    ],
)
def test_retry_policies_leave_no_rows(config: dict[str, Any]) -> None:
    """http_retry_status_code: the worker tries again, the log shows one outcome."""
    tool = Tool(kind="http", config=config, policy=config.get("spec", {}).get("policy"))
    run = Run(make_playbook(start("end", tool=tool), make_step("end"))).start()
    context = run.find("start").context
    assert context.get("policy") == config.get("spec", {}).get("policy")
    assert context["tool_config"].get("retry") == config.get("retry")
    run.work_all()

    assert len(run.rows) == 13


def test_a_soft_error_writes_the_log_of_a_success() -> None:
    logs = []
    for status in ("success", "error", "timeout"):
        run = Run(make_playbook(start("end"), make_step("end"))).start()
        command = run.find("start")
        run.finish(command, run.outcome_events(command, status=status, data={"n": 1}))
        run.open.remove(command)
        run.work("end")
        assert run.rows_of("command.completed")[0].status == status
        logs.append([row.event_type for row in run.rows])

    assert logs[0] == logs[1] == logs[2]
    assert len(logs[0]) == 13


def test_a_large_result_changes_nothing_but_the_data() -> None:
    """Stored outside; the chosen fields stay inline beside its reference."""
    run = Run(make_playbook(start("end"), make_step("end"))).start()
    command = run.find("start")
    reference = {"kind": "result_ref", "ref": "noetl://execution/7000/result/start/1"}
    data = {"_ref": reference["ref"], "count": 3}
    result = {"status": "success", "context": {"data": data}, "reference": reference}
    started, done, completed = run.outcome_events(command)
    done = done.but(context={**done.context, "result": result})
    run.finish(command, [started, done, completed])

    scope = run.find("end").context["render_context"]
    assert scope["start"] == {**data, "data": data}
    assert run.rows_of("call.done")[0].result["context"]["result"]["reference"] == reference
    run.open.remove(command)
    run.work("end")
    assert len(run.rows) == 13


def test_a_cancel_during_a_step_leaves_only_the_worker_s_late_rows() -> None:
    run = Run(make_playbook(start("end"), make_step("end"))).start()
    command = run.find("start")
    started, *rest = run.outcome_events(command)
    run.work_start(command, started)
    run.decide(cancel())
    run.finish(command, rest)

    assert [row.event_type for row in run.rows] == [
        "playbook_started",
        "command.issued",
        "command.claimed",
        "command.started",
        "playbook_cancelled",
        "call.done",
        "command.completed",
    ]
