"""Playbooks of the simulated executions; their tools do nothing but take time."""

_HEAD = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: %s, path: simulated/%s}\n"
_TOOL = '{kind: python, code: "result = 1"}'


def _chain(name: str, steps: int) -> str:
    lines = []
    for number in range(steps):
        step = "start" if number == 0 else f"step{number}"
        lines.append(f"  - step: {step}\n    tool: {_TOOL}")
        if number + 1 < steps:
            lines.append(f"    next: {{arcs: [{{step: step{number + 1}}}]}}")
    return _HEAD % (name, name) + "workflow:\n" + "\n".join(lines) + "\n"


CHAIN = _chain("chain", 3)
LONG_CHAIN = _chain("long_chain", 8)
JOIN = (
    _HEAD % ("join", "join")
    + f"""workflow:
  - step: start
    tool: {_TOOL}
    next: {{spec: {{mode: inclusive}}, arcs: [{{step: left}}, {{step: right}}, {{step: third}}]}}
  - step: left
    tool: {_TOOL}
    next: {{arcs: [{{step: both}}]}}
  - step: right
    tool: {_TOOL}
    next: {{arcs: [{{step: both}}]}}
  - step: third
    tool: {_TOOL}
    next: {{arcs: [{{step: both}}]}}
  - step: both
    tool: {_TOOL}
"""
)


def _loop(name: str, items: int, at_once: int) -> str:
    return (
        _HEAD % (name, name)
        + f"""workload: {{items: {list(range(items))}}}
workflow:
  - step: start
    loop:
      in: "{{{{ workload.items }}}}"
      iterator: item
      spec: {{mode: parallel, max_in_flight: {at_once}}}
    tool: {_TOOL}
    next: {{arcs: [{{step: last}}]}}
  - step: last
    tool: {_TOOL}
"""
    )


LOOP = _loop("loop", 5, 3)
WIDE = _loop("wide", 18, 5)
ROUNDS = (
    _HEAD % ("rounds", "rounds")
    + f"""workload: {{items: [1, 2, 3]}}
workflow:
  - step: start
    loop: {{in: "{{{{ workload.items }}}}", iterator: item}}
    tool: {_TOOL}
    next: {{arcs: [{{step: last}}]}}
  - step: last
    tool: {_TOOL}
"""
)
SLEEP = (
    _HEAD % ("sleep", "sleep")
    + f"""workflow:
  - step: start
    tool: {_TOOL}
    next: {{arcs: [{{step: rest}}]}}
  - step: rest
    tool: {{kind: sleep, duration: 3s}}
    next: {{arcs: [{{step: last}}]}}
  - step: last
    tool: {_TOOL}
"""
)
ALL = {
    "chain": CHAIN, "long_chain": LONG_CHAIN, "join": JOIN, "loop": LOOP, "rounds": ROUNDS,
    "sleep": SLEEP, "wide": WIDE,
}  # fmt: skip
