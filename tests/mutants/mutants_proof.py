"""Changes the code where guarantees rest on it, and expects tests to fail: ``make mutants``.

Each change is made in a copy of the package's sources, which comes first on the path of the tests
and of the processes that they start. First the tests run without a change: all have to pass.

Prints a table of the changes and of who noticed. Ends with 1 if one was not noticed, or can't be
made because its text is not there any more.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from xml.etree import ElementTree as ET

from mutations import MUTATIONS, Mutation

TOP = Path(__file__).parents[2]
_PATIENCE = "0.1"
"""Of ten minutes: what does not come because of a change is waited for as long."""
_SECONDS = 900
"""Of one run of pytest, against hanging; each wait of a test has a bound of its own."""


def main() -> int:
    """Make the changes that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="changes with this in their guarantee or file")
    parser.add_argument("--unchanged", action="store_true", help="only the tests, without a change")
    parser.add_argument("--at-once", type=int, default=3, help="most of them only wait")
    arguments = parser.parse_args()
    chosen = [one for one in MUTATIONS if arguments.only in f"{one.guarantee} {one.file}"]
    lost = [one for one in chosen if count_of(one) != 1]
    for one in lost:
        _print(f"NOT FOUND once in {one.file}: {one.text!r}")
    if lost:
        return 1
    names = list(dict.fromkeys(test for one in chosen for test in one.tests))
    failed = failures(names, {})
    if failed is None or failed:
        _print(f"without a change: {'no result' if failed is None else ', '.join(failed)}")
        return 1
    _print(f"without a change: {len(names)} tests pass")
    if arguments.unchanged:
        return 0
    missed = 0
    with ThreadPoolExecutor(arguments.at_once) as pool:
        for one, (word, seconds, noticed) in zip(chosen, pool.map(verdict, chosen), strict=True):
            missed += word != "noticed"
            _print(f"{word:<11} {seconds:>4.0f} s  {one.guarantee}")
            _print(f"{'':<19}{one.file}: {_shown(one.text)}")
            for name in noticed:
                _print(f"{'':<21}{name}")
    _print(f"{len(chosen) - missed} of {len(chosen)} changes were noticed")
    return int(missed > 0)


def count_of(mutation: Mutation) -> int:
    """Return how often the text of a change is there."""
    return (TOP / mutation.file).read_text(encoding="utf-8").count(mutation.text)


def verdict(mutation: Mutation) -> tuple[str, float, list[str]]:
    """Return what became of a change, after how many seconds, and the tests that failed."""
    begun = monotonic()
    with changed(mutation) as folder:
        variables = {"PYTHONPATH": str(folder)}
        if _origin(mutation.package, variables).is_relative_to(folder):
            failed = failures(mutation.tests, variables)
        else:
            failed = None
    seconds = monotonic() - begun
    if failed is None:
        return "NO RESULT", seconds, []
    return ("noticed" if failed else "NOT NOTICED"), seconds, failed


@contextmanager
def changed(mutation: Mutation) -> Iterator[Path]:
    """Copy a package's sources with the change in them; yields the folder for the path."""
    with tempfile.TemporaryDirectory(prefix="noetl-mutant-") as name:
        folder = Path(name) / "src"
        shutil.copytree(TOP / mutation.source, folder, ignore=shutil.ignore_patterns("__pycache__"))
        file = folder / Path(mutation.file).relative_to(mutation.source)
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace(mutation.text, mutation.instead), encoding="utf-8")
        yield folder


def _origin(package: str, variables: dict[str, str]) -> Path:
    """Return where a package comes from."""
    code = f"import {package}; print({package}.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
        timeout=_SECONDS,
    )
    return Path(done.stdout.strip())


def failures(tests: Sequence[str], variables: dict[str, str]) -> list[str] | None:
    """Run tests; return the names of those that failed, None where they could not be run."""
    with tempfile.TemporaryDirectory(prefix="noetl-mutant-") as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
        try:
            done = subprocess.run(
                [*command, f"--junitxml={report}", *tests],
                cwd=TOP,
                env=os.environ | {"NOETL_TEST_PATIENCE": _PATIENCE} | variables,
                capture_output=True,
                check=False,
                timeout=_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return None
        if done.returncode not in {0, 1}:
            sys.stdout.write(done.stdout.decode(errors="replace")[-2000:])
            return None
        cases = list(ET.parse(report).iter("testcase"))  # noqa: S314 -- pytest's own
    failed = [case.get("name", "") for case in cases if case.find("failure") is not None]
    # A fixture that fails has noticed nothing.
    is_run = cases and not any(case.find("error") is not None for case in cases)
    skipped = [case for case in cases if case.find("skipped") is not None]
    return failed if failed or (is_run and not skipped) else None


def _shown(text: str) -> str:
    return " ".join(text.split())[:90]


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
