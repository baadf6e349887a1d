"""The page of the documentation: its tables, plots and machine come from the results.

A place for a table is ``<!-- table NAME -->`` and everything up to ``<!-- end -->``; ``plot NAME``
and ``machine`` work alike.
"""

import re
from pathlib import Path

from benchmarks.report import svg, text
from benchmarks.report.results import Measured, Report

_PLACE = re.compile(r"<!-- (table|plot|machine) ?(\w*) -->\n.*?<!-- end -->", re.DOTALL)
_NOTHING = "*Not measured yet.*"
# A machine with more than this used by others is not quiet.
_QUIET_PERCENT = 10.0


def write(report: Report, page: Path) -> list[str]:
    """Fill the places of a page and draw its plots beside it, in a folder of its name.

    Returns:
        Places for which there are no results; they keep what they had, or say so.
    """
    missing: list[str] = []
    folder = page.with_suffix("")
    plots = {plot.name: plot for case in report.cases.values() for plot in case.plots}

    def filled(place: re.Match[str]) -> str:
        kind, name = place[1], place[2]
        head = f"<!-- {kind} {name} -->" if name else f"<!-- {kind} -->"
        if kind == "machine" and report.cases:
            return f"{head}\n{_machine(report)}\n<!-- end -->"
        if kind == "table" and name in report.tables():
            table, case = report.tables()[name]
            return f"{head}\n{text.markdown(table)}\n\n{_origin(case)}\n<!-- end -->"
        if kind == "plot" and name in plots:
            folder.mkdir(exist_ok=True)
            (folder / f"{name}.svg").write_text(svg.draw(plots[name]))
            picture = f"![{plots[name].title}]({folder.name}/{name}.svg)"
            return f"{head}\n{picture}\n<!-- end -->"
        missing.append(f"{kind} {name}".strip())
        is_empty = place[0] == f"{head}\n<!-- end -->"
        return f"{head}\n{_NOTHING}\n<!-- end -->" if is_empty else place[0]

    page.write_text(_PLACE.sub(filled, page.read_text()))
    return missing


def _machine(report: Report) -> str:
    newest = max(report.cases.values(), key=lambda case: case.at)
    return "\n".join(f"* {what}: {how}" for what, how in newest.machine.items())


def _origin(case: Measured) -> str:
    quiet = case.busy < _QUIET_PERCENT
    others = "a quiet machine" if quiet else f"a shared machine, {case.busy:.0f} % busy before"
    size = "" if case.scale == 1 else f", at {case.scale:g} of the full size"
    return f"*Measured {case.at[:10]} at {case.commit} on {others}{size}.*"
