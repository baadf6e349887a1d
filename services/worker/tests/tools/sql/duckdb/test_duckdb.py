"""The duckdb tool on a real DuckDB."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import pytest_asyncio
from noetl_testkit.waiting import eventually
from noetl_worker.hosting import fork_server
from noetl_worker.hosting.fork_server import ForkServer, StartFailed
from noetl_worker.settings import Settings
from noetl_worker.tools.errors import NeverBegan
from noetl_worker.tools.sql.duckdb.duckdb import DuckDb
from noetl_worker.tools.sql.duckdb.sessions import DuckDbs
from noetl_worker.tools.tool import ToolContext, ToolError, ToolResult


class Session:
    def __init__(self, tool: DuckDb) -> None:
        self.tool = tool

    async def run(self, query: str, **config: Any) -> ToolResult:
        return await self.bare({"query": query, **config})

    async def bare(self, config: dict[str, Any], *, may_move: bool = False) -> ToolResult:
        context = ToolContext(
            variables={"n": 5, "name": "it's; me"},
            execution_id=7,
            step="s",
            server_url="",
            toolbox=None,  # type: ignore[arg-type]  # it runs no other tools
            may_move=may_move,
        )
        return await self.tool.run(config, context)

    async def data(self, query: str, **config: Any) -> Any:
        return (await self.run(query, **config)).data

    async def failure(self, query: str, **config: Any) -> ToolError:
        with pytest.raises(ToolError) as caught:
            await self.run(query, **config)
        return caught.value


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sql(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Session]:
    settings = Settings(
        worker_duckdb_memory_bytes=200 << 20,
        worker_duckdb_threads=1,
        worker_duckdb_paths=(str(tmp_path_factory.getbasetemp()),),
    )
    tool = DuckDb(DuckDbs(settings), most_seconds=60, result_bytes=1 << 20)
    yield Session(tool)
    await tool.close()


async def test_shapes_of_results(sql: Session) -> None:
    setup = "CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'x'), (2, NULL);"

    assert await sql.data(setup + "SELECT b, a FROM t ORDER BY a") == {
        "columns": ["b", "a"],
        "rows": [{"b": "x", "a": 1}, {"b": None, "a": 2}],
        "row_count": 2,
    }
    assert (await sql.data(setup + "SELECT b, a FROM t ORDER BY a", as_objects=False))["rows"] == [
        ["x", 1],
        [None, 2],
    ]
    # Unlike PostgreSQL's, an empty one keeps its columns.
    assert await sql.data(setup + "with q as (SELECT a FROM t) SELECT a FROM q WHERE false") == {
        "columns": ["a"],
        "rows": [],
        "row_count": 0,
    }


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("INSERT INTO t VALUES (3), (4)", 2),
        ("INSERT INTO t VALUES (3), (4), (5) RETURNING a", 3),
        ("UPDATE t SET a = 9", 2),
        ("DELETE FROM t", 2),
        ("CREATE TABLE u (a int)", 0),
        ("-- a comment\nSELECT * FROM t", 0),
        ("SHOW TABLES", 0),
        ("-- nothing", 2),
    ],
)
async def test_everything_but_select_and_with_counts(sql: Session, query: str, count: int) -> None:
    setup = "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2);"

    assert await sql.data(setup + query) == {"affected_rows": count}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("42", 42),
        ("9223372036854775807", 9223372036854775807),
        ("18446744073709551615::ubigint", 18446744073709551615),
        ("170141183460469231731687303715884105727::hugeint", str(2**127 - 1)),
        ("[1::hugeint]", ["1"]),
        ("1.50::decimal(10,2)", "1.50"),
        ("0.1::double", 0.1),
        ("[1.5::double, NULL]", [1.5, None]),
        ("true", True),
        ("'é'", "é"),
        ("'ab'::blob", "YWI="),
        ("'101'::bit", "101"),
        ("'6f0e9a3e-8f5e-4b0e-9d2a-0c5d5f4a1b2c'::uuid", "6f0e9a3e-8f5e-4b0e-9d2a-0c5d5f4a1b2c"),
        ("timestamp '1970-01-01 00:00:01.5'", 1_500_000),
        ("timestamp '1969-12-31'", -86_400_000_000),
        ("timestamptz '1970-01-01 00:00:00+00'", 0),
        ("timestamp_s '1970-01-01 00:00:02'", 2),
        ("timestamp_ms '1970-01-01 00:00:02.5'", 2500),
        ("timestamp_ns '1970-01-01 00:00:00.123456789'", 123_456_789),
        ("'infinity'::timestamp", 2**63 - 1),
        ("'-infinity'::timestamptz", -(2**63 - 1)),
        ("NULL::timestamp", None),
        ("date '1970-02-01'", 31),
        ("date '12000-01-01'", 3663382),
        ("time '00:00:01'", 1_000_000),
        ("'01:00:00+02'::timetz", "01:00:00+02"),
        (
            "interval '14 months 3 days 25 hours 61 minutes 1.5 seconds'",
            {"months": 14, "days": 3, "nanos": (26 * 3600 + 61.5) * 1_000_000_000 - 0},
        ),
        ("NULL::interval", None),
        ("[1, NULL]", [1, None]),
        ("[[date '1970-01-02'], NULL]", [[1], None]),
        ("[1, 2]::int[2]", [1, 2]),
        ("[date '1970-01-02', NULL]::date[2]", [1, None]),
        ("{'a': 1, 'b': {'c': 'x'}}", {"a": 1, "b": {"c": "x"}}),
        ("{'a''b': date '1970-01-02', 'n': NULL::struct(x date)}", {"a'b": 1, "n": None}),
        ("map {'a': 1}", {'Text("a")': 1}),
        ("map {1: date '1970-01-02', 2: NULL}", {"Int(1)": 1, "Int(2)": None}),
        ("map {true: [1.5::double]}", {"Boolean(true)": [1.5]}),
        ("map {timestamp '1970-01-01': 'x'}", {"Timestamp(Microsecond, 0)": "x"}),
        ("NULL::map(int, int)", None),
        ("'b'::enum('a', 'b')", "b"),
        ("'{\"a\": [1]}'::json", '{"a": [1]}'),
        ("union_value(a := 1)", 1),
    ],
)
async def test_values(sql: Session, expression: str, value: Any) -> None:
    data = await sql.data(f"SELECT {expression} AS v")

    assert data["rows"] == [{"v": value}]


async def test_columns_of_one_name_and_their_order(sql: Session) -> None:
    data = await sql.data(
        "SELECT a, date '1970-01-02' AS a, b FROM (VALUES (2, 'x'), (1, 'y')) AS t(a, b)"
        " ORDER BY b",
        as_objects=False,
    )

    assert data == {"columns": ["a", "a", "b"], "rows": [[2, 1, "x"], [1, 1, "y"]], "row_count": 2}


async def test_a_sequence_moves_once(sql: Session) -> None:
    setup = "CREATE SEQUENCE s;"
    query = "SELECT nextval('s') AS n, now() > timestamptz '2000-01-01' AS late, $1 AS p"

    assert (await sql.data(setup + query, params=[7]))["rows"] == [{"n": 1, "late": True, "p": 7}]


@pytest.mark.parametrize("value", [1, 1.5, True, None, "'; DROP TABLE t; --", {"a": [1]}, [1, "x"]])
async def test_parameters(sql: Session, value: Any) -> None:
    data = await sql.data("SELECT $1 AS v", params=[value])
    assert await sql.data("SELECT $v AS v", params={"v": value}) == data

    expected = {dict: '{"a":[1]}', list: '[1,"x"]'}.get(type(value), value)
    assert data["rows"] == [{"v": expected}]


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("'nan'::double", " is NaN: "),
        ("'-inf'::float", " is -Infinity: "),
        ("[1.5::double, 'inf'::double]", "[1] is Infinity: "),
        ("{'a': {'b': 'nan'::double}}", ".a.b is NaN: "),
    ],
)
async def test_a_number_that_json_lacks_is_refused_with_its_place(
    sql: Session, expression: str, why: str
) -> None:
    query = f"SELECT CASE WHEN i = 777 THEN {expression} END AS v FROM range(1000) AS t(i)"

    error = await sql.failure(query)

    assert str(error).startswith(f"Result error: result.rows[777].v{why}")


async def test_a_script_with_everything_a_splitter_can_get_wrong(sql: Session) -> None:
    script = """
    CREATE TABLE "odd;name" (a text); -- it's; here
    INSERT INTO "odd;name" VALUES ($$x;$$), ('{{ name | replace("'", "''") }}') /* ; */;
    SELECT string_agg(a, '|' ORDER BY a) AS v FROM "odd;name"; ;
    """

    assert (await sql.data(script))["rows"] == [{"v": "it's; me|x;"}]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        (
            "SELECT * FROM nowhere",
            "Failed to prepare query: Catalog Error: Table with name nowhere",
        ),
        ("SELEC 1", "Failed to prepare query: Parser Error: "),
        ("SELECT 1; SELECT 'x'::int; SELECT 2", "Batch statement failed: Conversion Error: "),
        ("SELECT x::int FROM (VALUES ('a')) AS t(x)", "Query failed: Conversion Error: "),
        (
            "CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1), (1)",
            "Execute failed: Constraint Error: ",
        ),
        (
            "SELECT repeat('x', 1000) FROM range(5000)",
            "Query failed: the result has more than 1048576 bytes",
        ),
    ],
)
async def test_failures_say_what_duckdb_said(sql: Session, query: str, text: str) -> None:
    error = await sql.failure(query)

    assert str(error).startswith(f"Database error: {text}")


async def test_memory_is_bounded(sql: Session) -> None:
    error = await sql.failure(
        "SELECT length(string_agg(repeat('x', 1000), '')) FROM range(1000000)"
    )

    assert "Out of Memory Error" in str(error)


@pytest.mark.parametrize("ended_by", ["timeout", "cancellation"])
async def test_a_runaway_query_is_stopped(
    sql: Session, ended_by: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    query = "SELECT count(*) FROM range(10000000000) a, range(100000) b WHERE a.range % 7 = b.range"
    if ended_by == "timeout":
        result = await sql.run(query, timeout_seconds=1)
        assert (result.status, result.error) == ("timeout", "Execution timed out after 1 seconds")
    else:
        task = asyncio.ensure_future(sql.run(query, db_path="running.duckdb"))
        await eventually(lambda: Path("running.duckdb").exists(), what="it has begun")
        # Others go on meanwhile.
        assert (await sql.data("SELECT 2 AS v"))["rows"] == [{"v": 2}]
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # The file is not open any more.
        assert await sql.data("SELECT 1 AS v", db_path="running.duckdb")
    assert (await sql.data("SELECT 1 AS v"))["rows"] == [{"v": 1}]


async def test_a_file_keeps_what_memory_forgets(
    sql: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    await sql.run("CREATE TABLE kept (a int); INSERT INTO kept VALUES (1)", db_path="x.duckdb")

    absolute = str(tmp_path / "x.duckdb")
    assert (await sql.data("SELECT a FROM kept", db_path=absolute))["row_count"] == 1
    assert (tmp_path / "x.duckdb").exists()
    await sql.run("CREATE TABLE gone (a int)")
    assert "gone" in str(await sql.failure("SELECT * FROM gone"))
    both = await asyncio.gather(
        *(sql.run("SELECT count(*) AS n FROM kept", db_path="x.duckdb") for _ in range(4))
    )
    assert [one.data["rows"] for one in both] == [[{"n": 1}]] * 4


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"db_path": "../x.duckdb"}, "leads out of the worker's directory"),
        ({"attach": [{"name": "a", "path": "a/../../b.csv", "type": "csv"}]}, "leads out"),
        ({"attach": [{"name": "a", "type": "excel"}]}, "unknown variant `excel`"),
        ({"attach": [{"type": "csv", "path": "a.csv"}]}, "missing field `name`"),
        ({"attach": {"name": "a"}}, "`attach` is not a list"),
        ({"attach": ["a.csv"]}, "an entry of `attach` is not a map"),
        (
            {"attach": [{"name": "p", "type": "postgres"}]},
            "duckdb attach `p` has no connection: no credential in `auth`",
        ),
        (
            {"attach": [{"name": "p", "type": "postgres", "host": "h", "password": "secret"}]},
            "duckdb attach `p`: the extension `postgres` is not installed in this worker",
        ),
        ({"params": 5}, "`params` is neither a list nor a map"),
        ({"command": "SELECT 1"}, "duplicate field `query`"),
    ],
)
async def test_configurations_that_are_refused(
    sql: Session, config: dict[str, Any], text: str
) -> None:
    error = await sql.failure("SELECT 1", **config)

    assert str(error).startswith("Configuration error: ")
    assert text in str(error)
    assert "secret" not in str(error)


async def test_a_file_that_can_not_be_opened(sql: Session, tmp_path: Path) -> None:
    error = await sql.failure("SELECT 1", db_path=str(tmp_path / "no" / "x.duckdb"))

    assert str(error).startswith("Database error: Failed to open database: ")


async def test_files_and_databases_are_attached(
    sql: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    await asyncio.to_thread(Path("c.csv").write_text, "a,b\n1,x\n")
    await asyncio.to_thread(Path("j.json").write_text, '[{"a": 1, "d": "json"}]')
    with duckdb.connect("other.duckdb") as other:
        other.execute("CREATE TABLE o AS SELECT 1 AS a, 'other' AS e")
        other.execute("COPY (SELECT 1 AS a, 'parquet' AS c) TO 'p.parquet'")
    entries = [
        {"type": "csv", "name": "c", "path": "c.csv"},
        {"type": "json", "name": "j", "path": "j.json"},
        {"type": "parquet", "name": "p", "path": str(tmp_path / "p.parquet")},
        {"name": "other", "path": "other.duckdb"},
    ]

    data = await sql.data(
        "SELECT b, c, d, e FROM c JOIN j USING (a) JOIN p USING (a) JOIN other.o USING (a)",
        attach=entries,
    )
    error = await sql.failure("CREATE TABLE other.x (a int)", attach=entries)

    assert data["rows"] == [{"b": "x", "c": "parquet", "d": "json", "e": "other"}]
    assert "read-only" in str(error)


async def test_an_extension_that_is_missing_is_named(sql: Session, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "s.db") as database:
        database.execute("CREATE TABLE t (a int)")
    database.close()

    error = await sql.failure(
        "SELECT 1", attach=[{"type": "sqlite", "name": "s", "path": str(tmp_path / "s.db")}]
    )

    assert "the extension `sqlite` is not installed" in str(error)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_text('/proc/self/environ')",
        "COPY (SELECT 1) TO '/var/tmp/written.csv'",
        "ATTACH '/var/tmp/other.duckdb' AS o",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM read_csv('https://localhost/x.csv')",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET memory_limit = '100GB'",
        "SET threads = 64",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        "RESET lock_configuration",
    ],
)
async def test_queries_reach_nothing_of_the_worker_and_change_no_limit(
    sql: Session, query: str
) -> None:
    error = await sql.failure(query)

    assert "configuration" in str(error)
    if "SET " not in query:
        assert "NOETL_WORKER_DUCKDB_PATHS" in str(error)


async def test_a_file_that_is_attached_lies_where_queries_may_look(sql: Session) -> None:
    error = await sql.failure(
        "SELECT * FROM p", attach=[{"type": "csv", "name": "p", "path": "/etc/passwd"}]
    )

    assert str(error).startswith("Database error: Failed to attach `p`: Permission Error")


async def test_queries_use_the_directories_of_the_settings(sql: Session, tmp_path: Path) -> None:
    place = tmp_path / "x.csv"
    query = f"SET timezone = 'UTC'; COPY (SELECT 7 AS a) TO '{place}'; SELECT * FROM '{place}'"

    first = await sql.data(query, db_path=str(tmp_path / "d.duckdb"))
    second = await sql.data(query, db_path=str(tmp_path / "d.duckdb"))

    assert first["rows"] == second["rows"] == [{"a": 7}]


async def test_calls_share_an_open_file(sql: Session, tmp_path: Path) -> None:
    path = str(tmp_path / "d.duckdb")
    await sql.run("CREATE TABLE t (a int)", db_path=path)

    await asyncio.gather(*(sql.run(f"INSERT INTO t VALUES ({n})", db_path=path) for n in range(8)))

    assert (await sql.data("SELECT count(*) AS n FROM t", db_path=path))["rows"] == [{"n": 8}]


@pytest.mark.parametrize(
    ("may_move", "has_file", "may_pass", "is_moved"),
    [
        (True, False, True, True),
        (False, False, True, False),
        (True, True, True, False),
        (True, False, False, False),
    ],
    ids=["lack of memory", "it has begun before", "a file of this worker", "for good"],
)
async def test_a_call_whose_process_can_not_start_is_another_worker_s(
    sql: Session,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    may_move: bool,
    has_file: bool,
    may_pass: bool,
    is_moved: bool,
) -> None:
    async def refuse(*_args: object) -> None:
        raise StartFailed("Cannot allocate memory", may_pass=may_pass)

    monkeypatch.setattr(ForkServer, "fork", refuse)
    monkeypatch.setattr(fork_server, "PATIENCE_SECONDS", 0)
    monkeypatch.setattr(sql.tool._databases, "_free", {})
    config = {"query": "SELECT 1", **({"db_path": str(tmp_path / "x.duckdb")} if has_file else {})}
    with pytest.raises(ToolError, match="Failed to open database: Cannot allocate") as caught:
        await sql.bare(config, may_move=may_move)

    assert isinstance(caught.value, NeverBegan) == is_moved
