"""Alert rules, and their cases as a file of unit tests for Prometheus's own `promtool`."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from noetl_testkit.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "deploy/monitoring/alerts.yaml"
CASES = Path(__file__).with_name("cases.yaml")
_END = "59m"


@dataclass(frozen=True)
class Case:
    """Values that make an alert fire, and values that don't.

    Attributes:
        fires: values by series, a sample a minute.
        labels: those of the alert that fires, without those that its rule adds.
        quiet: values with which nothing fires.
        also: further values with which it fires.
        at: when it is looked at.
    """

    fires: Mapping[str, str]
    labels: Mapping[str, str]
    quiet: Mapping[str, str]
    also: Sequence[Mapping[str, str]] = ()
    at: str = field(default=_END)


def promtool() -> str | None:
    """Return where the program is; None where it isn't."""
    return shutil.which("promtool")


def rules() -> dict[str, dict[str, Any]]:
    """Return the alert rules by name."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def cases() -> dict[str, Case]:
    """Return the cases by alert."""
    return {name: Case(**one) for name, one in yaml.safe_load(CASES.read_text()).items()}


def write_tests(folder: Path, known: Mapping[str, Case]) -> list[Path]:
    """Write a file of unit tests for each alert: one that fires and one that is quiet.

    Each has its rule in a file of its own: all rules in each test would take half a minute.
    """
    found, written = rules(), []
    for name, case in known.items():
        rule = found[name]
        fired = {
            "exp_labels": {**case.labels, **rule["labels"]},
            "exp_annotations": rule["annotations"],
        }
        tests = [
            *(
                _test(f"{name} fires", name, series, [fired], at=case.at)
                for series in (case.fires, *case.also)
            ),
            _test(f"{name} is quiet", name, case.quiet, [], at=_END),
        ]
        alone = {"groups": [{"name": name, "rules": [rule]}]}
        (folder / f"{name}.rule.yaml").write_text(yaml.safe_dump(alone))
        path = folder / f"{name}.test.yaml"
        path.write_text(yaml.safe_dump({"rule_files": [f"{name}.rule.yaml"], "tests": tests}))
        written.append(path)
    return written


def _test(
    title: str, alert: str, series: Mapping[str, str], fired: list[dict[str, Any]], *, at: str
) -> dict[str, Any]:
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    expected = {"eval_time": at, "alertname": alert, "exp_alerts": fired}
    return {
        "name": title,
        "interval": "1m",
        "input_series": inputs,
        "alert_rule_test": [expected],
    }


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `promtool`, which must be there."""
    program = promtool()
    assert program is not None
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
