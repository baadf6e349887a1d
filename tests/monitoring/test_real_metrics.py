"""Series that alerts and dashboards ask for are there on a system that has just begun."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from monitoring import ALERTS, DASHBOARDS, METRICS, families_of
from noetl_testkit.stack import Stack
from prometheus_client.parser import text_string_to_metric_families
from promtool import ROOT, promtool, rules, run

_NAME = re.compile(r"\bnoetl_\w+")
_TEXT = re.compile(r"\"[^\"]*\"")
# Of the mode of the worker that reads a source of messages.
_ELSEWHERE = {"noetl_subscription_circuit_transitions_total"}
# Begin with the first request, run or pull of its kind.
_LATER = re.compile(r"_(bucket|sum|count)$")


def _queries() -> Iterator[tuple[str, str]]:
    for name, rule in rules().items():
        yield f"{ALERTS}: {name}", rule["expr"]
    for path in sorted((ROOT / DASHBOARDS).glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", ()):
                yield f"{path.name}: {panel['title']}", target["expr"]


@pytest.fixture(scope="module")
def shown(nats_stack: Stack) -> set[str]:
    """Names of series that the processes of a stack show."""
    names: set[str] = set()
    for service in nats_stack.services().values():
        if service["name"] not in {"nats", "postgres"}:
            answer = httpx.get(f"http://127.0.0.1:{service['port']}/metrics", trust_env=False)
            for family in text_string_to_metric_families(answer.text):
                names |= {sample.name for sample in family.samples}
    return names


@pytest.mark.e2e
def test_series_of_alerts_and_dashboards_are_there_from_the_start(shown: set[str]) -> None:
    missing = {
        place: absent
        for place, query in _queries()
        if (
            absent := {
                name
                for name in _NAME.findall(_TEXT.sub("", query))
                if name not in shown | _ELSEWHERE and not _LATER.search(name)
            }
        )
    }
    assert missing == {}


def test_all_metrics_of_the_page_are_read() -> None:
    """The check of names would find nothing wrong with a page that it can't read."""
    families = families_of((ROOT / METRICS).read_text())

    assert families["noetl_outbox_pending"].labels == {"shard", "kind"}
    assert len(families) > 100


@pytest.mark.skipif(promtool() is None, reason="promtool is not installed")
@pytest.mark.parametrize("page", ["monitoring", "kubernetes"])
def test_the_configuration_of_a_page_is_one(page: str, tmp_path: Path) -> None:
    whole = (ROOT / "docs/operations" / f"{page}.md").read_text()
    (text,) = re.findall(r"<!-- inside: prometheus -->\n```yaml\n(.*?)```", whole, re.DOTALL)
    key = tmp_path / "key"
    key.write_text("secret")
    (tmp_path / "alerts.yaml").write_text((ROOT / ALERTS).read_text())
    config = tmp_path / "prometheus.yaml"
    config.write_text(text.replace("/run/secrets/noetl-metrics-key", str(key)))

    done = run("check", "config", str(config))

    assert done.returncode == 0, done.stdout + done.stderr
