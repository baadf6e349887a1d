"""A replica and a held command for lease tests."""

import pytest

from services.orchestrator.tests.messages import Command
from services.orchestrator.tests.shard import Replica, Shard


@pytest.fixture
async def replica(shard: Shard) -> Replica:
    return await shard.open_replica()


@pytest.fixture
async def held(shard: Shard, replica: Replica) -> Command:
    """A command that w1 holds and has started."""
    del replica
    command = await shard.command(await shard.start())
    answer = await shard.send(command.execution_id, shard.fast(command, "command.start"))
    assert answer == {"status": "held"}
    return command
