"""Findings: the problem, its meaning, and the next command."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import IntEnum

from noetl_contract.json import JsonObject


class Severity(IntEnum):
    """Severity of a finding; the number is the exit code of the command."""

    HEALTHY = 0
    WARNING = 2
    """It gets worse, or an operator should look."""
    CRITICAL = 3
    """Work stands still or is refused."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Properties that all findings of one code share.

    Attributes:
        severity: how bad it is.
        meaning: what it means for work.
        next: the next command, in which ``{place}`` stands for what it was found at.
    """

    severity: Severity
    meaning: str
    next: str


_TOPOLOGY = "noetl-server topology"
_RUNBOOK = "docs/operations/runbook.md"

KINDS: Mapping[str, Kind] = {
    "process_down": Kind(
        Severity.CRITICAL,
        "A process of the stack is not ready; what it does is left undone.",
        "noetl-server logs {place}",
    ),
    "edge_unreachable": Kind(
        Severity.CRITICAL,
        "Nobody can start, read or report anything.",
        "noetl-server status; or look at the process api-gateway and the address",
    ),
    "edge_unhealthy": Kind(
        Severity.CRITICAL,
        "The edge can't reach what it needs; most requests end with 503.",
        "curl {place}/api/health",
    ),
    "edge_foreign": Kind(
        Severity.CRITICAL,
        "Another program answers at the address of the edge; whoever calls it gets nothing.",
        "compare {place} with the address that the edge listens on, and what stands before it",
    ),
    "login_refused": Kind(
        Severity.CRITICAL,
        "The token is not known there, so whoever uses it gets nothing.",
        "noetl-server key create NAME --role ROLE, with the key of an administrator",
    ),
    "internal_token_refused": Kind(
        Severity.WARNING,
        "System playbooks and scalers that use NOETL_INTERNAL_API_TOKEN are turned away.",
        "compare NOETL_INTERNAL_API_TOKEN here and at the edge",
    ),
    "broker_unreachable": Kind(
        Severity.CRITICAL,
        "Nothing is accepted; workers get nothing and keep what they have to report.",
        "check NOETL_NATS_URL with its user and password, and that NATS runs",
    ),
    "stream_missing": Kind(
        Severity.CRITICAL,
        "Messages of this stream can't be stored; services make it anew if their login may.",
        _TOPOLOGY,
    ),
    "stream_failed": Kind(
        Severity.CRITICAL,
        "What is published to it is lost without a word, also when its disk has room again.",
        f"make room on its disk and restart the broker; {_RUNBOOK}#noetlbrokerstoresnothing",
    ),
    "durable_missing": Kind(
        Severity.CRITICAL,
        "Nobody reads these messages until the durable is made anew.",
        _TOPOLOGY,
    ),
    "consumer_lagging": Kind(
        Severity.WARNING,
        "More arrives than is taken; everything behind it waits.",
        f"{_RUNBOOK}#noetlconsumerlag",
    ),
    "consumer_redelivering": Kind(
        Severity.WARNING,
        "Messages are taken and not acknowledged, again and again.",
        f"{_RUNBOOK}#noetlconsumerredelivering",
    ),
    "dead_letters": Kind(
        Severity.WARNING,
        "Messages that could never be handled are kept for seven days; nobody works on them.",
        f"noetl-server dead-letters list; {_RUNBOOK}#noetldeadletters",
    ),
    "database_unreachable": Kind(
        Severity.CRITICAL,
        "Executions of this database stand still.",
        "check POSTGRES_HOST or NOETL_SHARDS with user and password, and that PostgreSQL runs",
    ),
    "database_closed": Kind(
        Severity.CRITICAL,
        "A command that replaces what it holds was killed; services wait and serve nothing of it.",
        "what the finding says",
    ),
    "database_slow": Kind(
        Severity.CRITICAL,
        "It has let us in and doesn't answer: a lock is held, or it has more to do than it can.",
        "SELECT pid, state, wait_event_type, query FROM pg_stat_activity WHERE state <> 'idle'",
    ),
    "database_unreadable": Kind(
        Severity.WARNING,
        "This login may not read what is needed, so it was not looked at.",
        "use the login that owns the schema, as for noetl-server migrate",
    ),
    "schema_behind": Kind(
        Severity.CRITICAL,
        "Services of this release wait for the schema and are not ready.",
        "noetl-server migrate",
    ),
    "schema_ahead": Kind(
        Severity.WARNING,
        "A newer release has migrated this database; this command may overlook things.",
        "use the command of the newer release",
    ),
    "wrong_shard": Kind(
        Severity.CRITICAL,
        "Services refuse this database, as it was filled as another shard.",
        "put NOETL_SHARDS in the order and number with which the databases were filled",
    ),
    "executions_stuck": Kind(
        Severity.CRITICAL,
        "Nothing of these executions is open and yet they run: they will never end by themselves.",
        "noetl-server why {place}; then cancel it, or restart its orchestrator",
    ),
    "leases_over": Kind(
        Severity.CRITICAL,
        "Commands whose lease is over are not looked at: no orchestrator of the shard works.",
        "noetl-server logs orchestrator",
    ),
    "timers_overdue": Kind(
        Severity.CRITICAL,
        "Waits, sleeps, timeouts and retries are late: no orchestrator of the shard works.",
        "noetl-server logs orchestrator",
    ),
    "pool_without_workers": Kind(
        Severity.CRITICAL,
        "These commands run when a worker of the pool is there, and no sooner.",
        "noetl-server status; start a worker with WORKER_POOL_NAME={place}",
    ),
    "pool_overloaded": Kind(
        Severity.WARNING,
        "Commands wait for long although workers of the pool are alive.",
        "start more workers with WORKER_POOL_NAME={place}",
    ),
    "outbox_waiting": Kind(
        Severity.CRITICAL,
        "What was committed is not published: workers and readers don't hear of it.",
        "noetl-server logs outbox",
    ),
    "outbox_parked": Kind(
        Severity.WARNING,
        "These messages can never be published; executions that needed them have failed.",
        f"noetl-server dead-letters list --parked; {_RUNBOOK}#noetloutboxparked",
    ),
    "projection_lagging": Kind(
        Severity.WARNING,
        "Lists and counters are old; decisions are not affected.",
        "noetl-server logs projector; if it stays, noetl-server rebuild",
    ),
    "log_outside_partitions": Kind(
        Severity.WARNING,
        "Rows lie in the default partition, which retention can't drop.",
        f"{_RUNBOOK}#noetllogoutsidepartitions",
    ),
    "service_silent": Kind(
        Severity.CRITICAL,
        "No process of this service answers.",
        "noetl-server logs {place}",
    ),
    "service_failing": Kind(
        Severity.CRITICAL,
        "The service answers that it can't do its work.",
        "noetl-server logs {place}",
    ),
    "encryption_key_unusable": Kind(
        Severity.CRITICAL,
        "Credentials can't be stored or read: each step that needs one fails.",
        "set NOETL_ENCRYPTION_KEY of the catalog to the key of the stored credentials",
    ),
}
"""Everything that can be found, by code."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        code: one of `KINDS`.
        place: what it was found at, as the next command names it.
        text: what was found, in numbers and names.
        details: more of it, a line each.
    """

    code: str
    place: str
    text: str
    details: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        """Properties that it shares with others of its code."""
        return KINDS[self.code]

    @property
    def next(self) -> str:
        """The next command."""
        return self.kind.next.replace("{place}", self.place)

    def as_json(self) -> JsonObject:
        """Return all of it under names."""
        return {
            **asdict(self),
            "severity": self.kind.severity.name.lower(),
            "meaning": self.kind.meaning,
            "next": self.next,
        }


@dataclass(slots=True)
class Report:
    """Parts of a system that were looked at, and the findings there.

    Attributes:
        left_out: what was not looked at, with the reason.
        notes: what is as somebody wants it, and good to know.
    """

    findings: list[Finding] = field(default_factory=list)
    looked_at: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, what: str, findings: Iterable[Finding]) -> None:
        """Note that something was looked at, with the findings there."""
        self.looked_at.append(what)
        self.findings += findings

    @property
    def severity(self) -> Severity:
        """That of the worst finding."""
        return max((one.kind.severity for one in self.findings), default=Severity.HEALTHY)

    @property
    def exit_code(self) -> int:
        """Exit code of the worst finding; 1 where nothing was looked at."""
        return int(self.severity) if self.looked_at else 1

    def ranked(self) -> list[Finding]:
        """Return the findings, the worst first."""
        return sorted(self.findings, key=lambda one: -one.kind.severity)

    def as_json(self) -> JsonObject:
        """Return all of it under names."""
        return {
            "status": self.severity.name.lower() if self.looked_at else "unknown",
            "exit_code": self.exit_code,
            "findings": [one.as_json() for one in self.ranked()],
            "looked_at": self.looked_at,
            "left_out": self.left_out,
            "notes": self.notes,
        }
