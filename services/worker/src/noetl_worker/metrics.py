"""Metrics of the worker."""

from noetl_common.metrics import DURATION_BUCKETS, counter, gauge, histogram
from noetl_contract.tools import TOOL_KINDS

_RUN_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_PUT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

PULLS = counter(
    "noetl_worker_pulls_total",
    "Notifications by outcome.",
    ("outcome",),
    zeros=("claimed", "already_claimed", "retry_later", "failed"),
)
PULL_SECONDS = histogram(
    "noetl_worker_pull_duration_seconds", "From the notification to the right to run.",
    buckets=DURATION_BUCKETS,
)  # fmt: skip
RUN_SECONDS = histogram(
    "noetl_worker_dispatch_duration_seconds", "Tool runs.", ("tool_kind",), buckets=_RUN_BUCKETS
)
STOPPED = counter(
    "noetl_worker_runs_stopped_total",
    "Runs that were stopped, or not begun, because the control plane had ended them.",
    ("tool_kind",),
    zeros=TOOL_KINDS,
)
OUTPUT_BATCHES = counter(
    "noetl_worker_output_batches_total", "Batches of printed lines sent to those who watch."
)
RUN_ERRORS = counter(
    "noetl_worker_dispatch_errors_total", "Tools that raised.", ("tool_kind",), zeros=TOOL_KINDS
)
EMIT_SECONDS = histogram(
    "noetl_worker_event_emit_duration_seconds", "Posts of events.", ("event_type",),
    buckets=DURATION_BUCKETS[:-1],
)  # fmt: skip
EMIT_RETRIES = counter(
    "noetl_worker_event_emit_retries_total",
    "Posts tried again.",
    ("event_type",),
    zeros=("call.done", "command.completed", "command.failed", "command.started"),
)
START_FAILURES = counter(
    "noetl_worker_interpreter_start_failures_total",
    "Processes for scripts that could not be started; they are tried again for a minute.",
)
SCRIPT_ISOLATION = gauge(
    "noetl_worker_script_isolation",
    "1 if scripts are kept from other files, neighbours' memory, TCP ports, signals to foreign "
    "processes, calls that change those.",
    ("feature",),
)
CONTAINERS_STARTED = counter(
    "noetl_worker_containers_started_total", "Containers of steps that were started or found."
)
CONTAINERS_ENDED = counter(
    "noetl_worker_containers_ended_total",
    "Ends of containers that this worker has reported.",
    ("state",),
    zeros=(
        "succeeded", "failed", "failed_image_pull", "failed_oom", "failed_node_lost",
        "failed_timeout",
    ),
)  # fmt: skip
CONTAINER_CALLS = counter(
    "noetl_worker_container_api_calls_total",
    "Calls to the engine or cluster where containers run.",
    ("operation",),
    zeros=(
        "create", "delete", "events", "inspect", "kill", "list", "logs", "patch", "pull", "rename",
        "start", "watch",
    ),
)  # fmt: skip
CONTAINER_WATCH_BREAKS = counter(
    "noetl_worker_container_watch_breaks_total", "Ends of the watch, after each of which it lists."
)
PUT_OFF = counter(
    "noetl_worker_put_off_total",
    "Commands given back: their execution held its share of the slots, or no script could begin.",
)
ENVIRONMENTS = counter(
    "noetl_worker_libraries_environments_total",
    "Environments of libraries that were made, could not be, or gave way to others.",
    ("outcome",),
    zeros=("made", "failed", "removed"),
)
ENVIRONMENT_SECONDS = histogram(
    "noetl_worker_libraries_environment_seconds",
    "Time of making one, the wait for others included.",
    buckets=(0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0),
)
ENVIRONMENT_BYTES = gauge(
    "noetl_worker_libraries_environment_bytes",
    "Bytes of all environments, when the last one was made.",
)
PLUGIN_RUNS = counter(
    "noetl_worker_plugin_runs_total",
    "Runs of plug-ins: with a result, with an error that they told, over time, ended by a limit.",
    ("outcome",),
    zeros=("success", "error", "timeout", "ended"),
)
PLUGIN_COMPILE_SECONDS = histogram(
    "noetl_worker_plugin_compile_seconds",
    "Time of compiling a module.",
    buckets=(0.1, 0.5, 2.5, 10.0, 30.0, 90.0),
)
RUNNING = gauge("noetl_worker_concurrent_dispatches", "Commands being run.")
PENDING = gauge(
    "noetl_worker_nats_consumer_pending", "Commands not delivered yet.", ("stream", "consumer")
)
ACK_PENDING = gauge(
    "noetl_worker_nats_consumer_ack_pending", "Commands delivered, not acknowledged.",
    ("stream", "consumer"),
)  # fmt: skip
CLOCK_AHEAD = gauge(
    "noetl_worker_clock_ahead_seconds", "Wall clock of the worker against the broker's."
)
RESULT_PUT_SECONDS = histogram(
    "noetl_worker_result_store_put_duration_seconds", "Large results stored.", buckets=_PUT_BUCKETS
)
RESULT_PUT_BYTES = counter("noetl_worker_result_store_put_bytes_total", "Their bytes.")
RESULT_PUT_ERRORS = counter("noetl_worker_result_store_put_errors_total", "Those not stored.")
FAST_PATH = counter(
    "noetl_worker_fast_path_total",
    "Commands over messages by how they began or ended.",
    ("outcome",),
    zeros=("started", "quick", "claimed", "duplicate", "lost", "nak", "next", "crowded", "overdue"),
)
CREDENTIALS = counter(
    "noetl_worker_credential_lookups_total",
    "Look-ups of credentials at the edge.",
    ("outcome",),
    zeros=("found", "missing", "failed", "unanswered"),
)
UNCONFIRMED = gauge("noetl_worker_unconfirmed", "Outcomes that wait for their answer.")
