"""Streams and tables are made once; a server that is not ours is refused."""

from pathlib import Path

import pytest
from noetl.stack.datadir import DataDirectory
from noetl.stack.errors import StackError
from noetl.stack.servers import migrations, topology
from noetl.stack.servers.nats_probe import NatsProbe
from noetl.stack.supervisor import StackPlan, running
from noetl_contract.streams import STREAMS
from noetl_testkit.nats import stream_names
from noetl_testkit.postgres import Database


async def test_a_database_of_another_version_is_not_waited_for(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    data.postgres.mkdir(mode=0o700, parents=True)
    (data.postgres / "PG_VERSION").write_text("9\n")

    with pytest.raises(StackError, match="initialized by PostgreSQL version 9"):
        async with running(StackPlan(data=data, port=None, modules={})) as supervisor:
            await supervisor.wait_ready(120)


def test_topology_can_be_applied_twice(nats_url: str) -> None:
    first, second = topology.apply(nats_url), topology.apply(nats_url)

    with NatsProbe(nats_url) as probe:
        streams = set(stream_names(probe))
    assert first == second
    assert streams == {stream.name for stream in STREAMS}
    assert "NOETL_COMMANDS/noetl_worker_pool_shared" in first


def test_a_database_can_be_migrated_twice(empty_database: Database) -> None:
    migrations.migrate(empty_database.dsn)
    migrations.migrate(empty_database.dsn)

    assert empty_database.run("SELECT count(*) FROM noetl.event") == "0"


def test_a_migration_that_fails_says_why(empty_database: Database) -> None:
    empty_database.run("CREATE SCHEMA noetl; CREATE TABLE noetl.event (n INT)")

    with pytest.raises(StackError, match=r'relation "event" already exists'):
        migrations.migrate(empty_database.dsn)
