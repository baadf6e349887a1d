"""Answers for operators of executions, one function per operation."""

from noetl_bus.rpc import Handlers, answers
from noetl_contract.http.executions.failures import (
    FailureDismissAnswer,
    FailureGroup,
    FailureList,
)
from noetl_contract.http.executions.why import OpenWork
from noetl_contract.http.masking import masked
from noetl_contract.http.moments import rfc3339
from noetl_contract.http.secret_values import without
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.projector import ExecutionName
from noetl_contract.rpc.triage import (
    EXECUTIONS_WHY,
    FAILURES_DISMISS,
    FAILURES_LIST,
    FAILURES_OF,
    Dismissal,
    FailedExecutions,
    FailuresOf,
    FailuresPage,
)

from noetl_projector.known_secrets import KnownSecrets
from noetl_projector.triage.failures import FailureStore, Group
from noetl_projector.triage.open_work import OpenWorkStore

_MOST_GROUPS = 200


class TriageHandlers(Handlers):
    """`failures.…` and `executions.why`."""

    def __init__(
        self, failures: FailureStore, open_work: OpenWorkStore, *, secrets: KnownSecrets
    ) -> None:
        self._failures = failures
        self._open_work = open_work
        self._secrets = secrets

    @answers(FAILURES_LIST)
    async def on_list(self, request: FailuresPage) -> FailureList:
        """Group the newest failures."""
        groups = await self._failures.group(
            state=request.state,
            path_part=request.path,
            step=request.step,
            since=request.since,
            stems=_stems(request),
            limit=max(1, min(request.limit, _MOST_GROUPS)),
            offset=max(request.offset, 0),
        )
        secrets = await self._secrets.of_many(group.execution_ids[0] for group in groups)
        is_cut = len(groups) == _MOST_GROUPS < request.limit
        return FailureList(
            failures=[_shown(group, secrets[group.execution_ids[0]]) for group in groups],
            is_complete=not is_cut and all(group.is_complete for group in groups),
        )

    @answers(FAILURES_OF)
    async def on_of(self, request: FailuresOf) -> FailedExecutions:
        """Return the open failures of a group."""
        found = await self._failures.find(
            request.fingerprint, stems=_stems(request), limit=request.limit + 1
        )
        return FailedExecutions(
            execution_ids=found[: request.limit], has_more=len(found) > request.limit
        )

    @answers(FAILURES_DISMISS)
    async def on_dismiss(self, request: Dismissal) -> FailureDismissAnswer:
        """Dismiss a page of the open failures of a group."""
        found = await self._failures.find(
            request.fingerprint, stems=_stems(request), limit=request.limit + 1
        )
        count = await self._failures.dismiss(found[: request.limit], actor=request.actor)
        return FailureDismissAnswer(
            fingerprint=request.fingerprint,
            dismissed=count,
            has_more=len(found) > request.limit,
        )

    @answers(EXECUTIONS_WHY)
    async def on_why(self, request: ExecutionName) -> OpenWork | Refusal:
        """Return the open work of an execution."""
        found = await self._open_work.find(request.execution_id)
        if found is None:
            return Refusal(404, f"Execution not found: {request.execution_id}")
        secrets = await self._secrets.of(request.execution_id)
        timers = [
            timer.model_copy(update={"payload": masked(timer.payload, secrets)})
            for timer in found.timers
        ]
        error = None if found.error is None else without(found.error, secrets)
        return found.model_copy(update={"timers": timers, "error": error})


def _stems(request: FailuresPage | FailuresOf | Dismissal) -> list[str] | None:
    return None if request.principal is None else request.principal.stems()


def _shown(group: Group, secrets: tuple[str, ...]) -> FailureGroup:
    return FailureGroup(
        fingerprint=group.fingerprint,
        path=group.path,
        step=group.step,
        kind=group.kind,
        message=without(group.message, secrets),
        count=group.failures,
        first_at=rfc3339(group.first_at),
        last_at=rfc3339(group.last_at),
        execution_ids=[str(number) for number in group.execution_ids],
    )
