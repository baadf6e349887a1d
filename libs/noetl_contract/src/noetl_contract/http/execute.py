"""`POST /api/execute` (http-b 2.1)."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["DedupWindow", "ExecuteAnswer", "ExecuteRequest"]

_TOLERANT = ConfigDict(frozen=True, extra="ignore")


class DedupWindow(BaseModel):
    """Starts with the same key within the window are one start (http-b 2.3)."""

    model_config = _TOLERANT

    key: str
    window_secs: int = Field(default=300, ge=0)


class ExecuteRequest(BaseModel):
    """Start an execution; one of `path` and `catalog_id` is needed, `catalog_id` wins."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra={
            "examples": [{"path": "examples/hello", "workload": {"message": "hi"}}],
        },
    )

    path: str | None = None
    catalog_id: int | str | None = None
    version: int | str | None = Field(
        default=None, description="absent, null or `latest`: the newest version of the path"
    )
    payload: dict[str, Any] = Field(
        default_factory=dict, description="laid over the workload of the playbook"
    )
    workload: dict[str, Any] | None = Field(default=None, description="other name of `payload`")
    parent_execution_id: int | str | None = None
    execution_pool: str | None = Field(
        default=None, description="worker pool that runs all commands of the execution"
    )
    trace: Any = None
    dedup: DedupWindow | None = None


class ExecuteAnswer(BaseModel):
    """The execution that runs now, or the one that the dedup key started before."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "execution_id": "325077236512452608",
                    "status": "started",
                    "commands_generated": 1,
                }
            ],
        },
    )

    execution_id: str
    status: Literal["started", "duplicate"]
    commands_generated: int
