"""Equal concurrent requests share an answer, or not where the edge is set so."""

import asyncio

import pytest
from noetl_contract.rpc.catalog import RESOLVE, EntryName

from ..conftest import make_world


@pytest.mark.parametrize(("is_together", "asked"), [(True, 1), (False, 5)])
async def test_a_crowd_asks_once_or_each_for_itself(
    nats_url: str, *, is_together: bool, asked: int
) -> None:
    async with make_world(nats_url, ask_together=is_together) as world:
        services = world.shell.service.opened_gateway().services
        wanted = EntryName(path="demo/hello")
        answers = await asyncio.gather(
            *(services.ask_together(RESOLVE, wanted, within=60.0) for _ in range(5))
        )

    assert [(one.catalog_id, one.path, one.version) for one in answers] == [
        (11, "demo/hello", 3)
    ] * 5
    assert len(world.backend.requests("resolve")) == asked
