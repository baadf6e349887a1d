"""Rows and streams of a shard, as tests look at them."""

from dataclasses import dataclass

import asyncpg
from noetl_bus.broker import Bus

from services.orchestrator.tests.messages import Command


@dataclass
class Tables:
    """Reads the database and the streams of a shard."""

    bus: Bus
    pool: asyncpg.Pool

    async def open_commands(self, execution_id: int) -> list[Command]:
        """Return commands not finished, in order of issue."""
        rows = await self.pool.fetch(
            "SELECT c.event_id, c.step_name, c.meta FROM noetl.command c JOIN noetl.event e"
            " USING (execution_id, event_id) WHERE c.execution_id = $1"
            " AND c.status IN ('PENDING', 'CLAIMED', 'RUNNING') ORDER BY e.position",
            execution_id,
        )
        return [
            Command(execution_id, row["event_id"], row["meta"]["command_id"], row["step_name"])
            for row in rows
        ]

    async def command(self, execution_id: int) -> Command:
        """Return the only open command."""
        (command,) = await self.open_commands(execution_id)
        return command

    async def log(self, execution_id: int) -> list[asyncpg.Record]:
        """Return the log in its order, having checked that it has no gaps."""
        rows = await self.pool.fetch(
            "SELECT * FROM noetl.event WHERE execution_id = $1 ORDER BY position", execution_id
        )
        assert [row["position"] for row in rows] == list(range(1, len(rows) + 1))
        return list(rows)

    async def types(self, execution_id: int) -> list[str]:
        """Return the types of the log."""
        return [row["event_type"] for row in await self.log(execution_id)]

    async def state(self, execution_id: int) -> asyncpg.Record | None:
        """Return the state row."""
        return await self.pool.fetchrow(
            "SELECT * FROM noetl.execution_state WHERE execution_id = $1", execution_id
        )

    async def command_row(self, command: Command) -> asyncpg.Record:
        """Return a command's row."""
        row = await self.pool.fetchrow(
            "SELECT * FROM noetl.command WHERE execution_id = $1 AND event_id = $2",
            command.execution_id,
            command.event_id,
        )
        assert row is not None
        return row

    async def dead_letters(self) -> list[tuple[dict[str, str], bytes]]:
        """Return all dead letters with their headers."""
        info = await self.bus.js.stream_info("noetl_dead")
        found = []
        for sequence in range(1, info.state.last_seq + 1):
            message = await self.bus.js.get_msg("noetl_dead", sequence)
            found.append((dict(message.headers or {}), message.data or b""))
        return found

    async def ingress_is_empty(self) -> bool:
        """Return whether every message was handled and acknowledged."""
        info = await self.bus.js.stream_info("noetl_ingress")
        return info.state.messages == 0
