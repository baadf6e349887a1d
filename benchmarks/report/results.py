"""Results of cases: tables and plots, kept as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

type Value = str | int | float | None
"""A cell; None: not measured."""


@dataclass(frozen=True, slots=True)
class Table:
    """Figures of one case.

    Attributes:
        name: a word that no other table has; places in documents are named by it.
        columns: headings, with the unit where there is one.
        rows: as many values each as there are columns.
        notes: what a figure means, or why one is missing; joined to one paragraph below the table.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Value]]
    notes: Sequence[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture of figures.

    Attributes:
        kind: ``lines`` over a logarithmic axis of x, or ``bars`` of a histogram.
        series: points by label; a label that begins with ``floor`` is drawn dashed.
    """

    name: str
    title: str
    x: str
    y: str
    series: dict[str, list[tuple[float, float]]]
    kind: Literal["lines", "bars"] = "lines"


type Found = Table | Plot


@dataclass(slots=True)
class Measured:
    """Results of one case in one run, with the circumstances.

    Attributes:
        case: the name of the case.
        at: when it ended, in UTC.
        commit: the version of the code.
        scale: which part of the full size was run.
        busy: percent of the machine's CPU time that others used before the case began.
        machine: the machine's description, by what is described.
    """

    case: str
    at: str
    commit: str
    scale: float
    busy: float
    seconds: float
    machine: dict[str, str]
    tables: list[Table] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """The newest figures of each case."""

    cases: dict[str, Measured] = field(default_factory=dict)

    def tables(self) -> dict[str, tuple[Table, Measured]]:
        """Return all tables by name, each with its case."""
        return {one.name: (one, case) for case in self.cases.values() for one in case.tables}

    def save(self, path: Path) -> None:
        """Write all as JSON."""
        cases = {name: asdict(case) for name, case in sorted(self.cases.items())}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"v": 1, "cases": cases}, indent=1) + "\n")


def load(path: Path) -> Report:
    """Read a file of `Report.save`; a file that is not there holds nothing.

    Raises:
        ValueError: the file is something else.
    """
    if not path.exists():
        return Report()
    try:
        kept = json.loads(path.read_text())["cases"].values()
        return Report({one["case"]: _measured(one) for one in kept})
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} holds no results of a benchmark: {error!r}") from error


def _measured(kept: dict[str, object]) -> Measured:
    tables = [Table(**one) for one in kept.pop("tables")]  # type: ignore[attr-defined]
    plots = [Plot(**one) for one in kept.pop("plots")]  # type: ignore[attr-defined]
    return Measured(**kept, tables=tables, plots=plots)  # type: ignore[arg-type]
