"""Time and memory of decisions, the engine alone: no broker, no database, no worker.

Shows whether an iteration, a step or a child costs the same at the end as at the beginning. By
hand: ``.venv/bin/python benchmarks/engine.py [--iterations 10000] [--only NAME]``. For each
shape it prints microseconds per finished command for each tenth of the run, the last tenth as a
multiple of the second one, bytes of the largest snapshot, and the peak of Python's memory per
command; with ``--reload N`` the execution is restored from snapshot and tail every N commands.
"""

import argparse
import statistics
import sys
import time
import tracemalloc
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "libs" / "noetl_engine" / "tests"))

from engine_driver import Run
from noetl_contract.ingress import ExecuteMessage
from noetl_engine.outputs import NewCommand
from noetl_engine.playbook import parse_playbook

HEAD = (
    "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: bench, path: bench/x}\nworkflow:\n"
)


def loop(count: int, spec: str) -> str:
    """Return a loop over numbers between two steps."""
    return (
        f"{HEAD}  - {{step: start, tool: {{kind: noop}}, next: [lp]}}\n"
        f"  - step: lp\n    loop: {{in: '{{{{ {count} }}}}', iterator: item, spec: {spec}}}\n"
        "    tool: {kind: python, code: result = item}\n    next: [last]\n"
        "  - {step: last, tool: {kind: noop}}\n"
    )


def chain(count: int) -> str:
    """Return steps one after the other, each reading the one before."""
    text = f"{HEAD}  - {{step: start, tool: {{kind: noop}}, next: [s1]}}\n"
    for number in range(1, count):
        before = f"s{number - 1}" if number > 1 else "start"
        following = f", next: [s{number + 1}]" if number < count - 1 else ""
        tool = f"{{kind: noop, seen: '{{{{ {before}.n }}}}'}}"
        text += f"  - {{step: s{number}, tool: {tool}{following}}}\n"
    return text


def fan(count: int, tool: str = "{kind: noop}") -> str:
    """Return branches that meet again."""
    names = [f"b{number}" for number in range(count)]
    text = f"{HEAD}  - {{step: start, tool: {{kind: noop}}, next: [{', '.join(names)}]}}\n"
    text += "".join(f"  - {{step: {name}, tool: {tool}, next: [join]}}\n" for name in names)
    return text + "  - {step: join, tool: {kind: noop}}\n"


def cycle(rounds: int) -> str:
    """Return two steps that lead to each other, counting in a variable."""
    return (
        f"{HEAD}  - {{step: start, tool: {{kind: noop}}, next: [w]}}\n"
        "  - {step: w, tool: {kind: noop}, next: [g]}\n"
        "  - step: g\n    tool: {kind: noop}\n    set: {ctx.n: '{{ (n | default(0)) + 1 }}'}\n"
        f"    next: {{arcs: [{{step: w, when: 'n < {rounds}'}}, {{step: last}}]}}\n"
        "  - {step: last, tool: {kind: noop}}\n"
    )


def cursor() -> str:
    """Return a cursor loop with frames of ten rows."""
    return (
        f"{HEAD}  - {{step: start, tool: {{kind: noop}}, next: [cur]}}\n"
        "  - step: cur\n    loop:\n      iterator: row\n      cursor: {claim: SELECT 1}\n"
        "      spec: {mode: cursor, frame: {max_rows: 10, row_concurrency: 5}}\n"
        "    tool: {kind: python, code: result = row}\n    next: [last]\n"
        "  - {step: last, tool: {kind: noop}}\n"
    )


def shapes(iterations: int) -> dict[str, str]:
    """Return the playbooks by name."""
    child = "{kind: playbook, path: bench/child, return_step: end}"
    return {
        "sequential": loop(iterations, "{mode: sequential}"),
        "parallel, 50 in flight": loop(iterations, "{mode: parallel, max_in_flight: 50}"),
        "parallel, all at once": loop(iterations, "{mode: parallel}"),
        "cursor, frames of 10": cursor(),
        "cycle of two steps": cycle(iterations // 2),
        "chain of 200": chain(200),
        "fan-out of 100 and join": fan(100),
        "100 children": fan(100, child),
    }


def _data_of(command: NewCommand, number: int, most_rows: int) -> dict[str, object]:
    cursor = command.meta.get("cursor") or {}
    if cursor.get("phase") != "claim":
        return {"n": number}
    left = most_rows - 10 * cursor["frame"]
    return {"rows": [{"id": row} for row in range(min(10, left))]}


def play(text: str, *, reload_every: int, most_rows: int) -> tuple[Run, list[float], int]:
    """Run to the end; seconds per command, and the bytes of the largest snapshot."""
    run = Run(parse_playbook(text))
    run.decide(
        ExecuteMessage(execution_id=7000, catalog_id=42, path="bench/x", version=1, payload={})
    )
    spans: list[float] = []
    largest = 0
    while run.open:
        command = run.open.pop(0)
        events = run.outcome_events(command, data=_data_of(command, len(spans), most_rows))
        if reload_every and len(spans) % reload_every == 0:
            run.take_snapshot()
            run.execution = run.restore()
        if len(spans) % 64 == 0:
            largest = max(largest, len(run.execution.snapshot()))
        began = time.perf_counter()
        run.work_start(command, events[0])
        run.finish(command, events)
        spans.append(time.perf_counter() - began)
    assert run.ended == ["COMPLETED"], run.ended
    return run, spans, largest


def tenths(spans: list[float]) -> list[float]:
    """Return the median microseconds of each tenth; the last command, which ends all, left out."""
    size = max(1, (len(spans) - 1) // 10)
    return [1e6 * statistics.median(spans[n * size : (n + 1) * size]) for n in range(10)]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=10_000)
    parser.add_argument("--only", help="part of a shape's name")
    parser.add_argument("--reload", type=int, default=0)
    options = parser.parse_args()
    for name, text in shapes(options.iterations).items():
        if options.only and options.only not in name:
            continue
        _run, spans, snapshot = play(
            text, reload_every=options.reload, most_rows=options.iterations
        )
        medians = tenths(spans)
        print(f"{name}: {len(spans)} commands, longest {1e3 * max(spans):.0f} ms")
        print("  µs by tenth: " + " ".join(f"{value:.0f}" for value in medians))
        print(f"  last tenth / second tenth: {medians[-1] / medians[1]:.2f}")
        tracemalloc.start()
        run, spans, _ = play(text, reload_every=0, most_rows=options.iterations)
        size = run.execution.memory_size()
        run.rows.clear()
        run.decisions.clear()
        run.issued.clear()
        current, _peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        print(
            f"  largest snapshot {snapshot} bytes; held at the end {current // len(spans)} bytes a "
            f"command, {size // len(spans)} by the cache's own estimate"
        )


if __name__ == "__main__":
    main()
