"""Settings of the projector service."""

from noetl_common.settings import NatsSettings, ServiceSettings, ShardDatabaseSettings
from pydantic import Field

__all__ = ["Settings"]


class Settings(NatsSettings, ShardDatabaseSettings, ServiceSettings):
    """Everything the projector reads from its environment."""

    detail_events_max: int = Field(
        default=2000, gt=0, description="Events in one execution detail; the newest are kept."
    )
    detail_bytes_max: int = Field(
        default=16 << 20,
        gt=0,
        description="Bytes of contexts and results in one answer; older ones are left out.",
    )
    tail_events_max: int = Field(
        default=1000, gt=0, description="Events in one answer of executions.tail."
    )
    completed_steps_max: int = Field(
        default=200, gt=0, description="Step names in one status answer, the newest kept."
    )
    list_limit: int = Field(
        default=10_000, gt=0, description="Executions in one answer of the list."
    )
    result_max_bytes: int = Field(
        default=64 << 20, gt=0, description="Largest result that is stored."
    )
    projection_batch: int = Field(
        default=512, gt=0, description="Event messages taken at once by the projection."
    )
    projection_rest_seconds: float = Field(
        default=0.15,
        ge=0,
        description="Rest of the projection after a batch, for the next one to gather.",
    )
    sweep_interval_seconds: float = Field(
        default=5.0, gt=0, description="How often the read model is compared with the logs."
    )
    sweep_first_reach_seconds: float = Field(
        default=86_400.0, gt=0, description="How far back the first comparison looks."
    )
    sweep_batch: int = Field(
        default=1000, gt=0, description="Executions brought up to date by one statement."
    )
    rpc_concurrency: int = Field(default=64, gt=0, description="Requests worked on at once.")
