"""The `spec` of a document of kind Subscription."""

from typing import Literal

from pydantic import Field, ValidationError

from noetl_contract.json import Json
from noetl_contract.model import Model

type PayloadFrom = Literal["message.json", "message.body", "message.attributes"]


class DispatchSpec(Model):
    """Start of executions for messages.

    Attributes:
        playbook: its path.
        payload_from: part of a message that the workload gets beside the message itself.
        execution_pool: pool that runs the executions, if not the playbook's own.
        batch_dispatch: start many messages with one request.
        batch_max: most of them in one request.
    """

    playbook: str = Field(min_length=1)
    payload_from: PayloadFrom = "message.json"
    execution_pool: str | None = None
    batch_dispatch: bool = False
    batch_max: int = Field(default=100, ge=1, le=1000)


class DedupSpec(Model):
    """Detection of repeated messages.

    Attributes:
        enabled: without it every delivery is a start of its own.
        window_secs: how long a key is remembered.
        key: where in the message the key is, as `headers.x-delivery` or `data.event.id`; without
            it what the source says, then an id of the delivery.
    """

    enabled: bool = True
    window_secs: int = Field(default=86_400, ge=1)
    key: str | None = Field(default=None, max_length=500)


class LimitsSpec(Model):
    """Limits of concurrent starts and of their rate."""

    max_in_flight: int | None = Field(default=None, ge=1)
    max_dispatch_per_sec: int | None = Field(default=None, ge=1)


class PollSpec(Model):
    """Reads of a source: messages at once, and the wait for the first."""

    batch: int = Field(default=100, ge=1, le=1000)
    timeout_ms: int = Field(default=1000, ge=1, le=30_000)


class Rule(Model):
    """A directive: an option that a header of a message may decide.

    Attributes:
        header: its name; case doesn't count.
        controls: the option that it decides.
        allowed: values that count; playbooks and pools need some.
        map: pools by priority.
    """

    header: str
    controls: str
    allowed: tuple[str, ...] = ()
    map: dict[str, str] = Field(default_factory=dict)


class TraceSpec(Model):
    """Headers of a trace that are passed on to the execution."""

    propagate: Literal["none", "w3c"] = "none"
    baggage_allowlist: tuple[str, ...] = ()


class HeadersSpec(Model):
    """Directives and trace headers."""

    directives: tuple[Rule, ...] = ()
    trace: TraceSpec = TraceSpec()


class CircuitSpec(Model):
    """Circuit breaker of starts: when it opens, and how it is probed.

    Attributes:
        trip_after: failures in a row.
        probe_after_ms: rest before the first probe.
        probe_interval_ms: between probes.
        probe: `http` asks the control plane for its health, `tcp` connects, `nats` asks the
            connection to the broker, `passive` tries one message.
        address: of the probe, if it is not the control plane's.
    """

    trip_after: int = Field(default=5, ge=1)
    probe_after_ms: int = Field(default=30_000, ge=1)
    probe_interval_ms: int = Field(default=5_000, ge=1)
    probe: Literal["http", "tcp", "nats", "passive"] = "http"
    address: str | None = None


class DrainSpec(Model):
    """Order of spooled and new messages once starts are possible again."""

    on_recovery: Literal["ordered_then_live", "interleave"] = "ordered_then_live"


class SpoolSpec(Model):
    """Spool of messages while no execution can be started.

    Attributes:
        mode: `off`; `buffer_and_ack` keeps every message while the circuit is open; `hybrid` only
            those that were taken before, and leaves the others at the source.
        backend: the store of the spool.
        bucket: of the object store; dead letters are in ``<bucket>_dlq``.
        path: folder below the operator's; dead letters are in its folder ``dlq``.
        ordering: `global` replays one after the other, `per_key` those of one key, `none` at once.
        ordering_key: where in the message that key is.
        drain: the order of messages afterwards.
        max_messages: kept at most.
        max_bytes: their bytes.
        on_full: stop taking messages, only raise an alarm, or make further ones dead letters.
    """

    mode: Literal["off", "buffer_and_ack", "hybrid"] = "off"
    backend: Literal["nats_object", "local_disk", "gcs", "s3"] = "nats_object"
    bucket: str | None = None
    path: str | None = None
    ordering: Literal["global", "per_key", "none"] = "global"
    ordering_key: str | None = None
    drain: DrainSpec = DrainSpec()
    max_messages: int = Field(default=100_000, ge=1)
    max_bytes: int = Field(default=1 << 30, ge=1)
    on_full: Literal["stop_acking", "alert_only", "dead_letter"] = "stop_acking"


class DeadLetterSpec(Model):
    """Handling of messages whose start fails for good.

    Attributes:
        to: subject, topic, queue or stream of the source; without it the stream `noetl_dead`.
        max_attempts: refusals that are no outage, until a message is given up.
    """

    to: str | None = None
    max_attempts: int = Field(default=5, ge=1)


class SubscriptionSpec(Model):
    """Options of a subscription for the runtime, beside the fields of the connection."""

    source: str
    auth: str | None = None
    dispatch: DispatchSpec
    runtime: PollSpec = PollSpec()
    dedup: DedupSpec = DedupSpec()
    limits: LimitsSpec = LimitsSpec()
    headers: HeadersSpec = HeadersSpec()
    circuit: CircuitSpec = CircuitSpec()
    spool: SpoolSpec = SpoolSpec()
    dead_letter: DeadLetterSpec = DeadLetterSpec()


def spec_problems(spec: Json) -> list[tuple[str, str]]:
    """Return the problems of a ``spec``: dotted paths, each with the reason."""
    try:
        SubscriptionSpec.model_validate(spec)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        return [(".".join(map(str, one["loc"])), one["msg"]) for one in found]
    return []
