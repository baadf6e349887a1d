"""Settings of the orchestrator."""

from typing import Literal

from noetl_bus.settings import EventRelaySettings, NatsSettings
from noetl_common.settings import PlaybookSettings
from noetl_contract.rpc import Refusal
from noetl_contract.sharding import shard_for
from noetl_engine.inputs import Limits
from noetl_engine.playbook.defaults import Defaults
from noetl_engine.playbook.model import LONGEST_SECONDS
from noetl_pg.settings import ShardDatabaseSettings
from noetl_service.settings import CommandKeySettings, ServiceSettings
from pydantic import AliasChoices, Field


class Settings(
    NatsSettings,
    ShardDatabaseSettings,
    PlaybookSettings,
    CommandKeySettings,
    EventRelaySettings,
    ServiceSettings,
):
    """The environment of an orchestrator process."""

    # The turn.
    turn_inputs: int = Field(default=256, ge=1)
    """Inputs of one turn at most."""
    turn_inputs_per_execution: int = Field(default=32, ge=1)
    """Inputs of one execution in one turn at most (W9)."""
    turn_events_per_execution: int = Field(default=1000, ge=1)
    """Events of one execution after which its other inputs wait for the next turn (W9)."""
    turn_seconds: float = Field(default=0.1, gt=0)
    """Processor time of the decisions of one turn; what is not decided by then comes with the next
    one (W29)."""
    turns_in_flight: int = Field(default=2, ge=1)
    """Turns of disjoint executions that may run side by side."""
    ingress_window: int = Field(default=1024, ge=1)
    """Writes held at once by this process; besides them as many claims, as many cancels and other
    writes of operators, and four times as many writes that siblings forward."""
    replicas_active_min: int = Field(default=1, ge=1)
    """Replicas that own executions however little there is to do; more do when these keep their
    cores busy."""
    conflict_attempts: int = Field(default=30, ge=1)
    """Decisions made again after a conflict before giving back."""
    decision_seconds: float = Field(default=5.0, gt=0)
    """Processor time of one execution's decisions in a turn; above, the execution fails (W14)."""
    hang_exit_seconds: float = Field(default=20.0, ge=1)
    """A process whose event loop stands still for longer ends, and says where it stood (W14)."""
    commit_timeout_seconds: float = Field(default=15.0, gt=0)
    """A commit without an answer has an unknown outcome (W8)."""
    background_pool_max: int = Field(default=3, ge=1)
    """Database connections of leases, timers and look-ups (F12)."""

    # The cache.
    cache_executions: int = Field(default=20_000, ge=1)
    """Executions kept in memory; ended ones for a quarter of a minute."""
    cache_bytes: int = Field(default=256 << 20, ge=1)
    """Their memory, roughly."""
    cache_playbooks: int = Field(default=500, ge=1)
    """Parsed playbooks kept in memory."""
    snapshot_min_events: int = Field(default=256, ge=1)
    """A snapshot is written when at least this many events and as many bytes as the last one had
    have come since (W11)."""
    parse_in_thread_bytes: int = Field(default=32_768, ge=0)
    """Playbooks above this size are parsed in a thread."""

    # Messages of a commit.
    fast_path_enabled: bool = True
    """Whether small commands travel whole in their notification."""
    fast_path_seconds: float = Field(default=30.0, gt=0)
    """How long an inlined command may be started unclaimed."""
    fast_path_max_bytes: int = Field(default=65_536, ge=0)
    """Largest notification with its command inside."""
    repeated_workload_bytes: int = Field(default=4096, ge=0)
    """Commands of executions with a larger workload name it in the log and do not repeat it; 0: all
    repeat it."""

    retention_archived_only: bool = False
    """Whether clean-ups drop only what `noetl-server archive` has written as it is."""

    # Requests.
    claim_patience_seconds: float = Field(default=1.5, gt=0)
    """A claim still undecided after this is answered 503 (W7)."""
    request_key_seconds: float = Field(default=604_800.0, gt=0)
    """How long Idempotency-Keys are remembered."""

    # Failures.
    playbook_errors: Literal["continue", "fail"] = "continue"
    """Effect of a soft error on its step, unless the playbook says so in `spec.errors`: the step
    completes, or it fails."""
    on_child_failure: Literal["continue", "fail"] = "continue"
    """Whether a `playbook` step fails with the child that it waits for, unless its tool says so."""

    trigger_refresh_seconds: float = Field(default=30.0, gt=0)
    """How often the catalog is asked for triggers; also when it says that one has changed, and a
    change whose message is lost counts after this."""

    # Leases.
    command_claim_lease_seconds: float = Field(default=60.0, ge=1)
    """When a held command is looked at next, at the latest."""
    command_worker_heartbeat_stale_seconds: float = Field(default=60.0, ge=1)
    """Age of a heartbeat after which its worker counts as gone."""
    command_result_seconds: float = Field(default=1.5, gt=0)
    """A command whose worker has reported its result and nothing since ends from it after this."""
    command_start_grace_seconds: float = Field(default=30.0, ge=1)
    """A claim that has not started after this is orphaned."""
    command_hard_timeout_seconds: float = Field(
        default=1800.0,
        ge=1,
        validation_alias=AliasChoices(
            "NOETL_COMMAND_CLAIM_HEALTHY_WORKER_HARD_TIMEOUT_SECONDS",
            "NOETL_COMMAND_REAPER_HEALTHY_HARD_TIMEOUT_SECONDS",
        ),
    )
    """Even a healthy holder loses its command after this."""
    command_max_attempts: int = Field(default=3, ge=1)
    """How often a command is dispatched before it fails."""
    clock_allowance_seconds: float = Field(default=5.0, ge=0)
    """How far clocks may differ from the database's."""
    lease_sweep_seconds: float = Field(default=1.0, gt=0)
    """Pause between two sweeps."""
    lease_again_seconds: float = Field(default=10.0, gt=0)
    """When an orphaned command is looked at again."""
    lease_sweep_limit: int = Field(
        default=100,
        ge=1,
        validation_alias=AliasChoices(
            "NOETL_LEASE_SWEEP_LIMIT", "NOETL_COMMAND_REAPER_MAX_PER_RUN"
        ),
    )
    """Commands looked at in one sweep."""
    pending_retry_seconds: float = Field(
        default=60.0,
        ge=1,
        validation_alias=AliasChoices(
            "NOETL_PENDING_RETRY_SECONDS", "NOETL_COMMAND_REAPER_PENDING_RETRY_SECONDS"
        ),
    )
    """First pause before an unclaimed command is sent again (O3)."""
    pending_retry_max_seconds: float = Field(default=900.0, ge=1)
    """Longest such pause."""
    ingress_backlog_seconds: float = Field(default=5.0, gt=0)
    """No worker is judged while older messages wait (L3)."""
    liveness_seconds: float = Field(default=2.0, gt=0)
    """How often the catalog is asked for the workers' heartbeats while a command is held."""
    liveness_idle_seconds: float = Field(default=15.0, ge=0)
    """How often while none is held."""

    edge_heartbeat_stale_seconds: float = Field(default=15.0, ge=1)
    """An edge silent for longer counts as down (L3); at most a third of the workers' limit is
    used."""

    # Timers.
    timer_poll_seconds: float = Field(default=0.25, gt=0)
    """Shortest pause between two looks for due timers."""
    agenda_seconds: float = Field(default=5.0, gt=0)
    """How often the database is asked when the next timer and lease are due; those that a process
    left behind which ended are late by so much at most."""
    timer_lease_seconds: float = Field(default=30.0, gt=0)
    """When a due timer that was taken is due again."""
    timer_batch: int = Field(default=200, ge=1)
    """Timers taken at once."""
    timer_inputs_max: int = Field(default=512, ge=1)
    """No more timers are taken while as many inputs wait for their turn."""

    # Retention.
    partitions_ahead_days: int = Field(default=200, ge=1)
    """How far ahead partitions of the log are made."""
    purge_commands_max: int = Field(default=50_000, ge=1)
    """Old commands removed by one request."""

    decision_commands: int = Field(default=200, ge=1)
    """Commands of one decision at most (W9)."""
    decision_command_bytes: int = Field(default=16 << 20, ge=1)
    """Bytes of the commands of one decision at most, roughly: each carries the whole context
    (W9)."""
    decision_result_bytes: int = Field(default=8 << 20, ge=0)
    """Bytes of the parts that the templates of one decision name in results above the inline
    limit; a step that needs more fails."""
    iterations_in_flight: int = Field(default=10_000, ge=1)
    """Iterations of a loop of waits that are open at once, even without max_in_flight."""
    loop_window: int = Field(default=256, ge=1)
    """Iterations of a loop that workers have at once, even without max_in_flight; commands of
    others wait behind no more of them. Above the slots of the largest pool, or some of these stay
    free (W30)."""
    child_depth_max: int = Field(default=32, ge=1)
    """Generations of children below an execution (W15)."""
    family_executions_max: int = Field(default=10_000, ge=1)
    """Executions that an execution, its children and theirs may start in all, on one shard
    (W15)."""
    execution_steps_max: int = Field(default=1_000_000, ge=1)
    """Steps that one execution may enter, and a tenth of its events; it fails above (W15)."""
    decision_rounds: int = Field(default=1000, ge=1)
    """Rounds of empty loops in one decision (R6)."""

    decision_template_work: int = Field(default=400_000, ge=1)
    """Work of all templates of one decision at most, in the units of templates: a round, a call or
    a filter costs one or more (W28). Half of it ends a part of a fan-out (W9)."""
    template_source_chars: int = Field(default=65_536, ge=1)
    """Longest code of one template; text outside of its tags doesn't count."""

    not_repeatable_kinds: str = ""
    """Kinds of tools, divided by commas, whose commands fail with an unknown outcome when their
    worker is lost, instead of running again. A step's `spec.repeatable` wins."""
    callback_timeout_seconds: float = Field(default=21_600.0, gt=0, le=LONGEST_SECONDS)
    """How long a finished container step waits for its callback, unless its tool wants it to wait
    longer."""

    # Waits.
    signal_bytes_max: int = Field(default=65_536, ge=1)
    """Largest payload of a signal, as JSON."""
    signals_kept_max: int = Field(default=100, ge=0)
    """Signals of an execution that nothing has waited for yet."""
    signals_kept_bytes_max: int = Field(default=262_144, ge=0)
    """Their payloads together, as JSON."""

    def refuse_foreign(self, execution_id: int) -> Refusal | None:
        """Return the refusal of a request about an execution of another shard.

        Any other status would make a worker drop a command that is alive on its shard.
        """
        if shard_for(execution_id, shard_count=self.shard_count) == self.shard_index:
            return None
        return Refusal(503, f"Execution {execution_id} is not of this shard")

    def edge_stale_seconds(self) -> float:
        """Return the limit for edges: a silent one must be noticed before workers are judged."""
        third = self.command_worker_heartbeat_stale_seconds / 3
        return min(self.edge_heartbeat_stale_seconds, third)

    def defaults(self) -> Defaults:
        """Return the server's defaults for options that a playbook leaves open."""
        return Defaults(
            fails_softly=self.playbook_errors == "fail",
            fails_with_child=self.on_child_failure == "fail",
        )

    def limits(self) -> Limits:
        """Return the limits of decisions."""
        return Limits(
            max_attempts=self.command_max_attempts,
            heartbeat_stale_seconds=self.command_worker_heartbeat_stale_seconds,
            start_grace_seconds=self.command_start_grace_seconds,
            hard_timeout_seconds=self.command_hard_timeout_seconds,
            lease_seconds=self.command_claim_lease_seconds,
            result_seconds=self.command_result_seconds,
            clock_allowance_seconds=self.clock_allowance_seconds,
            fast_path_seconds=self.fast_path_seconds,
            commands_per_decision=self.decision_commands,
            command_bytes_per_decision=self.decision_command_bytes,
            repeated_workload_bytes=self.repeated_workload_bytes,
            iterations_in_flight=self.iterations_in_flight,
            loop_window=self.loop_window,
            rounds_per_decision=self.decision_rounds,
            steps_per_execution=self.execution_steps_max,
            template_work_per_decision=self.decision_template_work,
            callback_seconds=self.callback_timeout_seconds,
            once=frozenset(filter(None, map(str.strip, self.not_repeatable_kinds.split(",")))),
            signal_bytes=self.signal_bytes_max,
            signals_kept=self.signals_kept_max,
            signals_kept_bytes=self.signals_kept_bytes_max,
        )
