"""One shard becomes two, with a kill after every step; refusals come before any change."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
from noetl.stack.errors import StackError
from noetl.stack.servers import migrations
from noetl.stack.servers.databases import Databases, single_database
from noetl.stack.servers.topology import connected
from noetl_bus.jetstream import stream_info
from noetl_bus.topology import ensure_topology
from noetl_contract.sharding import shard_for
from noetl_contract.streams import COMMANDS, STREAMS
from noetl_maintenance.reshard import doubling, tables
from noetl_maintenance.reshard.broker import clear_broker
from noetl_maintenance.reshard.doubling import double
from noetl_testkit.databases import UsedDatabases
from noetl_testkit.postgres import Database

EPOCH = 380_000_000_000_000_000
IDS = [EPOCH + number for number in range(12)]
FAR = [one for one in IDS if shard_for(one, shard_count=2)]
NEAR = [one for one in IDS if one not in FAR]
ONE = """
INSERT INTO noetl.event (execution_id, catalog_id, event_id, event_type, position, context)
VALUES ({id}, 1, {id}1, 'a', 1, '{{"k": "v"}}'), ({id}, 1, {id}2, 'b', 2, NULL);
INSERT INTO noetl.command (command_id, event_id, execution_id, catalog_id, step_name)
VALUES ({id}, {id}1, {id}, 1, 's');
INSERT INTO noetl.execution_state (execution_id, catalog_id, path, version, position)
VALUES ({id}, 1, 'p', 1, 2);
INSERT INTO noetl.execution_snapshot (execution_id, position, format, state)
VALUES ({id}, 1, 1, '\\x00ff');
INSERT INTO noetl.timer (timer_id, execution_id, due_at, kind) VALUES ({id}, {id}, now(), 'wait');
INSERT INTO noetl.outbox (execution_id, event_id, kind, subject, payload) VALUES
    ({id}, 1, 'command', 'noetl.commands.shared.{id}', '{{"fast": {{"v": 1, "shard": 0}}}}'),
    ({id}, 2, 'commit', 'noetl_commits.0.{id}', '{{}}'),
    ({id}, 3, 'message', 'noetl_ingress.0.{other}.cancel', '{{}}');
INSERT INTO noetl.child (execution_id, event_id, child_id, path, payload_digest, run)
VALUES ({id}, 1, {other}, 'p', 'd', 1);
INSERT INTO noetl.transient (execution_id, var_name, var_type, var_value)
VALUES ({id}, 'v', 'computed', '1');
INSERT INTO noetl.result_store (
    result_id, execution_id, name, scope, data, bytes, sha256, store, location
) VALUES ({id}, {id}, 'r', 'execution', NULL, 1, 'x', 's3', 'bucket/some/{id}/7-abc');
INSERT INTO noetl.execution (execution_id, catalog_id, path, status, start_time, position)
VALUES ({id}, 1, 'p', 'RUNNING', '2026-11-27', 2);
INSERT INTO noetl.execution_step (execution_id, step, first_position, position)
VALUES ({id}, 's', 1, 2);
INSERT INTO noetl.failure (execution_id, path, version, kind, fingerprint, message, failed_at)
VALUES ({id}, 'p', 1, 'k', 'f', 'm', now());
"""
ONCE = """
INSERT INTO noetl.result_body_removal (store, location)
VALUES ('s3', 'bucket/some/{far}/8-def'), ('s3', 'bucket/{near}/8-def');
INSERT INTO noetl.restart (execution_id, origin_execution_id) VALUES ({far}, {far} - 1);
UPDATE noetl.execution_state SET ended_at = now(), status = 'FAILED' WHERE execution_id = {far};
INSERT INTO noetl.subscription (subscription_id, path, catalog_id, state, last_event_type)
VALUES ({far}, 'sub', 1, 'DEACTIVATED', 'x');
INSERT INTO noetl.request_key (scope, key, execution_id) VALUES ('execute', 'k', {far});
INSERT INTO noetl.shard_identity (cluster_id, shard_index, shard_count) VALUES ('c', 0, 1);
INSERT INTO noetl.execution_counter (path, status, executions) VALUES ('p', 'RUNNING', 12);
INSERT INTO noetl.execution_day (day, executions) VALUES ('2026-11-27', 12);
"""


LEASED = """
INSERT INTO noetl.machine_lease (machine_id, holder, lease_until)
VALUES (1, 'orchestrator-7', now() + interval '1 minute')
"""
SUBSCRIBED = f"""
INSERT INTO noetl.subscription (subscription_id, path, catalog_id, state, last_event_type)
VALUES ({FAR[1]}, 'a', 1, 'ACTIVE', 'x'), ({NEAR[1]}, 'b', 1, 'ACTIVE', 'x'),
    ({NEAR[2]}, 'c', 1, 'ACTIVE', 'x'), ({FAR[2]}, 'd', 1, 'ACTIVE', 'x')
