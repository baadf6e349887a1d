"""Requests of one open page, and their results (P5).

The result of a request is the result that its playbook has posted; an execution that has ended
without a post counts with its own result, or its failure.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from noetl_common.logging import get_logger
from noetl_contract.events import EventType, ExecutionStatus
from noetl_contract.http.executions.reads import ExecutionDetail
from noetl_contract.http.moments import rfc3339
from noetl_contract.json import Json, JsonObject
from noetl_contract.pages import PageError, PageRequest, PageResult
from noetl_contract.rpc.operation import encode_value
from noetl_contract.rpc.projector import (
    EXECUTIONS_GET,
    EXECUTIONS_STATES,
    DetailRequest,
    ExecutionNames,
)

from noetl_api_gateway.gateway import Gateway
from noetl_api_gateway.http.answers import for_pages
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.upstream.pages.requests import NoRightError

SHOWN_KEYS = ("textOutput", "text_output", "summary", "result")
"""Keys in which pages look for the text that they draw: the first one counts that is there, not
empty and not 0. Drawing an object crashes the whole page."""
_MOST_DRAWN = 100_000
"""Characters of a text that is made for a page to draw."""
_OVER = frozenset(ExecutionStatus) - {ExecutionStatus.RUNNING}
_MOST_HAD = 1000
_NOT_STARTED = timedelta(seconds=90)
"""Age after which a request without an execution counts as not started."""

_log = get_logger()


class Waiting:
    """The requests of one page.

    Args:
        gateway: the open parts.
        client_id: name of the page's connection.
        owner: kind and name of the page's user; requests of others under the same name of a
            connection are not shown.
        may_see: whether an execution is in the reach of the page's user, now.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        client_id: str,
        owner: str,
        may_see: Callable[[int], Awaitable[bool]],
    ) -> None:
        self._gateway = gateway
        self._client_id = client_id
        self._owner = owner
        self._may_see = may_see
        self._after = 0
        self._open: dict[str, PageRequest] = {}
        self._had: set[str] = set()

    @property
    def is_open(self) -> bool:
        """Whether the page waits for anything."""
        return bool(self._open)

    def has(self, request_id: str) -> bool:
        """Return whether the page waits for a request."""
        return request_id in self._open

    def has_had(self, request_id: str) -> bool:
        """Return whether the page has got the result of a request, on this stream."""
        return request_id in self._had

    def shown(self) -> list[JsonObject]:
        """Return the requests for which the page waits, for its first message."""
        return [
            {
                "requestId": one.request_id,
                "executionId": str(one.execution_id),
                "playbookPath": one.path,
            }
            for one in self._open.values()
        ]

    async def posted(self) -> list[PageResult]:
        """Return the results that were posted since the last look; new requests are noted."""
        try:
            kept, self._after = await self._gateway.pages.read(self._client_id, after=self._after)
        except NoRightError:
            # Then nothing is kept, either.
            return []
        except Refusal as refusal:
            _log.info("page_requests_not_read", reason=refusal.text)
            return []
        found = []
        for one in kept:
            if isinstance(one, PageResult):
                request = self._open.pop(one.request_id, None)
                if request is not None and await self._may_see(request.execution_id):
                    found.append(self._noted(one))
            elif one.owner == self._owner:
                self._open[one.request_id] = one
        return found

    async def ended(self, execution_id: int | None = None) -> list[PageResult]:
        """Return results of ended executions: of the given one, or of all."""
        if execution_id is None:
            over = await self._all_over()
        else:
            over = {execution_id} & {one.execution_id for one in self._open.values()}
        if not over:
            return []
        # Results that were posted before the end count.
        found = await self.posted()
        for request in [one for one in self._open.values() if one.execution_id in over]:
            result = await self._own_result(request)
            if result is not None:
                self._open.pop(request.request_id, None)
                found.append(self._noted(result))
        return found

    def _noted(self, result: PageResult) -> PageResult:
        if len(self._had) >= _MOST_HAD:
            self._had.clear()
        self._had.add(result.request_id)
        return result

    async def _all_over(self) -> set[int]:
        """Return the executions that have ended; requests that started none are dropped."""
        services = self._gateway.services
        of_shards: dict[int, list[int]] = {}
        for one in self._open.values():
            of_shards.setdefault(services.shard_of(one.execution_id), []).append(one.execution_id)
        states: dict[str, str] = {}
        for shard, numbers in of_shards.items():
            names = ExecutionNames(execution_ids=numbers)
            try:
                states |= (await services.ask(EXECUTIONS_STATES, names, shard=shard)).states
            except Refusal as refusal:
                _log.info("page_requests_not_looked_at", reason=refusal.text)
                return set()
        now = datetime.now(UTC)
        for one in [one for one in self._open.values() if str(one.execution_id) not in states]:
            if now - datetime.fromisoformat(one.created_at) > _NOT_STARTED:
                del self._open[one.request_id]
        return {int(number) for number, status in states.items() if status in _OVER}

    async def _own_result(self, request: PageRequest) -> PageResult | None:
        """Return the result of an execution; None while it is unknown or hidden from the page."""
        number = request.execution_id
        asked = DetailRequest(execution_id=number, page=1, page_size=1, include_events=False)
        try:
            if not await self._may_see(number):
                return None
            detail = await self._gateway.services.ask(EXECUTIONS_GET, asked, execution_id=number)
        except Refusal as refusal:
            _log.info("result_not_read", execution_id=number, reason=refusal.text)
            return None
        return _result_of(request, detail) if detail.status in _OVER else None


