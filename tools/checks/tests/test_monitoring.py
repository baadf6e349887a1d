from collections.abc import Callable
from pathlib import Path

import monitoring
import pytest

type Plant = Callable[[str, str], None]

METRICS = """
| `noetl_rows_total` | counter | `by`, `end` | Rows. |
| `noetl_wait_seconds` | histogram | `route` | Time. |
"""
ALERTS = """
groups:
  - name: g
    rules:
      - alert: RowsFail
        expr: sum by (by) (rate(noetl_rows_total{end="failed"}[5m])) > 0
        annotations: {runbook: docs/operations/runbook.md#rowsfail}
"""
CASES = """
RowsFail:
  fires: {'noetl_rows_total{end="failed"}': '0+1x9'}
  quiet: {'noetl_rows_total{end="ok"}': '0+1x9'}
"""
RUNBOOK = "# Runbook\n\n### RowsFail\n\nRows fail.\n"
DASHBOARD = """
{"panels": [{"title": "Rows", "targets": [{"expr": "sum by (end) (noetl_rows_total)"}]}]}
"""


@pytest.fixture
def sound(plant: Plant) -> Plant:
    """Plant alerts without a fault; return the function that plants more."""
    plant("docs/metrics.md", METRICS)
    plant("deploy/monitoring/alerts.yaml", ALERTS)
    plant("tests/monitoring/cases.yaml", CASES)
    plant("docs/operations/runbook.md", RUNBOOK)
    plant("deploy/monitoring/dashboards/noetl.json", DASHBOARD)
    return plant


def found(root: Path) -> list[str]:
    return list(monitoring.find(root))


@pytest.mark.usefixtures("sound")
def test_nothing_is_found_where_all_is_there(tmp_path: Path) -> None:
    assert found(tmp_path) == []


FAULTS = [
    ("deploy/monitoring/alerts.yaml", ALERTS, "rows_total{", "rows{", "no metric `noetl_rows`"),
    ("deploy/monitoring/alerts.yaml", ALERTS, "end=", "ending=", "has no label `ending`"),
    ("deploy/monitoring/alerts.yaml", ALERTS, "by (by)", "by (shard)", "has the label `shard`"),
    ("deploy/monitoring/alerts.yaml", ALERTS, "noetl_rows_total{", "node_rows{", "`node_rows`"),
    ("deploy/monitoring/alerts.yaml", ALERTS, "#rowsfail", "#rows", "its runbook is"),
    ("tests/monitoring/cases.yaml", CASES, "  quiet:", "  calm:", "no case in which RowsFail is q"),
    ("tests/monitoring/cases.yaml", CASES, "RowsFail", "Rows", "no alert `Rows`"),
    ("tests/monitoring/cases.yaml", CASES, 'end="ok"', 'fin="ok"', "has no label `fin`"),
    ("docs/operations/runbook.md", RUNBOOK, "### RowsFail", "### Rows", "no entry `### RowsFail`"),
    ("docs/operations/runbook.md", RUNBOOK, "### RowsFail", "### Old\n\n### RowsFail", "`Old`"),
    ("deploy/monitoring/dashboards/noetl.json", DASHBOARD, "(end)", "(why)", "label `why`"),
]


@pytest.mark.parametrize(("name", "text", "good", "bad", "finding"), FAULTS)
def test_what_is_missing_is_named(
    sound: Plant, tmp_path: Path, *, name: str, text: str, good: str, bad: str, finding: str
) -> None:
    assert good in text
    sound(name, text.replace(good, bad))

    findings = found(tmp_path)
    assert any(finding in one for one in findings), findings


QUERIES: list[tuple[str, list[str]]] = [
    ("histogram_quantile(0.9, sum by (le) (rate(noetl_wait_seconds_bucket[5m])))", []),
    ("rate(noetl_wait_seconds_count[5m])", []),
    ("rate(noetl_wait_seconds[5m])", ["there is no metric `noetl_wait_seconds`"]),
    ('noetl_wait_seconds_sum{le="1"}', ["`noetl_wait_seconds_sum` has no label `le`"]),
    ('up{job=~"noetl_gone.*"} == 0', []),
]


@pytest.mark.parametrize(("query", "expected"), QUERIES)
def test_queries_are_read(query: str, expected: list[str]) -> None:
    families = monitoring.families_of(METRICS)

    assert list(monitoring.problems(query, families)) == expected
