"""`/api/dashboard/*`."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["DashboardStats", "DashboardStatsAnswer", "DashboardWidget", "DashboardWidgetsAnswer"]

_MODEL = ConfigDict(frozen=True, extra="ignore")


class DashboardStats(BaseModel):
    """Numbers of everything; executions as the projection has counted them."""

    model_config = _MODEL

    total_executions: int
    successful_executions: int
    failed_executions: int
    cancelled_executions: int
    running_executions: int
    total_playbooks: int
    total_workers: int


class DashboardStatsAnswer(BaseModel):
    """The numbers."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "status": "ok",
                    "stats": {
                        "total_executions": 4,
                        "successful_executions": 2,
                        "failed_executions": 1,
                        "cancelled_executions": 0,
                        "running_executions": 1,
                        "total_playbooks": 25,
                        "total_workers": 1,
                    },
                }
            ]
        },
    )

    status: Literal["ok"]
    stats: DashboardStats


class DashboardWidget(BaseModel):
    """One widget with its data."""

    model_config = _MODEL

    id: str
    type: str
    title: str
    config: dict[str, Any]
    data: list[dict[str, Any]]


class DashboardWidgetsAnswer(BaseModel):
    """A trend and a table."""

    model_config = _MODEL

    widgets: list[DashboardWidget]
