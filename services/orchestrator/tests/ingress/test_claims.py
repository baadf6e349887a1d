"""W7: claims that take long."""

import time

from services.orchestrator.tests.shard import Shard


async def test_w7_a_claim_is_answered_503_only_after_its_patience(shard: Shard) -> None:
    """The row is locked: the claim can't be decided, and is not refused at once either."""
    await shard.open_replica(claim_patience_seconds=0.4)
    execution_id = await shard.start()
    command = await shard.command(execution_id)

    async with shard.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM noetl.execution_state FOR UPDATE")
        began = time.monotonic()
        answer = await shard.claim(command)
        took = time.monotonic() - began

    assert answer["status"] == 503
    assert took >= 0.4
