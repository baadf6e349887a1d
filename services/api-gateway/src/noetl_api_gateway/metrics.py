"""Metrics of the edge; contract names first."""

from collections.abc import Iterable
from functools import cache
from itertools import product
from typing import get_args

from noetl_common.metrics import counter, gauge, histogram
from noetl_contract.access.principal import Kind
from noetl_contract.events import EventType
from noetl_contract.http.system.internal import JobState
from prometheus_client import Counter, Histogram

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_WORKER_TYPES = {"command.heartbeat", "case.evaluated"}
_KNOWN_TYPES = frozenset(EventType) | _WORKER_TYPES

EVENTS_INGESTED = counter(
    "noetl_events_ingested_total",
    "Events on the ingest route",
    ["event_type", "status"],
    zeros=product(("call.done", "command.completed", "command.failed", "other"), ("ok", "error")),
)
EVENT_DURATION = histogram(
    "noetl_event_ingest_duration_seconds",
    "Time from an event to its commit",
    ["event_type"],
)
WRITES = counter(
    "noetl_write_requests_total",
    "Other write routes",
    ["endpoint", "status"],
    zeros=product(
        (
            "catalog_register",
            "credentials_upsert",
            "keychain_set",
            "runtime_heartbeat",
            "runtime_register",
        ),
        ("ok", "error"),
    ),
)
WRITE_DURATION = histogram(
    "noetl_write_request_duration_seconds",
    "Their latency",
    ["endpoint"],
)
EXECUTE_OUTCOMES = counter(
    "noetl_execute_outcomes_total",
    "Requests to start executions",
    ["entry", "outcome"],
    zeros=product(("single", "batch"), ("new", "duplicate", "error")),
)
EXECUTE_BATCH_SIZE = histogram(
    "noetl_execute_batch_size",
    "Starts of a batch",
    buckets=(1, 5, 10, 25, 50, 100, 250, 500, 1000),
)
PURGED = counter(
    "noetl_cleanup_rows_purged_total",
    "What a purge has removed",
    ["table"],
    zeros=("command", "runtime", "event_partition"),
)
CALLBACKS = counter(
    "noetl_container_callback_total",
    "Ends of container jobs",
    ["state"],
    zeros=get_args(JobState.__value__),
)
STALE_CALLBACKS = counter(
    "noetl_container_callback_stale_total",
    "Ends of jobs of unknown executions",
    ["state"],
    zeros=get_args(JobState.__value__),
)
RESULT_PUTS = counter(
    "noetl_result_store_put_total", "Stored results", ["status"], zeros=("ok", "error")
)
RESULT_PUT_DURATION = histogram(
    "noetl_result_store_put_duration_seconds",
    "Their latency",
    ["status"],
)
RESULT_RESOLVES = counter(
    "noetl_result_store_resolve_total", "Results read by URI", ["status"], zeros=("ok", "error")
)
RESULT_RESOLVE_DURATION = histogram(
    "noetl_result_store_resolve_duration_seconds",
    "Their latency",
    ["status"],
)
HTTP_REQUESTS = counter("noetl_http_requests_total", "Requests", ["route", "method", "status"])
HTTP_DURATION = histogram(
    "noetl_http_request_duration_seconds",
    "Latency of requests",
    ["route"],
)
INGRESS_BACKLOG = gauge("noetl_ingress_backlog", "Messages waiting in the ingress stream")
DEAD_LETTERS = gauge("noetl_dead_letters", "Messages given up that are kept for people")
REFUSED = counter(
    "noetl_http_refused_total",
    "Requests refused before they were routed, by why",
    ["why"],
    zeros=("bodies", "host", "logins", "origin", "rate"),
)
DELIVERIES = counter("noetl_ingress_received_total", "Deliveries to listeners", ["listener"])
DELIVERIES_REJECTED = counter(
    "noetl_ingress_rejected_total", "Deliveries that were not taken, by why", ["listener", "reason"]
)
DELIVERIES_DISPATCHED = counter(
    "noetl_ingress_dispatched_total", "Deliveries that started an execution, or had before",
    ["listener", "outcome"],
)  # fmt: skip
OPEN_STREAMS = gauge("noetl_event_streams_open", "Event streams being served")

POOL_COMMANDS = gauge(
    "noetl_pool_commands", "Open commands of a pool, by whether they wait or run", ["pool", "state"]
)
POOL_DEMAND = gauge(
    "noetl_pool_demand", "Open commands of a pool: what workers are scaled on", ["pool"]
)
POOL_OLDEST = gauge(
    "noetl_pool_oldest_waiting_seconds",
    "Age of the oldest command that waits and is not withheld by a pause",
    ["pool"],
)
DEMAND_UNKNOWN = counter(
    "noetl_pool_demand_unknown_total",
    "Reads of the metrics without the demand of pools, because a shard did not answer",
)

AUTH_OFF = gauge("noetl_auth_off", "1 where callers need not say who they are")
ACCESS_DECISIONS = counter(
    "noetl_access_decisions_total",
    "Decisions about requests",
    ["outcome", "kind"],
    zeros=[
        *product(("allowed", "forbidden", "hidden", "limited"), get_args(Kind.__value__)),
        ("unauthenticated", "nobody"),
        ("unauthenticated", "capability"),
    ],
)
AUDIT_DROPPED = counter(
    "noetl_access_audit_dropped_total", "Decisions that found no room on their way to the audit"
)


def note_routes(routes: Iterable[tuple[str, str]]) -> None:
    """Initialise the counters of routes with 0, given their methods and templates.

    Durations begin with the first request: a histogram of each route would be most of the page.
    """
    for method, route in routes:
        for status in ("200", "500", "503"):
            HTTP_REQUESTS.labels(route, method, status)


@cache
def http_metrics(route: str, method: str, status: int) -> tuple[Counter, Histogram]:
    """Return counter and histogram of a route; looking labels up costs more than counting."""
    word = method if method in _METHODS else "other"
    return HTTP_REQUESTS.labels(route, word, str(status)), HTTP_DURATION.labels(route)


@cache
def access_decisions(outcome: str, kind: str) -> Counter:
    """Return the counter of access decisions with an outcome, by the kind of caller."""
    return ACCESS_DECISIONS.labels(outcome, kind)


@cache
def event_metrics(event_type: str, outcome: str) -> tuple[Counter, Histogram]:
    """Return counter and histogram of an event type, a label from `event_label`."""
    return EVENTS_INGESTED.labels(event_type, outcome), EVENT_DURATION.labels(event_type)


def event_label(event_type: str) -> str:
    """Return the label value of an event type, from a closed set, as clients may send any text."""
    return event_type if event_type in _KNOWN_TYPES else "other"
