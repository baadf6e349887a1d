"""The orchestrator's metrics; labels are closed sets, there from the start."""

from noetl_common.metrics import counter, gauge, histogram

_FAST = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)

DECIDE_SECONDS = histogram(
    "noetl_orchestrator_decide_seconds", "Time of all decisions of a turn.", buckets=_FAST
)
COMMIT_SECONDS = histogram(
    "noetl_orchestrator_commit_seconds", "Time of a turn's commit.", buckets=_FAST
)
BATCH_INPUTS = histogram(
    "noetl_orchestrator_turn_inputs",
    "Inputs of a turn.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
)
CONFLICTS = counter(
    "noetl_orchestrator_conflicts_total",
    "Decisions made again because the execution had moved on or was locked.",
)
ACTIVE = gauge(
    "noetl_orchestrator_active",
    "1 while this replica owns executions; another one is ready to follow.",
)
ROWS_LEFT = counter(
    "noetl_orchestrator_rows_left_total",
    "Outbox rows left to the relay's sweep: no connection, no right, refused, or too many at once.",
)
POOLS_NOT_INLINED = gauge(
    "noetl_orchestrator_pools_not_inlined",
    "Pools whose commands are not inlined because several durables cover them.",
)
DROPPED = counter(
    "noetl_orchestrator_dropped_requests_total",
    "Requested writes dropped because too many wait; their senders put them into the stream.",
)
FORWARDED = counter(
    "noetl_orchestrator_forwarded_total",
    "Messages of the stream requested of the owner of their execution: answered, or decided here.",
    ("end",),
    zeros=("answered", "here"),
)
COMMANDS_HANDED = counter(
    "noetl_orchestrator_commands_handed_total",
    "Commands given to a worker with the answer to the outcome of the one before.",
)
HANDED_RELEASED = counter(
    "noetl_orchestrator_handed_released_total",
    "Such commands published after all: the answer may not have arrived, or its worker is gone.",
)
DEAD_LETTERS = counter(
    "noetl_orchestrator_refused_total",
    "Inputs that can never be decided or stored.",
    ("reason",),
    zeros=("undecodable", "wrong_shard", "data", "decision", "followup"),
)
EXECUTIONS_FAILED = counter(
    "noetl_orchestrator_executions_failed_total",
    "Executions ended without folding, because a message could not be stored (W2).",
)
LATE = counter(
    "noetl_command_late_total",
    "Outcomes that came too late.",
    ("reason",),
    zeros=("taken", "finished", "given_back"),
)
UNPROVEN = counter(
    "noetl_command_unproven_total",
    "Claims, starts and outcomes that did not show the capability of their command.",
    ("kind",),
    zeros=("claim", "start", "outcome"),
)
RECLAIMED = counter(
    "noetl_command_reclaimed_total",
    "Commands whose holder was found gone.",
    ("reason",),
    zeros=(
        "worker_gone",
        "worker_registered_again",
        "lease_expired",
        "not_started",
        "hard_timeout",
        "never_began",
    ),
)
ENDED_BY_RESULT = counter(
    "noetl_command_ended_by_result_total",
    "Commands that ended from the result in the log, because their worker did not say so.",
)
LEASES_NOT_JUDGED = counter(
    "noetl_lease_sweeps_without_judgement_total",
    "Sweeps that judged no worker, because a sign of life may be on its way (L3).",
    ("reason",),
    zeros=("heartbeats", "backlog"),
)
COMMANDS_STRANDED = counter(
    "noetl_commands_stranded_total", "Commands sent again because they were not claimed (O3)."
)
FOLLOWUPS_REFUSED = counter(
    "noetl_followups_refused_total",
    "Playbooks that the end of an execution asked for and that could not be started.",
)
SNAPSHOTS = counter("noetl_orchestrator_snapshots_total", "Snapshots written.")
STARTS_DROPPED = counter("noetl_starts_dropped_total", "Starts past their deadline (W5).")
DATABASE_HELD_UP = gauge(
    "noetl_orchestrator_held_turns", "Turns that wait for the database or for ids."
)
WAITING_INPUTS = gauge("noetl_orchestrator_waiting_inputs", "Inputs that wait for a turn.")
CACHE_EXECUTIONS = gauge("noetl_orchestrator_cache_executions", "Executions in memory.")
CACHE_BYTES = gauge("noetl_orchestrator_cache_bytes", "Their memory, roughly.")
