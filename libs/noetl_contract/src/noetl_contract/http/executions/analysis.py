"""`POST /api/executions/{id}/analyze`: the answer of `why` in the web UI's form."""

from typing import Literal

from pydantic import Field

from noetl_contract.http.executions.why import WhyAnswer
from noetl_contract.http.moments import Rfc3339
from noetl_contract.model import Model, example


class AnalysisFinding(Model):
    """One finding about an execution."""

    severity: Literal["error", "warning", "info"]
    code: str = Field(description="that of the reason in `why`")
    message: str
    step: str | None = None
    since: Rfc3339


class AnalysisAnswer(Model):
    """Status of an execution, with reasons and recommendations; no AI model is asked."""

    model_config = example(
        execution_id="325077236512452608",
        status="RUNNING",
        generated_at="2026-06-15T09:20:00Z",
        summary="step 'start' waits for a worker: no worker of pool 'gpu' is registered",
        findings=[
            {
                "severity": "warning",
                "code": "no_worker",
                "message": "step 'start' waits for a worker: no worker of pool 'gpu' is registered",
                "step": "start",
                "since": "2026-06-15T09:18:22.901000Z",
            }
        ],
        recommendations=["Start a worker of pool 'gpu'."],
        why={
            "execution_id": "325077236512452608",
            "status": "RUNNING",
            "reasons": [],
            "workers": [],
            "open_commands": 1,
            "running_children": 0,
        },
    )

    execution_id: str
    status: str
    generated_at: Rfc3339
    summary: str = Field(description="the most telling finding")
    findings: list[AnalysisFinding]
    recommendations: list[str] = Field(description="for people; may change")
    why: WhyAnswer
