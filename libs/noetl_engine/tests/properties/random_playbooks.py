"""Random playbooks as texts, with every construct the engine decides about.

Cycles are bounded: an arc that may lead back goes by the number of runs, which the tools count,
or by a variable that its own ``set`` counts.
"""

import json
from typing import Any

from hypothesis import strategies as st

MAX_STEPS = 6
GUARDS = (
    None,
    None,
    "{{ true }}",
    "{{ false }}",
    "{{ (output.n | default(0)) % 2 == 1 }}",
    "{{ ctx.a | default(0) > 0 }}",
    "{{ ctx.flag | default(false) }}",
)
SETS: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"ctx.a": "{{ (ctx.a | default(0)) + 1 }}"},
    {"ctx.flag": True, "ctx.b": "{{ output.n | default(7) }}"},
    {"ctx.a": "{{ nope.x + 1 }}"},
)
TIMEOUTS = ("20s", "90s", "1h")


@st.composite
def playbooks(draw: st.DrawFn) -> str:
    """The text of a valid playbook; JSON is YAML."""
    count = draw(st.integers(2, MAX_STEPS))
    names = ["start", *(f"s{index}" for index in range(1, count))]
    workflow = [draw(steps(names, index)) for index in range(count)]
    return json.dumps(
        {
            "apiVersion": "noetl.io/v2",
            "kind": "Playbook",
            "metadata": {"name": "random", "path": "tests/random"},
            "workload": {"items": [1, 2], "limit": 1},
            "workflow": workflow,
        }
    )


@st.composite
def steps(draw: st.DrawFn, names: list[str], index: int) -> dict[str, Any]:
    step: dict[str, Any] = {"step": names[index], "tool": draw(tools())}
    if draw(st.integers(0, 3)) == 3:
        step["loop"] = draw(loops(is_start=index == 0))
    if index and draw(st.integers(0, 5)) == 5:
        step["when"] = draw(st.sampled_from(["{{ false }}", "{{ (ctx.a | default(0)) < 2 }}"]))
    spec: dict[str, Any] = {}
    if draw(st.integers(0, 5)) == 5:
        spec["timeout"] = draw(st.sampled_from(TIMEOUTS))
    if index and draw(st.integers(0, 7)) == 7:
        rule = {"when": "{{ ctx.flag | default(false) }}", "then": {"allow": draw(st.booleans())}}
        spec["policy"] = {"admit": {"rules": [rule]}}
    if spec:
        step["spec"] = spec
    if block := draw(st.sampled_from(SETS)):
        step["set"] = block
    if index == 0 or draw(st.integers(0, 5)):
        step["next"] = draw(routers(names, index))
    return step


@st.composite
def tools(draw: st.DrawFn) -> Any:
    tool = {"kind": "python", "code": "result = 1", "input": {"a": "{{ ctx.a }}"}}
    match draw(st.integers(0, 9)):
        case 9:
            return {"kind": "container", "image": "x"}
        case 7 | 8:
            return [{"name": "one", **tool}, {"two": tool}]
        case _:
            return tool


@st.composite
def loops(draw: st.DrawFn, *, is_start: bool) -> dict[str, Any]:
    items = st.sampled_from(["[]", "[1]", "[1, 2, 3]", "{{ items }}", "[1, 2, 3, 4, 5]"])
    loop: dict[str, Any] = {"in": draw(items), "iterator": "item"}
    mode = draw(st.sampled_from(["sequential", "parallel"] + ["cursor"] * (not is_start)))
    loop["spec"] = {"mode": mode}
    if mode == "parallel":
        limit = draw(st.sampled_from([None, 1, 2, "{{ limit }}"]))
        if limit is not None:
            loop["spec"]["max_in_flight"] = limit
    if mode == "cursor":
        loop["cursor"] = {"kind": "postgres", "auth": "pg", "claim": "select {{ limit }}"}
        rows = draw(st.integers(1, 3))
        loop["spec"]["frame"] = {"max_rows": rows, "row_concurrency": draw(st.integers(1, 3))}
    return loop


@st.composite
def routers(draw: st.DrawFn, names: list[str], index: int) -> Any:
    arcs = [draw(arcs_from(names, index)) for _ in range(draw(st.sampled_from([1, 2, 2, 3])))]
    return {
        "spec": {"mode": draw(st.sampled_from(["exclusive", "inclusive"]))},
        "arcs": [arc for arc in arcs if arc is not None],
    }


@st.composite
def arcs_from(draw: st.DrawFn, names: list[str], index: int) -> dict[str, Any] | None:
    later = names[index + 1 :]
    kind = draw(st.integers(0, 9))
    if kind == 8:
        bound = draw(st.integers(1, 3))
        return {
            "step": draw(st.sampled_from(names)),
            "when": f"{{{{ (output.n | default(99)) < {bound} }}}}",
        }
    if kind == 9:
        count = f"(ctx.tries_{index} | default(0))"
        return {
            "step": draw(st.sampled_from(names)),
            "when": f"{{{{ event.name == 'call.error' and {count} < 2 }}}}",
            "set": {f"ctx.tries_{index}": f"{{{{ {count} + 1 }}}}"},
        }
    if not later:
        return None
    arc: dict[str, Any] = {"step": draw(st.sampled_from(later))}
    guard = draw(st.sampled_from(GUARDS))
    if guard is not None:
        arc["when"] = guard
    if block := draw(st.sampled_from(SETS)):
        arc["set"] = block
    return arc
