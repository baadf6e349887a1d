"""Alerts and dashboards ask for metrics and labels that the code has.

Each alert has its entry in the runbook, a case in which it fires and one in which it is quiet.
The metrics are those of ``docs/metrics.md``, which is written from the code.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from findings import run

ALERTS = Path("deploy/monitoring/alerts.yaml")
DASHBOARDS = Path("deploy/monitoring/dashboards")
CASES = Path("tests/monitoring/cases.yaml")
METRICS = Path("docs/metrics.md")
RUNBOOK = Path("docs/operations/runbook.md")

_FAMILY = re.compile(r"^\| `(noetl_\w+)` \| (\w+) \| ([^|]*) \|", re.MULTILINE)
_TEXT = re.compile(r"\"[^\"]*\"|'[^']*'")
_SELECTED = re.compile(r"\b([a-z_:][\w:]*)\s*\{([^}]*)\}")
_RANGED = re.compile(r"\b([a-z_:][\w:]*)\s*\[")
_OURS = re.compile(r"\bnoetl_\w+")
_GROUPED = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")
_MATCHED = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_HEADING = re.compile(r"^### (\w+)$", re.MULTILINE)
_SUFFIXES = ("_bucket", "_sum", "_count")

_FROM_PROMETHEUS = frozenset({"job", "instance"})
_FOREIGN = frozenset(
    {
        "up",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
    }
)
"""Metrics that Prometheus and its client library make."""


@dataclass(frozen=True)
class Family:
    """A metric as the page of metrics has it; the same name may be of several services."""

    kind: str
    labels: frozenset[str]


def find(root: Path) -> Iterator[str]:
    """Find names in a rule, a dashboard or a case that the code doesn't have."""
    if not (root / ALERTS).is_file():
        return
    families = families_of((root / METRICS).read_text())
    rules = _rules(root)
    for name, rule in rules.items():
        for problem in problems(rule["expr"], families):
            yield f"{ALERTS}: {name}: {problem}"
        anchor = f"{RUNBOOK}#{name.lower()}"
        if rule.get("annotations", {}).get("runbook") != anchor:
            yield f"{ALERTS}: {name}: its runbook is `{anchor}`"
    yield from _runbook(root, rules)
    yield from _cases(root, rules, families)
    for path in sorted((root / DASHBOARDS).glob("*.json")):
        for title, query in _queries(json.loads(path.read_text())):
            for problem in problems(query, families):
                yield f"{path.relative_to(root)}: {title}: {problem}"


def problems(query: str, families: Mapping[str, Family]) -> Iterator[str]:
    """Find metrics and labels of a query that don't exist."""
    bare = _TEXT.sub('""', query)
    selected = {name for name, _ in _SELECTED.findall(bare)} | set(_RANGED.findall(bare))
    names = sorted(selected | set(_OURS.findall(bare)))
    known: set[str] = set(_FROM_PROMETHEUS)
    for name in names:
        labels = _labels(name, families)
        if labels is None:
            yield f"there is no metric `{name}`"
            return
        known |= labels
    for name, matchers in _SELECTED.findall(bare):
        allowed = (_labels(name, families) or frozenset()) | _FROM_PROMETHEUS
        for label in _MATCHED.findall(matchers):
            if label not in allowed:
                yield f"`{name}` has no label `{label}`"
    for group in _GROUPED.findall(bare):
        for label in filter(None, (one.strip() for one in group.split(","))):
            if label not in known:
                yield f"none of its metrics has the label `{label}`"


def _labels(name: str, families: Mapping[str, Family]) -> frozenset[str] | None:
    """Return the labels of a series; None if there is no such metric."""
    if name in _FOREIGN:
        return frozenset()
    if name in families and families[name].kind != "histogram":
        return families[name].labels
    for suffix in _SUFFIXES:
        family = families.get(name.removesuffix(suffix)) if name.endswith(suffix) else None
        if family is not None and family.kind == "histogram":
            return family.labels | ({"le"} if suffix == "_bucket" else frozenset())
    return None


def families_of(page: str) -> dict[str, Family]:
    """Return the metrics that the page of metrics lists, by name."""
    found: dict[str, Family] = {}
    for name, kind, labels in _FAMILY.findall(page):
        own = frozenset(re.findall(r"`(\w+)`", labels))
        before = found[name].labels if name in found else frozenset()
        found[name] = Family(kind, own | before)
    return found


def _rules(root: Path) -> dict[str, Any]:
    groups = yaml.safe_load((root / ALERTS).read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def _runbook(root: Path, rules: Mapping[str, Any]) -> Iterator[str]:
    path = root / RUNBOOK
    entries = set(_HEADING.findall(path.read_text())) if path.is_file() else set()
    for name in sorted(rules.keys() - entries):
        yield f"{RUNBOOK}: no entry `### {name}` for this alert"
    for name in sorted(entries - rules.keys()):
        yield f"{RUNBOOK}: there is no alert `{name}`"


def _cases(root: Path, rules: Mapping[str, Any], families: Mapping[str, Family]) -> Iterator[str]:
    cases = yaml.safe_load((root / CASES).read_text()) or {}
    for name in sorted(cases.keys() - rules.keys()):
        yield f"{CASES}: there is no alert `{name}`"
    for name in rules:
        case = cases.get(name) or {}
        for side in ("fires", "quiet"):
            if not case.get(side):
                yield f"{CASES}: no case in which {name} {'is ' * (side == 'quiet')}{side}"
        for values in (case.get("fires"), case.get("quiet"), *case.get("also", ())):
            for series in values or ():
                for problem in problems(series, families):
                    yield f"{CASES}: {name}: {problem}"


def _queries(dashboard: Any) -> Iterator[tuple[str, str]]:
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


if __name__ == "__main__":
    run(find)
