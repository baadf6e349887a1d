"""`/api/failures`: what failed and nobody has looked at yet, and what to do about it."""

import asyncio
from datetime import datetime

from litestar import Response
from noetl_contract.access.rights import Right
from noetl_contract.http.executions.failures import (
    FailureDismissAnswer,
    FailureDismissRequest,
    FailureGroup,
    FailureList,
    FailureRestart,
    FailureRestartAnswer,
    FailureRestartRequest,
    FailureState,
)
from noetl_contract.http.executions.start import RestartRequest
from noetl_contract.http.scalars import parse_moment
from noetl_contract.rpc.triage import (
    FAILURES_DISMISS,
    FAILURES_LIST,
    FAILURES_OF,
    Dismissal,
    FailuresOf,
    FailuresPage,
)

from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import read_body
from noetl_api_gateway.http.fields import idempotency_key, query_int, query_text
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.routes.executions.ownership import actor
from noetl_api_gateway.routes.executions.repair.restart import begin_restart
from noetl_api_gateway.routes.forwarding import Topic

TOPIC = Topic("executions")
_MOST_GROUPS = 100
_FURTHEST = 10_000
_AT_ONCE = 8
_MOST_IDS = 5


@TOPIC.route(
    "GET /api/failures",
    FailureList,
    needs=Right.EXECUTIONS_READ,
    summary="List failed executions by playbook, step and message",
    query={
        "state": (str, "open (if absent), dismissed, restarted or all"),
        "path": (str, "part of the playbook's path, in any case"),
        "step": (str, "exact name of the step"),
        "since": (str, "RFC 3339; failures since then only"),
        "limit": (int, "at most 100, 20 if absent"),
        "offset": (int, "how many groups to leave out"),
    },
    errors={422: "state must be open, dismissed, restarted or all, got 'new'"},
)
async def list_failures(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Group the failures of all shards, those that failed last first."""
    query = request.query_params
    limit = query_int(query, "limit", bits=32)
    offset = max(0, query_int(query, "offset", bits=32) or 0)
    limit = 20 if limit is None else max(1, min(limit, _MOST_GROUPS))
    if offset > _FURTHEST:
        raise Refusal(422, f"offset must be at most {_FURTHEST}, got {offset}")
    page = FailuresPage(
        state=_state(query_text(query, "state")),
        path=query_text(query, "path"),
        step=query_text(query, "step"),
        since=_since(query_text(query, "since")),
        limit=limit,
        offset=offset,
    )
    return json_answer(request, await _groups(gateway, page))


def _state(word: str | None) -> FailureState:
    states: tuple[FailureState, ...] = ("open", "dismissed", "restarted", "all")
    for state in states:
        if word in {None, state}:
            return state
    shown = (word or "")[:50]
    raise Refusal(422, f"state must be open, dismissed, restarted or all, got {shown!r}")


def _since(text: str | None) -> datetime | None:
    if text is None:
        return None
    # An unencoded `+` arrives as a space.
    moment = parse_moment(text.replace(" ", "+"))
    if moment is None:
        raise Refusal(422, f"since is no RFC 3339 time with a zone: {text[:50]!r}")
    return moment


async def _groups(gateway: Gateway, page: FailuresPage) -> FailureList:
    if gateway.services.shard_count == 1:
        return await gateway.services.ask(FAILURES_LIST, page)
    reach = page.model_copy(update={"limit": page.offset + page.limit, "offset": 0})
    shards = await gateway.services.ask_all(FAILURES_LIST, reach)
    merged: dict[str, FailureGroup] = {}
    for group in (one for shard in shards for one in shard.failures):
        known = merged.get(group.fingerprint)
        merged[group.fingerprint] = group if known is None else _merged(known, group)
    ordered = sorted(
        merged.values(), key=lambda one: datetime.fromisoformat(one.last_at), reverse=True
    )
    return FailureList(
        failures=ordered[page.offset : page.offset + page.limit],
        is_complete=all(shard.is_complete for shard in shards),
    )


def _merged(one: FailureGroup, other: FailureGroup) -> FailureGroup:
    newer, older = one, other
    if datetime.fromisoformat(one.last_at) < datetime.fromisoformat(other.last_at):
        newer, older = other, one
    return newer.model_copy(
        update={
            "count": one.count + other.count,
            "first_at": min(one.first_at, other.first_at, key=datetime.fromisoformat),
            "execution_ids": [*newer.execution_ids, *older.execution_ids][:_MOST_IDS],
        }
    )


@TOPIC.route(
    "POST /api/failures/restart",
    FailureRestartAnswer,
    body=FailureRestartRequest,
    needs=Right.EXECUTIONS_RERUN,
    summary="Restart the open failures of a group",
)
async def restart_failures(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Restart a page of them; the same request again goes on, and restarts none twice."""
    wanted = await read_body(request, FailureRestartRequest)
    key = idempotency_key(request) or "failures"
    found, has_more = await _open_failures(gateway, wanted.fingerprint, wanted.limit)
    again = RestartRequest(input=wanted.input, version=wanted.version)
    permits = asyncio.Semaphore(_AT_ONCE)

    async def one(execution_id: int) -> FailureRestart:
        told = FailureRestart(execution_id=str(execution_id))
        async with permits:
            try:
                begun = await begin_restart(gateway, execution_id, again, key=key)
            except Refusal as refusal:
                return told.model_copy(update={"error": refusal.text})
        return told.model_copy(update={"restarted_as": begun.execution_id})

    results = await asyncio.gather(*(one(number) for number in found))
    refused = sum(result.error is not None for result in results)
    answer = FailureRestartAnswer(
        fingerprint=wanted.fingerprint,
        restarted=len(results) - refused,
        refused=refused,
        has_more=has_more,
        results=results,
    )
    return json_answer(request, answer)


async def _open_failures(gateway: Gateway, fingerprint: str, limit: int) -> tuple[list[int], bool]:
    asked = FailuresOf(fingerprint=fingerprint, limit=limit)
    shards = await gateway.services.ask_all(FAILURES_OF, asked)
    found = sorted(number for shard in shards for number in shard.execution_ids)
    return found[:limit], len(found) > limit or any(shard.has_more for shard in shards)


@TOPIC.route(
    "POST /api/failures/dismiss",
    FailureDismissAnswer,
    body=FailureDismissRequest,
    needs=Right.EXECUTIONS_RERUN,
    summary="Take the open failures of a group off the list",
)
async def dismiss_failures(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Dismiss a page of them; they stay under `state=dismissed`."""
    wanted = await read_body(request, FailureDismissRequest)
    asked = Dismissal(fingerprint=wanted.fingerprint, limit=wanted.limit, actor=actor())
    shards = await gateway.services.ask_all(FAILURES_DISMISS, asked)
    answer = FailureDismissAnswer(
        fingerprint=wanted.fingerprint,
        dismissed=sum(shard.dismissed for shard in shards),
        has_more=any(shard.has_more for shard in shards),
    )
    return json_answer(request, answer)
