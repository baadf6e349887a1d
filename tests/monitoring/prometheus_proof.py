"""Rules and dashboard in a real Prometheus that scrapes a real stack.

Each rule must evaluate, each query of the dashboard must be answered, and two alerts must fire
for trouble that is planted. Needs Debian's package `prometheus`; `make monitoring` runs it.
"""

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import yaml
from noetl.stack.process import free_port
from noetl_testkit.stack import Stack, execute, finish, register, running_stack
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_until
from promtool import ALERTS, ROOT, rules

DASHBOARD = ROOT / "deploy/monitoring/dashboards/noetl.json"
RUNS = 20
# What only trouble shows, and what this load doesn't do.
MAY_BE_EMPTY = {"Errors by route", "Errors"}


@contextmanager
def prometheus(stack: Stack, folder: Path) -> Iterator[httpx.Client]:
    """Run a Prometheus that scrapes the stack every second."""
    jobs = [
        {
            "job_name": f"noetl-{service['name']}",
            "static_configs": [{"targets": [f"127.0.0.1:{service['port']}"]}],
        }
        for service in stack.services().values()
        if service["name"] not in {"nats", "postgres"}
    ]
    config = folder / "prometheus.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(ALERTS)],
                "scrape_configs": jobs,
            }
        )
    )
    port = free_port()
    program = shutil.which("prometheus")
    assert program is not None, "prometheus is not installed"
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            wait_until(lambda: _is_ready(client), what="Prometheus is ready")
            yield client
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_SECONDS)


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/-/ready").is_success
    except httpx.TransportError:
        return False


def asked(client: httpx.Client, query: str) -> list[Any]:
    """Return the series of a query."""
    answer = client.get("/api/v1/query", params={"query": query}).json()
    if answer["status"] != "success":
        raise AssertionError(f"{query}: {answer['error']}")
    found: list[Any] = answer["data"]["result"]
    return found


def load(stack: Stack) -> None:
    """Run playbooks, and ask for something that isn't there."""
    with stack.client() as client:
        register(client, (ROOT / "examples/parallel_join.yaml").read_text())
        started = [execute(client, "examples/parallel_join") for _ in range(RUNS)]
        for execution_id in started:
            finish(client, execution_id)


async def plant(stack: Stack) -> None:
    """Commit a row that is larger than the broker takes, and send an unreadable message."""
    connection = await asyncpg.connect(stack.dsn())
    await connection.execute(
        "INSERT INTO noetl.outbox (execution_id, event_id, kind, subject, message_id, payload)"
        " VALUES (1, 1, 'command', 'noetl.commands.nobody.1', 'c:1:0',"
        " jsonb_build_object('x', repeat('x', 9000000)))"
    )
    await connection.close()
    # Here, because the broker's client is of no use before.
    import nats  # noqa: PLC0415

    bus = await nats.connect(stack.values()["NOETL_NATS_URL"])
    await bus.jetstream().publish("noetl_ingress.0.1.execute", b"no JSON")
    await bus.close()


def check_dashboard(client: httpx.Client) -> list[str]:
    """Ask every query of the dashboard; return the titles of panels without any series."""
    empty = []
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        queries = [target["expr"] for target in panel.get("targets", ())]
        answers = [asked(client, one.replace("$__rate_interval", "30s")) for one in queries]
        if queries and not any(answers):
            empty.append(panel["title"])
    return empty


def check_rules(client: httpx.Client) -> None:
    """Raise unless each rule was evaluated without an error."""
    groups = client.get("/api/v1/rules").json()["data"]["groups"]
    found = {rule["name"]: rule for group in groups for rule in group["rules"]}
    assert found.keys() == rules().keys()
    bad = {name: rule.get("lastError") for name, rule in found.items() if rule["health"] != "ok"}
    assert not bad, bad


def firing(client: httpx.Client) -> set[str]:
    """Return the alerts that fire."""
    alerts = client.get("/api/v1/alerts").json()["data"]["alerts"]
    return {one["labels"]["alertname"] for one in alerts if one["state"] == "firing"}


def main() -> int:
    """Prove it, and print the observations."""
    folder = Path(tempfile.mkdtemp(prefix="noetl-prometheus-"))
    try:
        with running_stack() as stack, prometheus(stack, folder) as client:
            wait_until(
                lambda: len(asked(client, 'up{job=~"noetl.*"} == 1')) == 6,
                what="all processes are scraped",
            )
            load(stack)
            wait_until(
                lambda: set(check_dashboard(client)) <= MAY_BE_EMPTY,
                what="all panels show something",
                every_seconds=1,
            )
            wait_until(lambda: not _unhealthy(client), what="all rules were evaluated")
            check_rules(client)
            quiet = firing(client)
            asyncio.run(plant(stack))
            wanted = {"NoetlOutboxParked", "NoetlDeadLetters", "NoetlInputsRefused"}
            wait_until(
                lambda: wanted <= firing(client),
                what="the planted trouble fires",
                every_seconds=1,
            )
            sys.stdout.write(
                f"{len(rules())} rules evaluated; fired before: {sorted(quiet) or 'none'}; after "
                f"planting: {sorted(firing(client))}; panels without series: "
                f"{check_dashboard(client)}\n"
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _unhealthy(client: httpx.Client) -> list[str]:
    groups = client.get("/api/v1/rules").json()["data"]["groups"]
    return [one["name"] for group in groups for one in group["rules"] if one["health"] != "ok"]


if __name__ == "__main__":
    sys.exit(main())
