"""Every alert fires when it should and is quiet otherwise, as Prometheus itself judges."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from promtool import ALERTS, Case, cases, promtool, run, write_tests

needs_promtool = pytest.mark.skipif(
    promtool() is None,
    reason="promtool is not installed: `make monitoring` installs Debian's package prometheus",
)


def judged(folder: Path, known: Mapping[str, Case]) -> str:
    """Return the problems of cases, nothing if all is well."""
    done = run("test", "rules", *map(str, write_tests(folder, known)))
    return "" if done.returncode == 0 else done.stdout + done.stderr


@needs_promtool
def test_rules_are_well_formed() -> None:
    done = run("check", "rules", "--lint=all", "--lint-fatal", str(ALERTS))

    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_each_alert_fires_and_is_quiet(tmp_path: Path) -> None:
    assert judged(tmp_path, cases()) == ""


@needs_promtool
def test_a_case_that_is_wrong_is_told(tmp_path: Path) -> None:
    known = cases()["NoetlOutboxParked"]

    swapped = replace(known, fires=known.quiet, quiet=known.fires)
    found = judged(tmp_path, {"NoetlOutboxParked": swapped})

    assert "NoetlOutboxParked fires" in found
    assert "NoetlOutboxParked is quiet" in found