"""


class Killed(BaseException):
    """The process dies here."""


@pytest.fixture
def new(used_databases: UsedDatabases, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """An empty database for the second shard, which is migrated already."""
    monkeypatch.setattr(migrations, "migrate", lambda _: "")
    with used_databases.lent() as lent:
        yield lent


@pytest.fixture
def filled(database: Database) -> Databases:
    """A shard of which all tables have rows of every execution."""
    rows = [ONE.format(id=one, other=IDS[-1 - number]) for number, one in enumerate(IDS)]
    database.run("".join(rows) + ONCE.format(far=FAR[0], near=NEAR[0]))
    return single_database(database.address)


def everything(database: Database) -> dict[str, dict[str, list[str]]]:
    """Return all rows by table and execution, without the names of shards."""
    row = "(to_jsonb(t) - 'subject' - 'payload')::TEXT"
    lines = database.run(
        " UNION ALL ".join(
            f"SELECT '{table}', {owner}, {row} FROM noetl.{table} AS t"
            for table, owner in tables.OWNED.items()
        )
        + " ORDER BY 1, 2, 3"
    )
    found: dict[str, dict[str, list[str]]] = {}
    for line in lines.splitlines():
        table, one, text = line.split("|", 2)
        found.setdefault(table, {}).setdefault(one, []).append(text)
    return found


def only(rows: dict[str, dict[str, list[str]]], ids: list[int]) -> dict[str, dict[str, list[str]]]:
    kept = {
        table: {one: texts for one, texts in of.items() if int(one) in ids}
        for table, of in rows.items()
    }
    return {table: of for table, of in kept.items() if of}


def test_a_shard_is_divided_whatever_step_it_is_killed_after(
    filled: Databases, database: Database, new: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubling, "_BATCH", 7)
    before = everything(database)
    assert set(before) == set(tables.OWNED)
    steps: list[str] = []

    def die(step: str) -> None:
        steps.append(step)
        raise Killed

    for _ in range(11):
        with suppress(Killed):
            double(filled, [new.address], nats_url=None, say=die)
        if not any("is shard 0 of 2" in one for one in steps):
            # Until the map changes the old database is whole.
            assert everything(database) == before
    assert len(set(steps)) == len(steps) == 11
    with pytest.raises(StackError, match="holds shard 0 of 2, not shard 0 of 1"):
        double(filled, [new.address], nats_url=None, say=die)

    assert everything(database) == only(before, NEAR)
    assert everything(new) == only(before, FAR)
    for one, shard, ids in ((database, 0, NEAR), (new, 1, FAR)):
        subjects = one.run("SELECT kind, subject, payload FROM noetl.outbox ORDER BY outbox_id")
        for line in subjects.splitlines():
            kind, subject, payload = line.split("|")
            if kind == "command":
                assert payload == f'{{"fast": {{"v": 1, "shard": {shard}}}}}'
            elif kind == "commit":
                assert subject.startswith(f"noetl_commits.{shard}.")
            else:
                target = int(subject.split(".")[2])
                home = shard_for(target, shard_count=2)
                assert subject == f"noetl_ingress.{home}.{target}.cancel"
        assert (
            one.run("SELECT shard_index, shard_count, cluster_id FROM noetl.shard_identity")
            == f"{shard}|2|c"
        )
        assert one.run("SELECT sum(executions) FROM noetl.execution_counter") == str(len(ids))
        assert one.run("SELECT sum(executions) FROM noetl.execution_day") == str(len(ids))
        assert one.run("SELECT key FROM noetl.request_key") == "k"
        assert one.run("SELECT to_regnamespace('noetl_closed') IS NULL") == "t"
        assert int(one.run("SELECT nextval('noetl.outbox_outbox_id_seq')")) > 3 * len(IDS)


def test_every_table_is_divided_or_known_not_to_be(database: Database) -> None:
    cluster = {
        "access_audit", "access_grant", "api_key", "catalog", "credential", "keychain",
        "keychain_renewal", "machine_lease", "pause", "resource", "runtime", "schedule",
        "schedule_firing", "schema_migrations", "secret_audit", "test_suite",
    }  # fmt: skip
    listed = database.run(
        "SELECT c.relname FROM pg_class AS c WHERE c.relnamespace = 'noetl'::REGNAMESPACE"
        " AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
    )
    assert set(listed.splitlines()) == cluster | set(tables.OWNED) | tables.NOT_DIVIDED


@pytest.mark.parametrize(
    ("trouble", "complaint"),
    [
        (LEASED, "something runs, or was killed a moment ago: orchestrator-7 has a machine id"),
        (SUBSCRIBED, "would be on another shard than its path; deactivate it"),
        (
            f"INSERT INTO noetl.restart VALUES ({FAR[1]}, {NEAR[1]})",
            f"execution {FAR[1]} runs and goes on from {NEAR[1]}",
        ),
        (
            "UPDATE noetl.shard_identity SET shard_count = 3",
            "holds shard 0 of 3, not shard 0 of 1",
        ),
        (
            "CREATE SCHEMA noetl_closed; COMMENT ON SCHEMA noetl_closed IS 'a restore of x'",
            "is closed: a restore of x",
        ),
    ],
)
def test_what_is_refused_before_anything_is_done(
    filled: Databases, database: Database, new: Database, trouble: str, complaint: str
) -> None:
    database.run(trouble)

    with pytest.raises(StackError, match=complaint):
        double(filled, [new.address], nats_url=None, say=lambda _: None)

    assert new.run("SELECT to_regnamespace('noetl_closed') IS NULL") == "t"
    database.run("DROP SCHEMA IF EXISTS noetl_closed")


def test_databases_that_do_not_fit_are_named(filled: Databases) -> None:
    other = replace(filled.cluster, database="elsewhere")
    for new, complaint in (
        ([], "1 shards are doubled by as many new databases, not by 0"),
        ([filled.cluster], "a database is named twice"),
        ([replace(other, port=1)], "not available"),
    ):
        with pytest.raises(StackError, match=complaint):
            double(filled, new, nats_url=None, say=lambda _: None)


def test_messages_that_wait_are_not_left_behind(nats_url: str) -> None:
    async def run() -> None:
        async with connected(nats_url, name="reshard") as bus:
            await ensure_topology(bus, STREAMS, ())
            await bus.publish("noetl.commands.shared.5", b"{}", message_id="c")
            await clear_broker(nats_url, name="reshard")
            commands = await stream_info(bus, COMMANDS.name)
            assert commands is not None
            assert commands.messages == 0
            await bus.publish("noetl_ingress.0.5.execute", b"{}", message_id="i")
            with pytest.raises(StackError, match="1 messages wait in noetl_ingress"):
                await clear_broker(nats_url, name="reshard")

    asyncio.run(run())
