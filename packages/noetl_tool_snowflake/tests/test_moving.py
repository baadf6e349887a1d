"""`transfer` from and to Snowflake: fakesnow, a real PostgreSQL and a real DuckDB."""

from pathlib import Path
from typing import Any

import pytest
from noetl_testkit.postgres import Database
from noetl_tool_snowflake import place
from noetl_worker.tools.errors import ToolError
from snow_bench import Bench, Fakesnow

WIDE = (
    "CREATE TABLE t (id INT PRIMARY KEY, amount NUMBER(10,2), note VARCHAR, yes BOOLEAN, "
    "day DATE, seen TIMESTAMP_NTZ, doc VARIANT, raw BINARY)"
)
VALUES = (
    "SELECT 1, 1.50, 'it''s', TRUE, '2024-01-02'::DATE, '2024-01-02T03:04:05.5'::TIMESTAMP_NTZ, "
    "PARSE_JSON('{\"a\":[1]}'), TO_BINARY('00ff','HEX')"
)


def address(database: Database) -> dict[str, Any]:
    return {
        "type": "postgres", "host": database.host, "port": database.port, "user": database.user,
        "password": database.password, "database": database.name,
    }  # fmt: skip


async def test_rows_go_to_postgres_and_back(
    bench: Bench, fakesnow: Fakesnow, database: Database
) -> None:
    snow = {"type": "snowflake", **fakesnow.login()}
    await bench.run("snowflake", fakesnow.login(query=f"{WIDE}; INSERT INTO t {VALUES}"))
    database.run(
        "CREATE TABLE p (id int PRIMARY KEY, amount numeric(10,2), note text, yes bool, day date,"
        " seen timestamp, doc jsonb, raw bytea)"
    )

    there = await bench.run(
        "transfer",
        {"source": {**snow, "query": "SELECT * FROM t;"},
         "target": {**address(database), "table": "p"}},
    )  # fmt: skip
    database.run("INSERT INTO p SELECT id + 1, NULL, 'β', false, day, seen, '[true]', NULL FROM p")
    back = await bench.run(
        "transfer",
        {"source": {**address(database), "query": "SELECT * FROM p ORDER BY id"},
         "target": {**snow, "table": "t"}, "mode": "replace", "chunk_size": 1},
    )  # fmt: skip

    assert (there.value["direction"], there.value["rows_transferred"]) == (
        "snowflake_to_postgres",
        1,
    )
    assert (back.value["direction"], back.value["chunks_processed"]) == ("postgres_to_snowflake", 2)
    found = await bench.run(
        "snowflake", fakesnow.login(query="SELECT * FROM t ORDER BY id", as_objects=False)
    )
    seen = "2024-01-02T03:04:05.500000"
    assert found.value["rows"] == [
        [1, "1.50", "it's", True, "2024-01-02", seen, {"a": [1]}, "AP8="],
        [2, None, "β", False, "2024-01-02", seen, [True], None],
    ]


async def test_an_upsert_overwrites_by_its_key(
    bench: Bench, fakesnow: Fakesnow, tmp_path: Path
) -> None:
    snow = {"type": "snowflake", **fakesnow.login()}
    await bench.run(
        "snowflake",
        fakesnow.login(query="CREATE TABLE u (id INT, s VARCHAR, kept VARCHAR);"
                             "INSERT INTO u VALUES (1, 'old', 'k'), (2, 'other', 'k')"),
    )  # fmt: skip
    rows = "SELECT * FROM (VALUES (1, 'a'), (1, 'b'), (3, 'c')) AS v(ID, S)"

    await bench.run(
        "transfer",
        {"source": {"type": "duckdb", "query": rows},
         "target": {**snow, "table": "public.u", "key": "id", "mapping": {"id": "id", "s": "s"}},
         "mode": "upsert"},
    )  # fmt: skip
    file = str(tmp_path / "out.duckdb")
    out = await bench.run(
        "transfer",
        {"source": {**snow, "query": "SELECT id, s, kept FROM u ORDER BY id"},
         "target": {"type": "duckdb", "connection": file, "table": "u"}},
    )  # fmt: skip

    assert out.value["rows_transferred"] == 3
    found = await bench.run("duckdb", {"db_path": file, "query": "SELECT * FROM u ORDER BY 1"})
    assert [list(row.values()) for row in found.value["rows"]] == [
        ["1", "b", "k"],
        ["2", "other", "k"],
        ["3", "c", None],
    ]


async def test_all_or_nothing(bench: Bench, fakesnow: Fakesnow) -> None:
    snow = {"type": "snowflake", **fakesnow.login()}
    await bench.run(
        "snowflake", fakesnow.login(query="CREATE TABLE a (id INT); INSERT INTO a VALUES (9)")
    )
    rows = "SELECT * FROM (VALUES ('1'), ('2'), ('x')) AS v(id)"

    with pytest.raises(ToolError, match="Execute failed: "):
        await bench.run(
            "transfer",
            {"source": {"type": "duckdb", "query": rows}, "target": {**snow, "table": "a"},
             "mode": "replace", "chunk_size": 1},
        )  # fmt: skip

    found = await bench.run("snowflake", fakesnow.login(query="SELECT id FROM a"))
    assert found.value["rows"] == [{"ID": 9}]


async def test_many_rows_go_in_several_statements(
    bench: Bench, fakesnow: Fakesnow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "_STATEMENT_BYTES", 100_000)
    snow = {"type": "snowflake", **fakesnow.login()}
    await bench.run("snowflake", fakesnow.login(query="CREATE TABLE m (id INT, s VARCHAR)"))
    before = len(fakesnow.seen())

    await bench.run(
        "transfer",
        {"source": {"type": "duckdb", "query": "SELECT i AS id, repeat('x', 1000) AS s "
                                               "FROM range(150) AS r(i)"},
         "target": {**snow, "table": "m"}, "chunk_size": 150},
    )  # fmt: skip

    written = [
        one["body"] for one in fakesnow.seen()[before:] if "INSERT" in one["body"]["sqlText"]
    ]
    assert len(written) == 2
    assert all(len(one["bindings"]["1"]["value"]) < 110_000 for one in written)
    found = await bench.run(
        "snowflake", fakesnow.login(query="SELECT COUNT(DISTINCT id) AS n FROM m")
    )
    assert found.value["rows"] == [{"N": 150}]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"table": "nope"}, "Execute failed: 002003"),
        ({"table": "a b"}, "`a b` is no name of a table"),
        ({"table": "a.b.c.d"}, "is no name of a table"),
        ({"table": "c", "mapping": {"id": "x"}}, "names `x`, which the source doesn't have"),
    ],
)
async def test_wrong_targets(
    bench: Bench, fakesnow: Fakesnow, target: dict[str, Any], message: str
) -> None:
    given = {
        "source": {"type": "duckdb", "query": "SELECT 1 AS id"},
        "target": {"type": "snowflake", **fakesnow.login(), **target},
    }

    with pytest.raises(ToolError, match=message):
        await bench.run("transfer", given)