def _result_of(request: PageRequest, detail: ExecutionDetail) -> PageResult:
    number = str(request.execution_id)
    if detail.status == ExecutionStatus.COMPLETED:
        return PageResult(
            request_id=request.request_id,
            execution_id=number,
            status=detail.status,
            data=detail.result,
        )
    cause = None if detail.cause is None else detail.cause.sentence()
    reason = detail.error or cause or f"Execution {number} is {detail.status}"
    return PageResult(
        request_id=request.request_id,
        execution_id=number,
        status=ExecutionStatus.FAILED,
        error=PageError(message=reason),
    )


def drawable(result: Json) -> JsonObject:
    """Return a result in the form that pages draw, with a text in one of their keys.

    An object stays what it is, and anything else is its `result`. Where the page would draw no
    text, `textOutput` has one: the object's `text`, or what it would draw as JSON.
    """
    data = result if isinstance(result, dict) else {"result": result}
    drawn = next((data[key] for key in SHOWN_KEYS if data.get(key)), None)
    if isinstance(drawn, str) or (drawn is None and not isinstance(result, dict)):
        return data
    source = data if drawn is None else drawn
    text = source.get("text") if isinstance(source, dict) else None
    if not isinstance(text, str) or not text:
        text = encode_value(source).decode()
    if len(text) > _MOST_DRAWN:
        text = f"{text[:_MOST_DRAWN]}…"
    return {**data, "textOutput": text}


def result_params(result: PageResult) -> JsonObject:
    """Return the parameters of the notification `playbook/result`."""
    params: JsonObject = {
        "requestId": result.request_id,
        "executionId": result.execution_id,
        "status": result.status,
    }
    if result.error is None:
        return params | {"data": drawable(for_pages(result.data, is_free=True))}
    error = {name: getattr(result.error, name) for name in ("code", "message", "data")}
    return params | {"status": "FAILED", "error": error}


def state_params(result: PageResult) -> JsonObject:
    """Return the parameters of the notification `playbook/state` for a posted result."""
    is_failed = result.error is not None
    return {
        "execution_id": result.execution_id,
        "event_type": EventType.PLAYBOOK_FAILED if is_failed else EventType.PLAYBOOK_COMPLETED,
        "step_name": None,
        "status": "FAILED" if is_failed else result.status,
        "at": rfc3339(datetime.now(UTC)),
    }
