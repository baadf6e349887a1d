"""`/api/worker/pool/*` and `/api/worker/pools`."""

from typing import Any

from pydantic import AliasChoices, Field

from noetl_contract.access.principal import OnBehalf
from noetl_contract.http.aliases import Aliased
from noetl_contract.http.moments import Rfc3339
from noetl_contract.http.scalars import I32
from noetl_contract.model import Model, example

_KIND = Field(default="worker_pool", validation_alias=AliasChoices("kind", "component_type"))


class RuntimeRegisterRequest(Aliased):
    """Registration of a worker, server or broker.

    A new value of `runtime.worker_public_key` or `runtime.instance` shows a new process, whose
    predecessor's claims are void; without either this is only a heartbeat.
    """

    model_config = example(
        name="w-1",
        component_type="worker_pool",
        runtime={"kind": "rust", "worker_public_key": "<base64>"},
        status="ready",
        labels={"pool_name": "worker-pool"},
    )

    name: str
    kind: str = _KIND
    uri: str | None = None
    status: str = "active"
    labels: Any = None
    capabilities: Any = None
    capacity: I32 | None = None
    runtime: Any = None
    hostname: str | None = Field(default=None, description="checked and not kept")


class RuntimeNameRequest(Aliased):
    """Name of a runtime that is alive, or leaves."""

    model_config = example(name="w-1")

    name: str
    kind: str = _KIND


class RunningCommand(Model):
    """The run of a command by a worker."""

    execution_id: int
    event_id: int
    attempts: int = 0


class RuntimeBeatRequest(RuntimeNameRequest):
    """Heartbeat of a worker, which may ask which of its runs are over."""

    model_config = example(name="w-1")

    commands: list[RunningCommand] = Field(default_factory=list, max_length=1000)
    command_reports: bool = Field(
        default=False,
        description="ask whether this edge takes `POST /api/commands/{event_id}/reports`",
    )


class RuntimeRegistration(RuntimeRegisterRequest, OnBehalf):
    """A registration as the catalog gets it; the edge sets `over_edge`, not the client."""

    over_edge: bool = False


class RuntimeBeat(RuntimeNameRequest):
    """A heartbeat as the catalog gets it."""

    over_edge: bool = False


class RuntimeLeave(RuntimeNameRequest, OnBehalf):
    """A deregistration as the catalog gets it."""


class RuntimePoolsQuery(Model):
    """Filter of runtimes to list."""

    kind: str = "worker_pool"
    status: str | None = None
    name: str | None = Field(default=None, description="part of the name")


class RuntimeEntry(Model):
    """One registered runtime."""

    model_config = example(
        runtime_id=383611777386247169,
        name="w-1",
        kind="worker_pool",
        uri=None,
        status="ready",
        labels={"pool_name": "worker-pool"},
        capabilities=None,
        capacity=None,
        runtime={"kind": "rust", "worker_public_key": "<base64>"},
        heartbeat="2026-06-15T12:00:00.123456Z",
        created_at="2026-06-15T12:00:00.123456Z",
        updated_at="2026-06-15T12:00:00.123456Z",
    )

    runtime_id: int | str
    name: str
    kind: str
    uri: str | None
    status: str
    labels: Any
    capabilities: Any
    capacity: int | None
    runtime: Any
    heartbeat: Rfc3339
    created_at: Rfc3339
    updated_at: Rfc3339


class RuntimeRegisterAnswer(RuntimeEntry):
    """The registration, and the options that this edge offers a worker."""

    command_reports: bool | None = Field(
        default=None,
        description="`POST /api/commands/{event_id}/reports` is there; only for who asks",
    )


class RuntimeAcknowledgement(Model):
    """Acknowledgement of a heartbeat or deregistration."""

    status: str
    message: str


class RuntimeBeatAnswer(RuntimeAcknowledgement):
    """Acknowledgement of a heartbeat, with the named runs whose tools have to be stopped."""

    model_config = example(status="ok", message="Heartbeat recorded")

    over: list[RunningCommand] | None = Field(
        default=None, description="only where the request named commands"
    )
    command_reports: bool | None = Field(
        default=None,
        description="`POST /api/commands/{event_id}/reports` is there; only for who asks",
    )


class ShardPreview(Model):
    """Shard of an execution; all numbers are integers, for browsers too."""

    model_config = example(
        execution_id=42,
        shard_count=16,
        shard_index=3,
        source="noetl-gateway",
        hash_function="twox_hash::XxHash64",
        seed=0,
    )

    execution_id: int
    shard_count: int
    shard_index: int
    source: str
    hash_function: str
    seed: int


class ShardConfig(Model):
    """Shard settings of the answering process."""

    shard_index: int
    shard_count: int


class ShardInfo(ShardPreview):
    """Shard of an execution, and the shard settings of the process."""

    model_config = example(
        execution_id=42,
        shard_count=16,
        shard_index=3,
        source="noetl-server",
        hash_function="twox_hash::XxHash64",
        seed=0,
        server_config={"shard_index": 0, "shard_count": 1},
    )

    server_config: ShardConfig


class RuntimeContract(Model):
    """Description of the edge; `auth0` is there only when a login provider is configured."""

    gateway_version: str
    contract_version: str
    summary: str
    routes: dict[str, list[str]]
    proxy_contract: dict[str, Any]
    cli_operation_mapping: dict[str, str]
    execution_contract: dict[str, str]
    agent_contract: dict[str, str]
    auth0: dict[str, str] | None = None
