"""The import rules of ``pyproject.toml`` against packages that break them."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

PYPROJECT = Path(__file__).resolve().parents[3] / "pyproject.toml"
PACKAGES = tomllib.loads(PYPROJECT.read_text())["tool"]["importlinter"]["root_packages"]


@pytest.fixture
def broken(plant: Callable[[str, str], None], tmp_path: Path) -> Callable[[], list[str]]:
    """Return what the rules say about empty packages and whatever was planted in them."""
    for package in PACKAGES:
        plant(f"{package}/__init__.py", "")

    def lint() -> list[str]:
        done = subprocess.run(
            [
                *(
                    sys.executable,
                    "-c",
                    "from importlinter.cli import lint_imports_command as c; c()",
                ),
                *("--config", str(PYPROJECT), "--no-cache"),
            ],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        lines = (done.stdout + done.stderr).splitlines()
        assert any(line.endswith(" KEPT") for line in lines), lines
        return [line.removesuffix(" BROKEN") for line in lines if line.endswith(" BROKEN")]

    return lint


def test_empty_packages_break_nothing(broken: Callable[[], list[str]]) -> None:
    assert broken() == []


@pytest.mark.parametrize(
    ("module", "imported", "rule"),
    [
        ("noetl_outbox", "noetl_worker", "services never import each other"),
        ("noetl_contract", "noetl_common", "Imports point one way"),
        ("noetl_projector", "noetl_engine", "only orchestrator and catalog import the engine"),
        ("noetl_common", "noetl_testkit", "imports the testkit"),
        ("noetl_engine", "time", "The engine imports no I/O"),
    ],
)
def test_a_broken_rule_is_told(
    module: str,
    imported: str,
    rule: str,
    plant: Callable[[str, str], None],
    broken: Callable[[], list[str]],
) -> None:
    plant(f"{module}/fault.py", f"import {imported}\n")

    assert any(rule in told for told in broken())
