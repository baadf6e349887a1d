"""`/api/system` and `/api/dead-letters`: states of the services, messages that were given up."""

from typing import Literal

from noetl_contract.http.moments import Rfc3339
from noetl_contract.model import Model, example

type Source = Literal["default", "environment", "file", "given"]


class SettingInEffect(Model):
    """A setting of a process and its source; secrets have no `value`.

    `given` is what follows from other settings, such as a shard's database from the list of them.
    """

    name: str
    value: str | None
    source: Source


class QueueState(Model):
    """A consumer of a stream: messages that wait for it, and those in progress."""

    model_config = example(
        stream="noetl_ingress",
        consumer="orchestrator_0_kinds",
        exists=True,
        pending=0,
        unanswered=2,
        redelivered=0,
    )

    stream: str
    consumer: str
    exists: bool = True
    pending: int = 0
    unanswered: int = 0
    redelivered: int = 0


class OutboxState(Model):
    """Rows of a shard that are to be published: those due now, the age of the oldest, by kind."""

    waiting: int
    oldest_seconds: float
    parked: int
    pending: dict[str, int]


class WorkerLoad(Model):
    """The commands that a worker has on a shard."""

    worker_id: str
    running: int


class ServiceState(Model):
    """State of one process of a service.

    `readiness` has `ok` or the reason why not, by check; `queues` the consumers that the service
    reads; `unknown` the parts that it could not read now.
    """

    service: str
    shard: int | None
    version: str
    revision: str
    python: str
    uptime_seconds: float
    readiness: dict[str, str]
    settings: list[SettingInEffect]
    queues: list[QueueState]
    outbox: OutboxState | None = None
    workers: list[WorkerLoad] | None = None
    unknown: list[str]


class SilentService(Model):
    """A service that did not answer, or is of a release that can't."""

    service: str
    shard: int | None
    reason: str


class PoolLoad(Model):
    """The open commands of a pool over all shards."""

    pool: str
    waiting: int
    running: int
    oldest_seconds: float


class SystemAnswer(Model):
    """One process of each service, this edge first; `pools` is null where not known."""

    services: list[ServiceState]
    silent: list[SilentService]
    pools: list[PoolLoad] | None


class GivenUp(Model):
    """A dead letter of the broker, or a parked row of an outbox.

    `requeue` is the command that puts it back, null where it can't be: `hindrance` says why.
    """

    model_config = example(
        name="17",
        subject="noetl_ingress.0.325077236512452608.events",
        execution_id="325077236512452608",
        reason="no message of this kind",
        tries=1,
        given_up_at="2026-06-15T12:00:00Z",
        hindrance=None,
        requeue="noetl-server dead-letters replay 17",
    )

    name: str
    subject: str | None
    execution_id: int | str | None
    reason: str
    tries: int
    given_up_at: Rfc3339
    hindrance: str | None
    requeue: str | None


class GivenUpList(Model):
    """The newest of both kinds; `before` is the number for older letters, null at their end.

    `total` counts the letters that are kept; of each shard's parked rows the newest are here.
    """

    letters: list[GivenUp]
    total: int
    before: int | None
    rows: list[GivenUp]
