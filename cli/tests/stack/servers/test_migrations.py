"""Migrations beside sessions that hold locks."""

import subprocess
from pathlib import Path

import pytest
from noetl.stack.errors import StackError
from noetl.stack.servers import binaries, migrations
from noetl_testkit.postgres import Database


def test_a_migration_that_gets_no_lock_gives_way_and_is_tried_again(
    empty_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "0001_first.sql").write_text(
        "-- migrate:up\nSET lock_timeout = '20ms';\nALTER TABLE busy ADD a INT;\n-- migrate:down\n"
    )
    monkeypatch.setattr(migrations, "folder", lambda: tmp_path)
    empty_database.run("CREATE TABLE busy (id INT)")
    with subprocess.Popen(
        [str(binaries.postgres("psql")), "-XqAt", empty_database.dsn],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write("BEGIN; LOCK TABLE busy; SELECT 1;\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == "1\n"
        paused: list[float] = []

        def let_go(seconds: float) -> None:
            paused.append(seconds)
            if len(paused) == 2:
                holder.communicate()

        monkeypatch.setattr("noetl.stack.servers.migrations.time.sleep", let_go)
        assert "Applied: 0001_first.sql" in migrations.migrate(empty_database.dsn)

    assert paused == [0.5, 1]
    (tmp_path / "0002_wrong.sql").write_text("-- migrate:up\nSELECT nothing;\n-- migrate:down\n")
    with pytest.raises(StackError, match=r"migration failed: .*nothing"):
        migrations.migrate(empty_database.dsn)
    assert len(paused) == 2
