"""Every case has a name of its own, and its figures a place in a page."""

import re
from pathlib import Path

from benchmarks.__main__ import cases

ROOT = Path(__file__).parents[2]


def test_cases_have_names_and_modules_are_known():
    known = cases()

    assert {"steps", "hops", "counts", "loops", "replicas", "peers"} <= set(known)
    assert all(re.fullmatch(r"[a-z_]+", name) for name in known)
    written = {path.stem for path in (ROOT / "benchmarks" / "cases").glob("*.py")}
    used = {case.run.__module__.rpartition(".")[2] for case in known.values()}
    assert written - {"__init__", "case"} == used


def test_functions_of_benchmarks_fit_a_screen():
    import ast  # noqa: PLC0415

    from sizes import LONGEST_FUNCTION, LONGEST_MODULE  # noqa: PLC0415

    for path in (ROOT / "benchmarks").rglob("*.py"):
        source = path.read_text()
        assert len(source.splitlines()) <= LONGEST_MODULE, path
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                assert length <= LONGEST_FUNCTION, f"{path}: {node.name}"
