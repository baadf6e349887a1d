"""Explores the model of writes and commands with its large bounds: ``make model``.

Prints a table of the worlds that were explored, and the trace of what is wrong. Ends with 1 if an
invariant is broken, or a rule is missing and nothing is. ``--small`` explores those of the tests;
``--traces`` prints what each missing rule leads to.
"""

import argparse
import sys
from collections.abc import Iterator

from exploration import MOST, Exploration, explore
from explored import LARGE, MISSING, SMALL
from worlds import Bounds


def main() -> int:
    """Explore what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="the worlds of the tests only")
    parser.add_argument("--traces", action="store_true", help="what each missing rule leads to")
    parser.add_argument("--only", default="", help="worlds with this in their name")
    parser.add_argument("--most", type=int, default=MOST, help="states of a world")
    arguments = parser.parse_args()
    are_good = True
    states = seconds = 0.0
    _print(f"{'world':<48} {'states':>8} {'steps':>9} {'depth':>5} {'seconds':>7}")
    for case in SMALL if arguments.small else (*SMALL, *LARGE):
        if arguments.only in case.name:
            found = explore(case.bounds, most=arguments.most)
            are_good = are_good and found.is_whole and not found.broken
            states, seconds = states + found.states, seconds + found.seconds
            _print(f"{case.name:<48} {_figures(found)}")
            for line in _what_is_wrong(case.bounds, found):
                _print(line)
    _print(f"{'all':<48} {states:>8.0f} {'':>9} {'':>5} {seconds:>7.1f}")
    _print(f"\n{'without a rule':<64} {'states':>7}  what is wrong then")
    for missing in MISSING:
        if arguments.only in missing.name:
            found = explore(missing.bounds, missing.rules)
            is_found = missing.broken in found.broken and bool(found.broken)
            are_good = are_good and is_found
            mark = "" if is_found else f"NOT FOUND: {missing.broken}; "
            _print(f"{missing.name:<64} {found.states:>7}  {mark}{found.broken}")
            for line in found.trace if arguments.traces else ():
                _print(f"    {line}")
    return int(not are_good)


def _figures(found: Exploration) -> str:
    return f"{found.states:>8} {found.moves:>9} {found.depth:>5} {found.seconds:>7.1f}"


def _what_is_wrong(bounds: Bounds, found: Exploration) -> Iterator[str]:
    if not found.is_whole and not found.broken:
        yield "    not whole: it has more states"
    if found.broken:
        yield f"    {bounds}"
        yield f"    WRONG: {found.broken}"
        yield from (f"    {line}" for line in found.trace)


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
