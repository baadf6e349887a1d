"""A few seeds of each profile, those that once failed, and that a planted defect is found.

Each in a process of its own, whose clocks are virtual from its begin. Many more: `make simulate`.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.plan import plan_of
from tests.simulation.profiles import PROFILES

_ROOT = Path(__file__).resolve().parents[2]


def simulated(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run seeds; the output names what is wrong, and how to see it again."""
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        cwd=_ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_nothing_that_is_promised_is_broken() -> None:
    """One seed of each profile, and each plan that has found something before."""
    done = simulated("--found", "--seeds", f"0-{len(PROFILES) - 1}")

    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


@pytest.mark.slow
def test_a_seed_is_the_same_each_time() -> None:
    mixed = next(seed for seed in range(len(PROFILES)) if plan_of(seed).profile == "mixed")

    done = simulated("--seeds", f"{mixed}", "--twice")

    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mutation", "chosen", "finding"),
    [
        ("begun after the end", ["--seeds", "0-9"], "after the end"),
        ("outbox goes round", ["--found", "--seeds", ""], "goes round"),
    ],
)
def test_a_planted_defect_is_found(mutation: str, chosen: list[str], finding: str) -> None:
    done = simulated(*chosen, "--mutation", mutation, "--quick")

    assert done.returncode == 1, done.stdout + done.stderr[-2000:]
    assert finding in done.stdout
    assert f"--mutation '{mutation}'" in done.stdout
