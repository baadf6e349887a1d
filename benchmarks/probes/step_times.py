"""Times that the steps of executions took, by the log."""

import itertools

import asyncpg


async def step_times(dsn: str, execution_ids: list[int]) -> list[float]:
    """Return the milliseconds from each ``command.issued`` to the next, by commit time, sorted."""
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(
        """
        SELECT execution_id, extract(EPOCH FROM ingest_time)::float8 * 1000 AS at
        FROM noetl.event WHERE execution_id = ANY($1::bigint[])
          AND event_type IN ('command.issued', 'playbook.completed')
        ORDER BY execution_id, position
        """,
        execution_ids,
    )
    await connection.close()
    return sorted(
        later["at"] - earlier["at"]
        for earlier, later in itertools.pairwise(rows)
        if earlier["execution_id"] == later["execution_id"]
    )
