"""Previews for web pages of results that are too large for their events.

Such an event has a reference, with which a page can do nothing: beside it are the size, the type
and the beginning of the stored result.
"""

import asyncio
from collections.abc import Iterator

from noetl_contract.access.rights import Right
from noetl_contract.http.masking import masked
from noetl_contract.http.scalars import parse_i64
from noetl_contract.json import Json, JsonObject, encode, parse
from noetl_contract.rpc.projector import RESULT_RESOLVE, ResultRef

from noetl_api_gateway.access.gatekeeper import principal_of
from noetl_api_gateway.access.memory import Memory
from noetl_api_gateway.gateway import Gateway
from noetl_api_gateway.http.answers import result_of_tool
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.refusals import Refusal

BEGINNING = 2048
"""Characters of a stored result that are shown."""
_LARGEST = 8 << 20
"""Largest result, in bytes, that is read for its beginning."""
_NEW_AT_ONCE = 3
"""Results that one answer reads; a page asks again, and gets further beginnings then."""
_KEPT_SECONDS = 3600.0
_TIMEOUT_SECONDS = 5.0

# Results never change, so a beginning that was read once serves all callers that may see it.
_BEGINNINGS: Memory[str, str] = Memory(1000)


async def with_beginnings(request: AnyRequest, gateway: Gateway, body: bytes) -> Json:
    """Add size, type and preview to result references."""
    answer: JsonObject = parse(body)
    described = {data["_ref"]: meta for data, meta in _references(answer)}
    if not described:
        return answer
    who = principal_of(request)
    may_read = who is None or who.may(Right.RESULTS_RESOLVE)
    if may_read:
        await _read(gateway, described)
    added = {ref: _described(ref, meta, may_read=may_read) for ref, meta in described.items()}
    for data, _ in _references(answer):
        data.update(added[data["_ref"]])
    last = answer.get("result")
    if isinstance(last, dict):
        last.update(added.get(last.get("_ref"), {}))
    return answer


def _references(answer: JsonObject) -> Iterator[tuple[JsonObject, JsonObject]]:
    """Yield the data of events that have a reference, each with the worker's metadata of it."""
    for event in answer.get("events") or ():
        result = result_of_tool(event.get("result") if isinstance(event, dict) else None)
        context, reference = result.get("context"), result.get("reference")
        data = context.get("data") if isinstance(context, dict) else None
        if isinstance(data, dict) and isinstance(data.get("_ref"), str):
            meta = reference.get("meta") if isinstance(reference, dict) else None
            yield data, meta if isinstance(meta, dict) else {}


def _described(ref: str, meta: JsonObject, *, may_read: bool) -> JsonObject:
    described = {
        "_size": meta.get("bytes"),
        "_type": meta.get("media_type") or meta.get("content_type"),
        "_preview": _BEGINNINGS.get(ref) if may_read else None,
    }
    return {name: value for name, value in described.items() if value is not None}


async def _read(gateway: Gateway, wanted: dict[str, JsonObject]) -> None:
    """Read the beginnings that are not cached yet, a few at a time."""
    small = [
        ref
        for ref, meta in wanted.items()
        if isinstance(meta.get("bytes"), int)
        and meta["bytes"] <= _LARGEST
        and _BEGINNINGS.get(ref) is None
    ]
    await asyncio.gather(*(_read_one(gateway, ref) for ref in small[-_NEW_AT_ONCE:]))


async def _read_one(gateway: Gateway, ref: str) -> None:
    number = _execution_of(ref)
    if number is None:
        return
    try:
        body = await gateway.services.forward(
            RESULT_RESOLVE, ResultRef(ref=ref), execution_id=number, within=_TIMEOUT_SECONDS
        )
    except Refusal:
        # It is gone, or its store is: the page has the reference.
        return
    text = await asyncio.to_thread(_beginning, body)
    _BEGINNINGS.put(ref, text, seconds=_KEPT_SECONDS)


def _execution_of(ref: str) -> int | None:
    first = ref.removeprefix("noetl://execution/").partition("/")[0]
    return parse_i64(first)


def _beginning(body: bytes) -> str:
    """Return the beginning of a result, without the values of keys that name secrets."""
    return encode(masked(parse(body))).decode()[:BEGINNING]
