"""`POST /api/executions/{id}/analyze`: the answer of `why` in the web UI's form."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

from litestar import Response
from litestar.params import FromPath
from noetl_contract.access.rights import Right
from noetl_contract.events import ExecutionStatus
from noetl_contract.http.executions.analysis import AnalysisAnswer, AnalysisFinding
from noetl_contract.http.executions.why import Reason, WhyAnswer
from noetl_contract.http.moments import rfc3339

from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.fields import path_id
from noetl_api_gateway.routes.executions.repair.why import answer_of
from noetl_api_gateway.routes.forwarding import UNKNOWN_EXECUTION, Topic

TOPIC = Topic("executions", errors=UNKNOWN_EXECUTION)
_NEEDS_SOMEBODY = frozenset(
    {"no_worker", "no_worker_for_kind", "not_published", "parked_outbox", "worker_silent", "paused"}
)
_ADVICE: Mapping[str, str] = {
    "no_worker": "Start a worker of pool '{pool}'.",
    "no_worker_for_kind": "Start a worker of pool '{pool}' that runs '{tool_kind}'.",
    "workers_busy": "Start more workers of pool '{pool}', or wait for a free one.",
    "not_published": "Look at the outbox service: it has not sent the command yet.",
    "parked_outbox": "Release the parked row of the outbox, or cancel the execution.",
    "worker_silent": "Look at worker '{worker_id}': its command is given to another one by itself.",
    "paused": "Resume what is paused.",
    "wait": "Answer the wait of step '{step}'.",
    "callback": "Send the answer that step '{step}' waits for.",
    "child": "Look at the child execution {execution_id}.",
}


@TOPIC.route(
    "POST /api/executions/{execution_id:str}/analyze",
    AnalysisAnswer,
    needs=Right.EXECUTIONS_READ,
    summary="Tell what is wrong with an execution, or what it waits for, and what may help",
)
async def analyze(
    request: AnyRequest, gateway: OpenGateway, execution_id: FromPath[str]
) -> Response[bytes]:
    """Answer from the same rows as `why`; a body is not read."""
    found = await answer_of(gateway.services, path_id(execution_id))
    return json_answer(request, _analysis_of(found, datetime.now(UTC)))


def _analysis_of(found: WhyAnswer, now: datetime) -> AnalysisAnswer:
    findings = [
        AnalysisFinding(
            severity=_severity(one, found.status),
            code=one.code,
            message=one.text,
            step=one.step,
            since=one.since,
        )
        for one in found.reasons
    ]
    advices = (advice for one in found.reasons if (advice := _advice(one, found.status)))
    return AnalysisAnswer(
        execution_id=found.execution_id,
        status=found.status,
        generated_at=rfc3339(now),
        summary=findings[0].message if findings else f"It is {found.status}.",
        findings=findings,
        recommendations=list(dict.fromkeys(advices)),
        why=found,
    )


def _severity(reason: Reason, status: str) -> Literal["error", "warning", "info"]:
    if reason.code == "ended":
        return "error" if status == ExecutionStatus.FAILED else "info"
    return "warning" if reason.code in _NEEDS_SOMEBODY else "info"


def _advice(reason: Reason, status: str) -> str | None:
    if reason.code == "ended":
        is_failed = status == ExecutionStatus.FAILED
        text = "Mend the cause, then go on from the failed step: POST …/restart does."
        return text if is_failed else None
    pattern = _ADVICE.get(reason.code)
    return None if pattern is None else pattern.format_map(_named(reason))


def _named(reason: Reason) -> dict[str, str]:
    """Return the names in a reason that a sentence needs."""
    names = ("pool", "tool_kind", "worker_id", "step", "execution_id")
    return {name: str(getattr(reason, name) or "?") for name in names}
