"""Findings of the doctor in tables, with trouble planted in a real database."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta

import asyncpg
import pytest
from noetl.doctor import databases
from noetl.doctor.databases import (
    Demand,
    Place,
    Roll,
    look_at_database,
    look_at_pools,
    notes_on_pauses,
    read_roll,
)
from noetl.doctor.finding import Finding
from noetl_common.errors import NoetlError
from noetl_testkit.postgres import Database
from noetl_testkit.waiting import eventually

NEWEST = "0001"
OLD = "now() - interval '10 minutes'"


@dataclass
class Patient:
    """A database to plant trouble in."""

    connection: "asyncpg.Connection[asyncpg.Record]"
    place: Place

    async def plant(self, statement: str) -> None:
        await self.connection.execute(statement)

    async def look(self, *, newest: str = NEWEST) -> tuple[list[Finding], dict[str, Demand]]:
        demand: dict[str, Demand] = {}
        findings = await look_at_database(
            self.place,
            newest_migration=newest,
            stuck_after=timedelta(minutes=5),
            roll=await self.roll(),
            demand=demand,
        )
        return findings, demand

    async def roll(self) -> Roll:
        try:
            return await read_roll(self.place.address)
        except NoetlError:
            return Roll()

    async def codes(self) -> list[str]:
        """Return the codes of the findings, but that this release knows another schema."""
        findings, _ = await self.look()
        return [one.code for one in findings if one.code != "schema_ahead"]

    async def start(self, number: int, *, path: str = "demo/stuck") -> None:
        """Plant a running execution of which nothing is open."""
        await self.plant(
            "INSERT INTO noetl.execution_state (execution_id, catalog_id, path, version, position,"
            f" current_step, updated_at) VALUES ({number}, 1, '{path}', 1, 3, 'load', {OLD})"
        )
        await self.plant(
            "INSERT INTO noetl.execution (execution_id, catalog_id, status, position)"
            f" VALUES ({number}, 1, 'RUNNING', 3)"
        )


@pytest.fixture
async def patient(database: Database) -> AsyncIterator[Patient]:
    """A healthy database of the only shard."""
    connection = await asyncpg.connect(database.dsn)
    try:
        yield Patient(connection, Place(database.address, 0, 1))
    finally:
        await connection.close()


async def test_nothing_is_found_in_a_healthy_database(patient: Patient) -> None:
    assert await patient.codes() == []


_COMMAND = (
    "INSERT INTO noetl.command (command_id, event_id, execution_id, catalog_id, step_name, status,"
    " pool, created_at, lease_until) VALUES (5, 5, {id}, 1, 'load', '{status}', 'gpu', {at},"
    " {lease})"
)
_RUNNING = _COMMAND.format(id="{id}", status="RUNNING", at=OLD, lease="now() + interval '1 minute'")
_OPEN = (
    _COMMAND.format(id="{id}", status="PENDING", at="now()", lease="NULL"),
    _RUNNING,
    (
        "INSERT INTO noetl.timer (timer_id, execution_id, due_at, kind)"
        " VALUES ({id}, {id}, now() + interval '1 day', 'wait')"
    ),
    (
        "INSERT INTO noetl.outbox (execution_id, event_id, kind, status) VALUES ({id}, 1,"
        " 'message', 'PENDING')"
    ),
    (
        "INSERT INTO noetl.execution_state (execution_id, catalog_id, path, version, position,"
        " parent_execution_id) VALUES (100, 1, 'demo/child', 1, 0, {id})"
    ),
    (
        "INSERT INTO noetl.event (execution_id, catalog_id, event_id, event_type, position)"
        " VALUES ({id}, 1, 9, 'execution.paused', 9)"
    ),
    "UPDATE noetl.execution_state SET updated_at = now() WHERE execution_id = {id}",
)
"""Statements that make an execution a waiting one."""


async def test_executions_of_which_something_is_open_are_not_stuck(patient: Patient) -> None:
    for number, statement in enumerate(_OPEN, start=1):
        await patient.start(number)
        await patient.plant(statement.format(id=number))

    assert await patient.codes() == []


async def test_executions_with_nothing_open_are_stuck(patient: Patient) -> None:
    await patient.start(1)
    await patient.plant(_COMMAND.format(id=1, status="COMPLETED", at=OLD, lease="NULL"))
    for number, kind in ((8, "execution.paused"), (9, "execution.resumed")):
        await patient.plant(
            "INSERT INTO noetl.event (execution_id, catalog_id, event_id, event_type, position)"
            f" VALUES (1, 1, {number}, '{kind}', {number})"
        )

    findings, _ = await patient.look()

    (stuck,) = [one for one in findings if one.code == "executions_stuck"]
    assert stuck.next.startswith("noetl-server why 1;")
    assert stuck.details[0].startswith("1 demo/stuck, last step load, unchanged since ")


async def test_overdue_leases_and_timers_are_found(patient: Patient) -> None:
    await patient.start(1)
    await patient.plant(_COMMAND.format(id=1, status="CLAIMED", at=OLD, lease=OLD))
    await patient.plant(
        f"INSERT INTO noetl.timer (timer_id, execution_id, due_at, kind) VALUES (1, 1, {OLD}, 'x')"
    )

    assert await patient.codes() == ["leases_over", "timers_overdue"]


async def test_rows_of_the_outbox_are_found(patient: Patient) -> None:
    for number, kind, status in ((1, "command", "FAILED"), (2, "commit", "PENDING")):
        await patient.plant(
            "INSERT INTO noetl.outbox (execution_id, event_id, kind, status, created_at,"
            " available_at, last_error) VALUES"
            f" (1, {number}, '{kind}', '{status}', {OLD}, now() + interval '1 minute', 'no stream')"
        )
    await patient.plant(
        "INSERT INTO noetl.outbox (execution_id, event_id, kind, status, last_error) VALUES"
        " (7, 3, 'command', 'PARKED', 'too large'), (7, 4, 'event', 'PENDING', NULL)"
    )
    await patient.plant(
        "INSERT INTO noetl.outbox (execution_id, event_id, kind, status, updated_at) VALUES"
        " (7, 5, 'command', 'PARKED', now() - interval '25 hours')"
    )

    findings, _ = await patient.look()

    waiting, parked = [one for one in findings if one.code.startswith("outbox")]
    assert waiting.text.endswith("2 rows of the outbox not published")
    assert waiting.details == (
        "command: 1, the oldest for 10m 0s; no stream",
        "commit: 1, the oldest for 10m 0s; no stream",
    )
    assert (parked.code, parked.details) == ("outbox_parked", ("command of 7: too large",))


async def test_an_old_read_model_and_rows_outside_of_partitions_are_found(
    patient: Patient,
) -> None:
    await patient.start(1)
    await patient.plant(_RUNNING.format(id=1))
    await patient.plant("UPDATE noetl.execution SET position = 2")
    await patient.plant(
        "INSERT INTO noetl.event (execution_id, catalog_id, event_id, event_type, position)"
        " VALUES (9223372036854775807, 1, 1, 'x', 1)"
    )

    assert await patient.codes() == ["projection_lagging", "log_outside_partitions"]


async def test_schema_and_shard_are_compared(patient: Patient) -> None:
    await patient.plant(
        "INSERT INTO noetl.shard_identity (cluster_id, shard_index, shard_count, only_row)"
        " VALUES ('c', 1, 2, TRUE)"
    )

    findings, _ = await patient.look(newest="9999")

    assert [one.code for one in findings] == ["schema_behind", "wrong_shard"]
    assert findings[0].next == "noetl-server migrate"
    assert findings[1].text.endswith("was filled as shard 1 of 2, not as 0 of 1")


async def test_a_database_that_cannot_be_read_is_told(
    patient: Patient, empty_database: Database
) -> None:
    wrong = replace(patient.place, address=replace(patient.place.address, password="wrong"))
    nobody = replace(patient.place, address=replace(patient.place.address, port=1))
    empty = replace(patient.place, address=empty_database.address)

    found = [(await replace(patient, place=one).look())[0] for one in (wrong, nobody, empty)]

    assert [[one.code for one in findings] for findings in found] == [
        ["database_unreachable"],
        ["database_unreachable"],
        ["schema_behind"],
    ]
    assert "password authentication failed" in found[0][0].text
    assert "wrong" not in found[0][0].text.replace("wrong_", "")


async def test_pools_are_compared_with_their_workers(patient: Patient) -> None:
    await patient.plant(
        "INSERT INTO noetl.runtime (runtime_id, name, kind, status, labels, heartbeat) VALUES"
        """ (1, 'a', 'worker_pool', 'ready', '{"pool_name": "default"}', now()),"""
        f""" (2, 'b', 'worker_pool', 'ready', '{{"pool_name": "gpu"}}', {OLD})"""
    )
    demand = {
        "gpu": Demand(4, 1, 240.0),
        "shared": Demand(9, 0, 900.0),
        "etl": Demand(1, 1, 0.0),
        "fresh": Demand(1, 0, 5.0),
    }

    findings = look_at_pools(await patient.roll(), demand)

    assert [(one.code, one.text) for one in findings] == [
        (
            "pool_without_workers",
            "pool gpu: 3 commands waiting, the oldest for 4m 0s; no worker of the pool is alive",
        ),
        (
            "pool_overloaded",
            "pool shared: 9 commands waiting, the oldest for 15m 0s; 1 worker alive",
        ),
    ]
    assert findings[0].details == ("b was heard 10m 0s ago",)
    assert findings[0].next.endswith("WORKER_POOL_NAME=gpu")


async def test_waiting_commands_are_added_up_over_shards(patient: Patient) -> None:
    await patient.start(1)
    await patient.plant(_COMMAND.format(id=1, status="PENDING", at=OLD, lease="NULL"))

    _, demand = await patient.look()

    assert list(demand) == ["gpu"]
    assert (demand["gpu"].waiting, demand["gpu"].oldest_seconds > 500) == (1, True)


async def test_what_somebody_has_paused_is_noted_and_no_trouble(patient: Patient) -> None:
    for number, path in ((1, "demo/a"), (2, "demo/b")):
        await patient.start(number, path=path)
        statement = _COMMAND.format(id=number, status="PENDING", at=OLD, lease="NULL")
        await patient.plant(statement.replace("(5, 5,", f"({number}, {number},"))
    await patient.plant("INSERT INTO noetl.pause (kind, name) VALUES ('path', 'demo/a')")

    _, before = await patient.look()
    await patient.plant(
        "INSERT INTO noetl.pause (kind, name, reason) VALUES ('pool', 'gpu', 'new cards')"
    )
    findings, after = await patient.look()
    roll = await patient.roll()

    assert (before["gpu"].waiting, before["gpu"].withheld) == (2, 1)
    assert before["gpu"].oldest_seconds > 500
    assert after["gpu"] == Demand(2, 2, 0.0)
    assert [*findings, *look_at_pools(roll, after)] == [
        one for one in findings if one.code == "schema_ahead"
    ]
    assert notes_on_pauses(roll, after) == [
        "path demo/a is paused",
        "pool gpu is paused: new cards (2 commands withheld)",
    ]


async def test_a_lock_a_missing_right_and_a_missing_table_are_told_apart(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await patient.start(1)
    locked: list[Finding] = []

    async def is_locked() -> bool:
        locked[:], _ = await patient.look(newest="9999")
        return [one.code for one in locked] == ["schema_behind", "database_slow"]

    async with patient.connection.transaction():
        await patient.plant("LOCK TABLE noetl.timer IN ACCESS EXCLUSIVE MODE")
        with monkeypatch.context() as patch:
            # It bounds connecting and each statement before that one, too.
            patch.setattr(databases, "_SECONDS", 0.3)
            await eventually(is_locked, what="the locked table is found")

    role = f"reader_of_{patient.place.address.database}"
    await patient.plant(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    try:
        login = replace(patient.place.address, user=role, password="x")
        reader = replace(patient, place=replace(patient.place, address=login))
        forbidden, _ = await reader.look()
    finally:
        await patient.plant(f"DROP ROLE {role}")
    await patient.plant("DROP TABLE noetl.shard_identity")
    lacking, _ = await patient.look()

    assert "a statement took longer than 0.3 s" in locked[1].text
    assert [one.code for one in forbidden] == ["database_unreadable"]
    assert [one.code for one in lacking if one.code != "schema_ahead"] == ["schema_behind"]
