"""The import rules of ``pyproject.toml`` against packages that break them."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

PYPROJECT = Path(__file__).resolve().parents[3] / "pyproject.toml"
RULES = tomllib.loads(PYPROJECT.read_text())["tool"]["importlinter"]
NAMES = {
    f"{container}.{name.strip(' ()')}"
    for contract in RULES["contracts"]
    for container in contract.get("containers", ())
    for layer in contract["layers"]
    for name in re.split(r"[|:]", layer)
} | {
    name
    for contract in RULES["contracts"]
    for key in ("modules", "source_modules", "forbidden_modules")
    for name in contract.get(key, ())
    if name.startswith("noetl_") and "." in name
}
PACKAGES = {name for name in NAMES if any(other.startswith(f"{name}.") for other in NAMES)}
FILES = [
    f"{name.replace('.', '/')}/__init__.py" if name in PACKAGES else f"{name.replace('.', '/')}.py"
    for name in sorted(NAMES)
]


@pytest.fixture
def broken(plant: Callable[[str, str], None], tmp_path: Path) -> Callable[[], list[str]]:
    """Return the findings of the rules about empty packages and the modules planted in them."""
    for name in [*(f"{package}/__init__.py" for package in RULES["root_packages"]), *FILES]:
        plant(name, "")

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
    ("name", "imported", "rule"),
    [
        ("noetl_outbox/relay.py", "noetl_worker", "services never import each other"),
        ("noetl_contract/events.py", "noetl_common", "Imports point one way"),
        ("noetl_common/ids.py", "noetl_bus", "Imports point one way"),
        ("noetl_bus/topology.py", "noetl_pg", "Imports point one way"),
        ("noetl_pg/pool.py", "noetl_service", "Imports point one way"),
        ("noetl_service/service.py", "noetl_pg", "The edge and what it stands on know no database"),
        ("noetl_api_gateway/app.py", "noetl_pg", "The edge and what it stands on know no database"),
        ("noetl_common/ids.py", "nats", "NATS is driven by noetl_bus alone"),
        ("noetl_bus/broker.py", "uvicorn", "The HTTP server is run by noetl_service alone"),
        ("noetl_engine/fold.py", "noetl_bus", "What is decided, shown and called"),
        (
            "noetl_projector/app.py",
            "noetl_engine",
            "only orchestrator and catalog import the engine",
        ),
        ("noetl_common/ids.py", "noetl_testkit", "imports the testkit"),
        ("noetl_engine/fold.py", "time", "The engine imports no I/O"),
        ("noetl_worker/tools.py", "noetl_worker.run", "The worker's folders import downwards"),
        ("noetl_catalog/entries.py", "noetl_catalog.secrets", "The catalog's folders"),
        ("noetl_catalog/entries.py", "noetl_catalog.runtimes", "The catalog's folders"),
        ("noetl_orchestrator/a_new_room.py", "os", "The orchestrator's folders"),
    ],
)
def test_a_broken_rule_is_told(
    name: str,
    imported: str,
    rule: str,
    plant: Callable[[str, str], None],
    broken: Callable[[], list[str]],
) -> None:
    plant(name, f"import {imported}\n")

    assert any(rule in told for told in broken())


def test_circles_are_told(
    plant: Callable[[str, str], None], broken: Callable[[], list[str]]
) -> None:
    plant("noetl_worker/tools/__init__.py", "")
    plant("noetl_worker/tools/http.py", "import noetl_worker.tools.fields\n")
    plant("noetl_worker/tools/fields.py", "import noetl_worker.tools.http\n")

    assert any("without circles" in told for told in broken())
