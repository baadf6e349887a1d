"""Asks both servers, a few requests at a time, and gathers the differences by route."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import httpx
import orjson
from noetl.follow.servers import UnreachableError
from noetl.stack.errors import StackError
from noetl_contract.json import Json, JsonObject

from noetl_migrate.shadow.asked import FIXED, Asked, of_credential, of_document, of_execution
from noetl_migrate.shadow.comparing import differences

_AT_ONCE = 4
_LARGEST = 32 << 20
_MOST_PLACES = 100
_SECONDS = 30.0


@dataclass(slots=True)
class RouteFindings:
    """Differences found on one route.

    Attributes:
        asked: requests that both have answered.
        differing: of them those whose answers differ.
        places: how often a place of the answer differs.
        examples: request, place and difference.
    """

    asked: int = 0
    differing: int = 0
    places: dict[str, int] = field(default_factory=dict)
    examples: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Shadowed:
    """Answers of two servers, compared; ``left_out`` counts requests that weren't made."""

    routes: dict[str, RouteFindings] = field(default_factory=dict)
    left_out: int = 0

    @property
    def is_same(self) -> bool:
        """Whether no answer differed."""
        return not any(one.differing for one in self.routes.values())

    def as_json(self) -> JsonObject:
        """Return it for programs."""
        return {
            "same": self.is_same,
            "left_out": self.left_out,
            "routes": {
                name: {
                    "asked": one.asked,
                    "differing": one.differing,
                    "places": dict(one.places),
                    "examples": [
                        {"request": asked, "place": place, "difference": text}
                        for asked, place, text in one.examples
                    ],
                }
                for name, one in sorted(self.routes.items())
            },
        }

    def lines(self) -> Iterator[str]:
        """Return it for people."""
        for name, one in sorted(self.routes.items()):
            yield f"{name}: {one.asked} asked, {one.differing} differ"
            for place, number in sorted(one.places.items(), key=lambda item: -item[1]):
                yield f"  {number} x {place}"
            for asked, place, text in one.examples:
                yield f"  e.g. {asked}: {place}: {text}"


class Shadow:
    """Compares the answers of two servers.

    Args:
        old: client of the existing server.
        new: client of this one.
        examples: how many to keep of each route.
        most: how many requests to make.
    """

    def __init__(
        self, old: httpx.AsyncClient, new: httpx.AsyncClient, *, examples: int, most: int
    ) -> None:
        self._old = old
        self._new = new
        self._examples = examples
        self._most = most
        self.found = Shadowed()

    async def ask_all(self, requests: Iterable[Asked]) -> None:
        """Make requests; beyond the most they are counted only.

        Raises:
            UnreachableError: a server gives no answer.
        """
        waiting: set[asyncio.Task[None]] = set()
        made = sum(one.asked for one in self.found.routes.values())
        try:
            for one in requests:
                if made >= self._most:
                    self.found.left_out += 1
                    continue
                made += 1
                waiting.add(asyncio.create_task(self._ask(one)))
                if len(waiting) >= _AT_ONCE:
                    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
                    waiting -= done
            for task in waiting:
                await task
        finally:
            for task in waiting:
                task.cancel()
            # Others may have met the same end, of which one is reported.
            await asyncio.gather(*waiting, return_exceptions=True)

    async def table(self) -> AsyncIterator[list[Asked]]:
        """Return the built-in reads, with the names that the existing server knows."""
        yield [*FIXED]
        _, listed = await _answer(self._old, FIXED[0])
        entries = listed.get("entries") if isinstance(listed, dict) else None
        for one in entries or []:
            yield [*of_document(str(one["path"]), int(one["version"]))]
        _, known = await _answer(self._old, FIXED[1])
        for one in (known.get("items") if isinstance(known, dict) else None) or []:
            yield [*of_credential(str(one["name"]))]
        _, runs = await _answer(self._old, FIXED[3])
        for one in runs if isinstance(runs, list) else []:
            yield [*of_execution(int(one["execution_id"]))]

    async def _ask(self, one: Asked) -> None:
        old, new = await asyncio.gather(_answer(self._old, one), _answer(self._new, one))
        known = self.found.routes.setdefault(one.route, RouteFindings())
        known.asked += 1
        told = list(_compared(old, new))
        if not told:
            return
        known.differing += 1
        for place, _ in told:
            if place in known.places or len(known.places) < _MOST_PLACES:
                known.places[place] = known.places.get(place, 0) + 1
        if len(known.examples) < self._examples:
            place, text = told[0]
            known.examples.append((f"{one.method} {one.target}", place, text))


async def shadow(
    old: str,
    new: str,
    requests: Iterable[Asked] | None,
    *,
    old_token: str,
    new_token: str,
    examples: int,
    most: int,
) -> Shadowed:
    """Compare two servers by some requests, or by the built-in ones.

    Raises:
        StackError: an address is none, or a server gives no answer.
    """
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(_client(url, token))
            for url, token in ((old, old_token), (new, new_token))
        ]
        comparing = Shadow(*clients, examples=examples, most=most)
        if requests is not None:
            await comparing.ask_all(requests)
        else:
            async for some in comparing.table():
                await comparing.ask_all(some)
        return comparing.found


def _client(url: str, token: str) -> httpx.AsyncClient:
    try:
        client = httpx.AsyncClient(base_url=url.rstrip("/"), timeout=_SECONDS, trust_env=False)
    except (httpx.InvalidURL, ValueError) as error:
        raise StackError(f"{url} is no address of a server: {error}") from error
    if token:
        client.headers["authorization"] = f"Bearer {token}"
    return client


async def _answer(client: httpx.AsyncClient, one: Asked) -> tuple[int, Json]:
    data = bytearray()
    try:
        async with client.stream(one.method, one.target, json=one.body) as answer:
            async for piece in answer.aiter_bytes():
                data += piece
                if len(data) > _LARGEST:
                    return answer.status_code, {"body": f"more than {_LARGEST} bytes"}
            status = answer.status_code
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise UnreachableError(f"{client.base_url} gives no answer: {reason}") from error
    try:
        return status, orjson.loads(data)
    except orjson.JSONDecodeError:
        return status, data.decode("utf-8", "replace")


def _compared(old: tuple[int, Json], new: tuple[int, Json]) -> Iterator[tuple[str, str]]:
    if old[0] in {404, 405} and old[1] == "":
        return  # the existing server has no such route
    if old[0] != new[0]:
        yield "status", f"{old[0]} there, {new[0]} here"
        return
    if old[0] < 400:
        yield from differences(old[1], new[1])
    elif isinstance(old[1], dict) and isinstance(new[1], dict):
        yield from differences(old[1].get("error"), new[1].get("error"), ".error")
