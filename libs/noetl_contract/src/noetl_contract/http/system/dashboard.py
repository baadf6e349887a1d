"""`/api/dashboard/*`."""

from typing import Any, Literal

from noetl_contract.model import Model, example


class DashboardStats(Model):
    """Totals of playbooks, workers and executions, the latter as the projection counted them."""

    total_executions: int
    successful_executions: int
    failed_executions: int
    cancelled_executions: int
    running_executions: int
    total_playbooks: int
    total_workers: int


class DashboardStatsAnswer(Model):
    """The numbers."""

    model_config = example(
        status="ok",
        stats={
            "total_executions": 4,
            "successful_executions": 2,
            "failed_executions": 1,
            "cancelled_executions": 0,
            "running_executions": 1,
            "total_playbooks": 25,
            "total_workers": 1,
        },
    )

    status: Literal["ok"]
    stats: DashboardStats


class DashboardWidget(Model):
    """One widget with its data."""

    id: str
    type: str
    title: str
    config: dict[str, Any]
    data: list[dict[str, Any]]


class DashboardWidgetsAnswer(Model):
    """A trend and a table."""

    widgets: list[DashboardWidget]
