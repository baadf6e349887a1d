"""Run cases, print their results, and keep these: see docs/benchmarks.md."""

import argparse
import importlib
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import fast_paths
from benchmarks.cases.case import Case, Settings
from benchmarks.probes import machine
from benchmarks.report import pages, svg, text
from benchmarks.report.results import Measured, Report, Table, load

# In the order in which they run. A module has a `CASE` or several `CASES`.
_MODULES = (
    "benchmarks.cases.steps",
    "benchmarks.cases.hops",
    "benchmarks.cases.counts",
    "benchmarks.cases.loops",
    "benchmarks.cases.starts",
    "benchmarks.cases.claims",
    "benchmarks.cases.idle",
    "benchmarks.cases.replicas",
    "benchmarks.cases.active",
    "benchmarks.cases.growth",
    "benchmarks.cases.scripts",
    "benchmarks.cases.peers",
)
_OUT = Path(".noetl/bench")
_WITHOUT_CASE = "steps"
_DOCS = Path(__file__).parent.parent / "docs"
_PAGES = (_DOCS / "benchmarks.md", _DOCS / "comparison.md", _DOCS / "sizing.md")


def cases() -> dict[str, Case]:
    """Return all cases by name."""
    found: dict[str, Case] = {}
    for name in _MODULES:
        module = importlib.import_module(name)
        given = getattr(module, "CASES", None) or (module.CASE,)
        found |= {case.name: case for case in given}
    return found


def main() -> int:
    """Run the cases that were asked for; 1 if a case failed."""
    known = cases()
    options = _parser(known).parse_args()
    left_out = list(filter(None, options.without.split(",")))
    environment = fast_paths.without(left_out, fast_paths.switches(fast_paths.PAGE.read_text()))
    wanted = _wanted(options, known, is_without=bool(left_out))
    if strange := [name for name in wanted if name not in known]:
        raise SystemExit(f"no case is called {', '.join(strange)}; there are {', '.join(known)}")
    settings = Settings(
        scale=options.scale,
        transports=tuple(options.transports.split(",")),
        kinds=tuple(options.kinds.split(",")),
        at_once=tuple(int(one) for one in options.at_once.split(",")),
        folder=options.out.absolute(),
        environment=environment,
    )
    # Beside the figures of all fast paths, which pages are made of.
    out: Path = options.out / ("without-" + "-".join(left_out) if left_out else "")
    report = load(out / "results.json")
    about = machine.describe() if wanted else {}
    print("\n".join(f"{what}: {how}" for what, how in about.items()), flush=True)
    failed = []
    for name in wanted:
        try:
            report.cases[name] = _measured(known[name], settings, about)
        except Exception:  # noqa: BLE001 (the other cases still count)
            traceback.print_exc()
            failed.append(name)
        else:
            report.save(out / "results.json")
            _draw(report, out)
    print(f"\nkept in {out / 'results.json'}, plots beside it")
    if options.write_docs:
        for page in _PAGES:
            missing = pages.write(report, page)
            print(f"wrote {page}" + (f"; no results yet for {', '.join(missing)}" * bool(missing)))
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def _wanted(options: argparse.Namespace, known: dict[str, Case], *, is_without: bool) -> list[str]:
    """Return the names of the cases to run."""
    if is_without:
        if options.cases not in {"all", _WITHOUT_CASE} or options.peers or options.write_docs:
            raise SystemExit(f"--without runs the case {_WITHOUT_CASE} alone, and writes no page")
        return [_WITHOUT_CASE]
    usual = [name for name, case in known.items() if not case.is_asked_for]
    wanted = usual if options.cases == "all" else list(filter(None, options.cases.split(",")))
    return [*wanted, "peers"] if options.peers else wanted


def _measured(case: Case, settings: Settings, about: dict[str, str]) -> Measured:
    print(f"\n== {case.name}: {case.about}", flush=True)
    measured = Measured(
        case=case.name,
        at="",
        commit=machine.commit(),
        scale=settings.scale,
        busy=machine.busy(),
        seconds=0.0,
        machine=about,
    )
    began = time.monotonic()
    for found in case.run(settings):
        if isinstance(found, Table):
            measured.tables.append(found)
            print(f"\n{text.plain(found)}", flush=True)
        else:
            measured.plots.append(found)
    measured.seconds = round(time.monotonic() - began, 1)
    measured.at = datetime.now(UTC).isoformat(timespec="minutes")
    return measured


def _draw(report: Report, out: Path) -> None:
    for case in report.cases.values():
        for plot in case.plots:
            (out / f"{plot.name}.svg").write_text(svg.draw(plot))


def _parser(known: dict[str, Case]) -> argparse.ArgumentParser:
    listed = "\n".join(f"  {case.name:12}{case.about}" for case in known.values())
    parser = argparse.ArgumentParser(
        prog="make bench",
        description=f"{__doc__}\n\ncases:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cases", default="all", help="names, by commas; empty: run nothing")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the full size")
    parser.add_argument("--transports", default="nats,http")
    parser.add_argument("--kinds", default="noop,python,http", help="tools of steps")
    parser.add_argument("--at-once", default="1,16,64,256", help="executions at once")
    parser.add_argument("--out", type=Path, default=_OUT, help="folder of results and plots")
    parser.add_argument(
        "--without",
        default="",
        metavar="NAMES",
        help=f"the case {_WITHOUT_CASE} without these fast paths of docs/fast-paths.md, by commas",
    )
    parser.add_argument("--peers", action="store_true", help="other systems too")
    parser.add_argument(
        "--write-docs", action="store_true", help="put what is kept into the pages of docs/"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
