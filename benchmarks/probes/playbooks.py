"""Playbooks that cases run, all below ``bench/``."""

STEPS = 10
NOOP = "{kind: noop}"
TOOLS = {
    "noop": NOOP,
    "python": "{kind: python, code: 'result = {\"n\": 1}'}",
    "http": "{kind: http, method: GET, url: '{{ workload.url }}'}",
}


def _head(name: str, workload: str = "") -> str:
    given = f"workload: {workload}\n" if workload else ""
    return (
        "apiVersion: noetl.io/v2\nkind: Playbook\n"
        f"metadata: {{name: {name}, path: bench/{name}}}\n{given}workflow:\n"
    )


def chain(name: str, tool: str, length: int = STEPS) -> str:
    """Return steps one after the other."""
    lines = []
    for number in range(length):
        arc = f"\n    next: {{arcs: [{{step: s{number + 1}}}]}}" if number + 1 < length else ""
        step = f"s{number}" if number else "start"
        lines.append(f"  - step: {step}\n    tool: {tool}{arc}\n")
    workload = "{url: ''}" if "workload.url" in tool else ""
    return _head(name, workload) + "".join(lines)


def loop(name: str, spec: str, tool: str = NOOP) -> str:
    """Return a loop over ``workload.count`` numbers."""
    return (
        _head(name, "{count: 10}")
        + f"""  - step: start
    loop: {{in: "{{{{ range(count) }}}}", iterator: item, spec: {spec}}}
    tool: {tool}
    next: {{arcs: [{{step: end}}]}}
  - step: end
    tool: {NOOP}
"""
    )


def fan(name: str, width: int) -> str:
    """Return branches that meet again."""
    arcs = ", ".join(f"{{step: b{number}}}" for number in range(width))
    branches = "".join(
        f"  - step: b{number}\n    tool: {NOOP}\n    next: {{arcs: [{{step: join}}]}}\n"
        for number in range(width)
    )
    return (
        _head(name)
        + f"  - step: start\n    tool: {NOOP}\n"
        + f"    next: {{spec: {{mode: inclusive}}, arcs: [{arcs}]}}\n"
        + branches
        + f"  - step: join\n    tool: {NOOP}\n"
    )


def children(name: str, child: str) -> str:
    """Return a loop of which each iteration is an execution of its own, 50 at once."""
    called = f"kind: playbook, path: bench/{child}, return_step: start"
    tool = f"{{{called}, args: {{n: '{{{{ item }}}}'}}}}"
    return loop(name, "{mode: parallel, max_in_flight: 50}", tool)
