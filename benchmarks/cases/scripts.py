"""Figures of programs of their own: their output is put into tables."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.cases.case import Case, Settings
from benchmarks.report.results import Found, Table

_FOLDER = Path(__file__).parents[1]
_SECONDS = 3 * 3600
_FIGURE = re.compile(r"^here (.+) (-?[\d.]+)$")
_FLOOR = re.compile(r"^(bare .+?): (.+)$")
_GOAL = re.compile(r"^(\S.*?) {2,}([<>]= [\d.]+) ")
_LISTED = re.compile(r"^(\S.*?) {2,}(\S.*?) +(\d+) +(\d+) +([\d.]+) +([\d.]+)(?: <<)?$")
type _Rows = list[list[str | int | float | None]]


def run_edge(settings: Settings) -> Iterator[Found]:
    """Claims, events, starts and reads over HTTP."""
    counts = {"--events": 60_000, "--starts": 3000, "--reads": 10_000, "--singles": 300}
    options = [
        word for name, count in counts.items() for word in (name, str(settings.scaled(count, 64)))
    ]
    lines = _printed("edge.py", *options, "--executions", str(settings.scaled(60, 16)))
    goals = dict(found.groups() for line in lines if (found := _GOAL.match(line)))
    rows: _Rows = [
        [found[1], float(found[2]), goals.get(found[1], "")]
        for line in lines
        if (found := _FIGURE.match(line))
    ]
    floors = [[found[1], found[2]] for line in lines if (found := _FLOOR.match(line))]
    yield Table("edge", "Over HTTP", ["what", "figure", "goal"], rows)
    yield Table("edge_floors", "The floors of the same run", ["what", "figure"], floors)


def run_lists(settings: Settings) -> Iterator[Found]:
    """Every list with a million executions."""
    lines = _printed("lists.py", "--size", str(settings.scaled(1_000_000, 2000)), ends=(0, 1))
    rows: _Rows = [
        [found[1], found[2], int(found[3]), float(found[4]), float(found[5]), float(found[6])]
        for line in lines
        if (found := _LISTED.match(line))
    ]
    columns = ["list", "page", "rows", "kB", "p50 ms", "p99 ms"]
    notes = [line for line in lines if line.endswith(" events")]
    yield Table("lists", "Lists", columns, rows, notes)


def _printed(name: str, *options: str, ends: tuple[int, ...] = (0,)) -> list[str]:
    done = subprocess.run(
        [sys.executable, str(_FOLDER / name), *options],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode not in ends:
        raise RuntimeError(f"{name} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout.splitlines()


CASES = tuple(
    case
    for case in (
        Case("edge", "claims, events, starts, reads and foreign workers over HTTP", run_edge),
        Case("lists", "every list, filter and page with 1,000,000 executions", run_lists),
    )
    if (_FOLDER / f"{case.name}.py").is_file()
)
