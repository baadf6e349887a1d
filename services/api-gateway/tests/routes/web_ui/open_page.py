"""An open page, and the messages of its event stream, one after the other."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from noetl_contract.json import JsonObject
from noetl_testkit.waiting import unless_it_hangs

from ...conftest import World


async def messages(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, JsonObject]]:
    """Yield the events of a stream with their bodies."""
    name = ""
    async for line in lines:
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            yield name, json.loads(line[6:])


@dataclass
class OpenPage:
    """A page.

    Attributes:
        hello: the result of its first message.
        client_id: the name of its connection.
    """

    told: AsyncIterator[tuple[str, JsonObject]]
    hello: JsonObject
    client_id: str

    async def next(self, *wanted: str) -> JsonObject:
        """Return the parameters of the next message of one of these names."""
        while True:
            name, body = await anext(self.told)
            if name in wanted:
                params: JsonObject = body["params"]
                return params


@asynccontextmanager
async def opened(
    world: World, *, login: str = "any", client_id: str = ""
) -> AsyncIterator[OpenPage]:
    """Open a page, or open it again."""
    path = f"/events?session_token={login}" + (f"&client_id={client_id}" if client_id else "")
    async with unless_it_hangs(), world.client.stream("GET", path) as answer:
        told = messages(answer.aiter_lines())
        _, hello = await anext(told)
        yield OpenPage(told, hello["result"], hello["result"]["clientId"])
