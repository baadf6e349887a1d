"""The Grafana dashboard, written from a short description of its panels."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

NAME = "deploy/monitoring/dashboards/noetl.json"

type Unit = Literal["short", "ops", "s", "percentunit", "bytes"]

_WIDTH, _HEIGHT, _COLUMNS = 8, 8, 3
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True)
class Panel:
    """A graph.

    Attributes:
        title: what is shown.
        unit: Grafana's name of the unit.
        lines: queries, each with its legend.
        text: what to read out of it.
    """

    title: str
    unit: Unit
    lines: Sequence[tuple[str, str]]
    text: str = ""


def _quantile(share: float, family: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return (
        f"histogram_quantile({share}, sum by ({labels}) (rate({family}_bucket[$__rate_interval])))"
    )


_ERRORS = 'status=~"5.."'
_TROUBLE = 'status=~"5..|late"'
_OURS = 'job=~"noetl.*"'
_ENDED = 'noetl_executions{status!="RUNNING"}[$__rate_interval]'
_LAG = "noetl_consumer_pending + noetl_consumer_ack_pending"


def _rate(family: str, by: str, selector: str = "") -> str:
    selected = f"{family}{{{selector}}}" if selector else family
    return f"sum by ({by}) (rate({selected}[$__rate_interval]))"


ROWS: dict[str, Sequence[Panel]] = {
    "Overview": (
        Panel(
            "Executions ended, per minute",
            "short",
            [
                (
                    f"60 * sum by (status) (max by (shard, status) (deriv({_ENDED})))",
                    "{{status}}",
                )
            ],
        ),
        Panel(
            "Executions running",
            "short",
            [('sum(max by (shard) (noetl_executions{status="RUNNING"}))', "running")],
        ),
        Panel(
            "Processes",
            "short",
            [("count by (service, version) (noetl_build_info)", "{{service}} {{version}}")],
        ),
    ),
    "Edge": (
        Panel(
            "Requests by status",
            "ops",
            [(_rate("noetl_http_requests_total", "status"), "{{status}}")],
        ),
        Panel(
            "Errors by route",
            "ops",
            [
                (_rate("noetl_http_requests_total", "route", _ERRORS) + " > 0", "{{route}}"),
            ],
        ),
        Panel(
            "Latency by route, 99th percentile",
            "s",
            [(_quantile(0.99, "noetl_http_request_duration_seconds", "route"), "{{route}}")],
            "Event streams stay open; their time is that of the client.",
        ),
        Panel(
            "Busiest routes",
            "ops",
            [(f"topk(10, {_rate('noetl_http_requests_total', 'route')})", "{{route}}")],
        ),
        Panel(
            "Starts",
            "ops",
            [(_rate("noetl_execute_outcomes_total", "entry, outcome"), "{{entry}} {{outcome}}")],
        ),
        Panel(
            "Refused and ended early",
            "ops",
            [
                (_rate("noetl_http_refused_total", "why"), "{{why}}"),
                (_rate("noetl_http_connections_ended_total", "limit"), "{{limit}}"),
                (
                    _rate("noetl_access_decisions_total", "outcome", 'outcome!="allowed"'),
                    "{{outcome}}",
                ),
            ],
        ),
    ),
    "Decisions and the log": (
        Panel(
            "Commits and conflicts",
            "ops",
            [
                ("sum(rate(noetl_orchestrator_commit_seconds_count[$__rate_interval]))", "commits"),
                ("sum(rate(noetl_orchestrator_conflicts_total[$__rate_interval]))", "conflicts"),
                ("sum(rate(noetl_orchestrator_turn_inputs_sum[$__rate_interval]))", "inputs"),
            ],
            "Inputs per commit is what group commit saves; conflicts are work done twice.",
        ),
        Panel(
            "Time of a turn, 99th percentile",
            "s",
            [
                (_quantile(0.99, "noetl_orchestrator_commit_seconds"), "commit"),
                (_quantile(0.99, "noetl_orchestrator_decide_seconds"), "decide"),
            ],
        ),
        Panel(
            "Waiting for a decision",
            "short",
            [
                ("max(noetl_ingress_backlog)", "in the ingress stream"),
                ("sum(noetl_orchestrator_waiting_inputs)", "in orchestrators"),
                ("sum(noetl_orchestrator_held_turns)", "turns held up"),
            ],
        ),
        Panel(
            "Lag of durables",
            "short",
            [
                (
                    f"max by (stream, consumer) ({_LAG})",
                    "{{stream}} {{consumer}}",
                )
            ],
        ),
        Panel(
            "Read model",
            "short",
            [
                ("max(noetl_projection_lagging)", "executions behind"),
                ("sum(rate(noetl_projection_moved_total[$__rate_interval]))", "rows moved per s"),
            ],
        ),
        Panel(
            "Memory of executions",
            "bytes",
            [("noetl_orchestrator_cache_bytes", "{{instance}}")],
        ),
    ),
    "Commands and workers": (
        Panel(
            "Demand by pool",
            "short",
            [("max by (pool, state) (noetl_pool_commands)", "{{pool}} {{state}}")],
            "Waiting and running together are what workers are scaled on.",
        ),
        Panel(
            "Oldest waiting command by pool",
            "s",
            [("max by (pool) (noetl_pool_oldest_waiting_seconds)", "{{pool}}")],
        ),
        Panel(
            "Commands being run by worker",
            "short",
            [("noetl_worker_concurrent_dispatches", "{{instance}}")],
        ),
        Panel(
            "Runs of tools",
            "ops",
            [(_rate("noetl_worker_dispatch_duration_seconds_count", "tool_kind"), "{{tool_kind}}")],
        ),
        Panel(
            "Time of tools, 95th percentile",
            "s",
            [
                (
                    _quantile(0.95, "noetl_worker_dispatch_duration_seconds", "tool_kind"),
                    "{{tool_kind}}",
                )
            ],
        ),
        Panel(
            "Leases, retries, late outcomes",
            "ops",
            [
                (_rate("noetl_command_reclaimed_total", "reason"), "reclaimed: {{reason}}"),
                (_rate("noetl_command_late_total", "reason"), "late: {{reason}}"),
                ("sum(rate(noetl_commands_stranded_total[$__rate_interval]))", "sent again"),
                (_rate("noetl_worker_event_emit_retries_total", "event_type"), "posted again"),
                (_rate("noetl_worker_pulls_total", "outcome"), "pulled: {{outcome}}"),
            ],
        ),
    ),
    "Messages": (
        Panel(
            "Rows to be published",
            "short",
            [("max by (shard, kind) (noetl_outbox_pending)", "{{shard}} {{kind}}")],
        ),
        Panel(
            "Oldest row to be published",
            "s",
            [("noetl_outbox_oldest_seconds", "{{instance}}")],
        ),
        Panel(
            "Rows by end",
            "ops",
            [(_rate("noetl_outbox_rows_total", "by, end"), "{{by}} {{end}}")],
        ),
        Panel(
            "Published messages",
            "ops",
            [(_rate("noetl_bus_published_total", "family, outcome"), "{{family}} {{outcome}}")],
        ),
        Panel(
            "Given up",
            "short",
            [
                ("max(noetl_dead_letters)", "dead letters kept"),
                ("sum(noetl_outbox_parked)", "outbox rows parked"),
                (
                    "sum by (stream) (increase(noetl_dead_letter_total[1h]))",
                    "in an hour: {{stream}}",
                ),
            ],
        ),
        Panel(
            "Connections to the broker",
            "short",
            [
                ("sum(noetl_nats_connected)", "connected"),
                ("sum(increase(noetl_nats_reconnects_total[1h]))", "made again in an hour"),
            ],
        ),
    ),
    "Operations between services": (
        Panel(
            "Requests",
            "ops",
            [(f"topk(15, {_rate('noetl_rpc_requests_total', 'family')})", "{{family}}")],
        ),
        Panel(
            "Errors",
            "ops",
            [
                (
                    _rate("noetl_rpc_requests_total", "family, status", _TROUBLE) + " > 0",
                    "{{family}} {{status}}",
                )
            ],
        ),
        Panel(
            "Time in the handler, 99th percentile",
            "s",
            [(_quantile(0.99, "noetl_rpc_duration_seconds", "family"), "{{family}}")],
        ),
    ),
    "Processes of the machine": (
        Panel(
            "CPU",
            "short",
            [
                (_rate("process_cpu_seconds_total", "job", _OURS), "{{job}}"),
            ],
        ),
        Panel(
            "Memory",
            "bytes",
            [('process_resident_memory_bytes{job=~"noetl.*"}', "{{job}} {{instance}}")],
        ),
        Panel(
            "Schedules",
            "ops",
            [(_rate("noetl_schedule_firings_total", "state"), "{{state}}")],
        ),
    ),
}
"""The panels of the dashboard, by the title of their row."""


def page(_root: Path) -> str:
    """Return the dashboard as Grafana imports it."""
    dashboard: dict[str, Any] = {
        "uid": "noetl",
        "title": "NoETL",
        "tags": ["noetl"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {
                    "name": "datasource",
                    "label": "Data source",
                    "type": "datasource",
                    "query": "prometheus",
                }
            ]
        },
        "panels": list(_panels()),
    }
    return json.dumps(dashboard, indent=1) + "\n"


def _panels() -> Iterator[dict[str, Any]]:
    number, top = 0, 0
    for title, panels in ROWS.items():
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": top, "w": _WIDTH * _COLUMNS, "h": 1},
            "panels": [],
        }
        top += 1
        for place, panel in enumerate(panels):
            number += 1
            across, down = place % _COLUMNS, place // _COLUMNS
            at = {"x": across * _WIDTH, "y": top + down * _HEIGHT, "w": _WIDTH, "h": _HEIGHT}
            yield _graph(panel, number) | {"gridPos": at}
        top += -(-len(panels) // _COLUMNS) * _HEIGHT


def _graph(panel: Panel, number: int) -> dict[str, Any]:
    targets = [
        {
            "refId": chr(ord("A") + place),
            "datasource": _SOURCE,
            "expr": query,
            "legendFormat": legend,
        }
        for place, (query, legend) in enumerate(panel.lines)
    ]
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.text,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}},
        "targets": targets,
    }
