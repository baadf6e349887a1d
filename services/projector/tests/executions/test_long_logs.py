"""Reading a log of fat commands takes no long turn of the event loop, on which all reads run."""

import asyncio
import time
from typing import Any

import pytest
from noetl_bus.rpc import Handler
from noetl_contract.rpc import encode_reply
from noetl_contract.rpc.operation import encode_value
from noetl_contract.rpc.projector import (
    EXECUTIONS_EVENTS,
    EXECUTIONS_GET,
    DetailRequest,
    EventsPage,
)
from noetl_pg.database import Database
from noetl_projector.executions.handlers import ExecutionHandlers
from noetl_projector.executions.store import ExecutionStore
from noetl_projector.known_secrets import KnownSecrets
from noetl_projector.projection.store import ProjectionStore
from noetl_testkit.postgres import Database as DatabaseAddress

from services.projector.tests.conftest import AddLog, Pool, make_settings

FAT = """
INSERT INTO noetl.event (
    execution_id, catalog_id, event_id, position, event_type, node_id, node_name, status, context)
SELECT 1, 5, 5000 + n, n, 'command.issued', 'work', 'work', 'PENDING', fat.context
FROM
    generate_series(2, 101) AS n,
    (
        SELECT jsonb_build_object('rows', jsonb_agg(jsonb_build_object('note', repeat('so ', 140))))
        FROM generate_series(1, 500)
    ) AS fat (context)
"""


@pytest.fixture
def handlers(database: DatabaseAddress, db: Database) -> list[Handler]:
    """Return the handlers of executions, with the limits of a running service."""
    found = ExecutionHandlers(
        ExecutionStore(db),
        ProjectionStore(db),
        secrets=KnownSecrets(db),
        settings=make_settings(database),
    )
    return found.handlers()


@pytest.fixture
async def long_log(pool: Pool, add_log: AddLog) -> None:
    await add_log(1, [{"event_type": "playbook_started", "context": {"workload": {}}}])
    await pool.execute(FAT)
    await pool.execute("UPDATE noetl.execution_state SET position = 101 WHERE execution_id = 1")


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        (EXECUTIONS_EVENTS, EventsPage(execution_id=1, page=1, page_size=2000)),
        (EXECUTIONS_GET, DetailRequest(execution_id=1, has_command_contexts=True)),
    ],
)
@pytest.mark.usefixtures("long_log")
async def test_no_turn_of_the_loop_is_long(
    handlers: list[Handler], monkeypatch: pytest.MonkeyPatch, operation: Any, request_: Any
) -> None:
    """21 MB in 100 rows: of all the work for them no turn does a fifth.

    Processor time counts, as others may have the machine, and it is compared with itself, as no
    machine is as fast as another.
    """
    (handler,) = (one for one in handlers if one.operation is operation)
    turns: list[float] = []
    run = asyncio.Handle._run

    def timed(self: asyncio.Handle) -> None:
        began = time.thread_time()
        run(self)
        turns.append(time.thread_time() - began)

    monkeypatch.setattr(asyncio.Handle, "_run", timed)
    began = time.process_time()
    answer = encode_reply(await handler.answer(encode_value(request_)))
    work = time.process_time() - began
    monkeypatch.undo()

    assert 10_000_000 < len(answer) < 20_000_000
    assert answer.count(b'"truncated":true') > 10
    assert max(turns) < work / 5
