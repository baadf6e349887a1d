"""The postgres tool on a real server."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from noetl_testkit.postgres import Database, PostgresServer
from noetl_testkit.waiting import eventually
from noetl_worker.run.policy import Attempts, PolicyLimits
from noetl_worker.settings import Settings
from noetl_worker.tools.errors import NeverBegan
from noetl_worker.tools.sql.postgres.address import PgAddress, parse_address
from noetl_worker.tools.sql.postgres.pools import PgLimits, PgPools
from noetl_worker.tools.sql.postgres.postgres import Postgres
from noetl_worker.tools.tool import ToolContext, ToolError, ToolResult, Tried
from without_descriptors import without_descriptors


class Session:
    """The tool and the login its calls use."""

    def __init__(self, tool: Postgres, database: Database) -> None:
        self.tool = tool
        self.database = database

    @property
    def login(self) -> dict[str, Any]:
        database = self.database
        return {
            "host": database.host,
            "port": database.port,
            "user": database.user,
            "password": database.password,
            "database": database.name,
        }

    async def run(self, query: str | None = None, **config: Any) -> ToolResult:
        given = {**self.login, **({} if query is None else {"query": query}), **config}
        return await self.bare(given)

    async def bare(self, config: dict[str, Any], **changes: Any) -> ToolResult:
        context = ToolContext(
            variables={"n": 5, "name": "it's; me"},
            execution_id=7,
            step="s",
            server_url="",
            toolbox=None,  # type: ignore[arg-type]  # it runs no other tools
            **changes,
        )
        return await self.tool.run(config, context)

    async def data(self, query: str, **config: Any) -> Any:
        return (await self.run(query, **config)).data

    async def value(self, expression: str, **config: Any) -> Any:
        data = await self.data(f"SELECT {expression} AS v", **config)
        return data["rows"][0]["v"]

    async def failure(self, query: str, **config: Any) -> ToolError:
        with pytest.raises(ToolError) as caught:
            await self.run(query, **config)
        return caught.value


@pytest.fixture(scope="module")
def shared_database(postgres_server: PostgresServer) -> Any:
    with postgres_server.fresh() as fresh:
        fresh.run(
            "CREATE TYPE mood AS ENUM ('sad', 'happy');"
            "CREATE TYPE pair AS (a int, b timestamptz);"
            "CREATE DOMAIN label AS text CHECK (value <> '');"
            "CREATE SCHEMA other; CREATE TABLE other.place (id int);"
            "CREATE TABLE item (id int4 PRIMARY KEY, amount numeric(12,3), note text,"
            " tags int[], doc jsonb, mood mood, at timestamptz, day date, label label,"
            " small int2, real float4, flag bool, raw bytea, uid uuid, host inet,"
            " span interval, slot int4range)"
        )
        yield fresh


LIMITS = PgLimits(connect_seconds=10, wait_seconds=5, pool_size=2, pools=2, idle_seconds=30)


@pytest.fixture
async def sql(shared_database: Database) -> AsyncIterator[Session]:
    tool = Postgres(PgPools(LIMITS), most_seconds=60, result_bytes=1 << 20)
    yield Session(tool, shared_database)
    await tool.close()


async def test_shapes_of_results(sql: Session) -> None:
    await sql.run("CREATE TABLE shape (a int, b text)")

    assert await sql.data("INSERT INTO shape VALUES (1, 'x'), (2, NULL)") == {"affected_rows": 2}
    assert await sql.data("SELECT b, a FROM shape ORDER BY a;") == {
        "columns": ["b", "a"],
        "rows": [{"b": "x", "a": 1}, {"b": None, "a": 2}],
        "row_count": 2,
    }
    assert (await sql.data("select b, a from shape order by a", as_objects=False))["rows"] == [
        ["x", 1],
        [None, 2],
    ]
    assert await sql.data("SELECT a FROM shape WHERE false") == {
        "columns": [],
        "rows": [],
        "row_count": 0,
    }
    assert (await sql.data("WITH d AS (DELETE FROM shape RETURNING a) SELECT sum(a) AS s FROM d"))[
        "rows"
    ] == [{"s": 3}]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("INSERT INTO item (id) VALUES (100), (101) RETURNING id", 2),
        ("UPDATE item SET note = 'n' WHERE id >= 100", None),
        ("-- a comment\nSELECT 1", 1),
        ("VALUES (1), (2)", 2),
        ("SHOW search_path", 0),
        ("CREATE TEMP TABLE gone (a int)", 0),
        ("COPY (SELECT 1) TO STDOUT", 1),
        ("", 0),
        ("-- nothing; at all", 0),
    ],
)
async def test_everything_but_select_and_with_counts(
    sql: Session, query: str, count: int | None
) -> None:
    data = await sql.data(query)

    assert list(data) == ["affected_rows"]
    assert count is None or data == {"affected_rows": count}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1::int2", 1),
        ("2147483647", 2147483647),
        ("9223372036854775807", 9223372036854775807),
        ("1.5::float8", 1.5),
        ("0.1::float4", 0.1),
        ("1.500::numeric", "1.500"),
        ("1e30::numeric", "1" + "0" * 30),
        ("0.0000000001::numeric", "0.0000000001"),
        ("'NaN'::numeric", "NaN"),
        ("'-Infinity'::numeric", "-Infinity"),
        ("(SELECT sum(x) FROM (VALUES (1::int8), (2)) AS t(x))", "3"),
        ("count(*)", 1),
        ("true", True),
        ("'é'::varchar", "é"),
        ("'ab'::char(3)", "ab "),
        ("'n'::name", "n"),
        ("'c'::\"char\"", "c"),
        ("ARRAY['c'::\"char\"]", ["c"]),
        ("'x'", "x"),
        ('\'{"b": [1, {"a": null}]}\'::json', {"b": [1, {"a": None}]}),
        ("'[1.5, \"x\"]'::jsonb", [1.5, "x"]),
        ("'null'::jsonb", None),
        ("'2026-06-14 10:15:30.123456+02'::timestamptz", "2026-06-14T08:15:30.123456+00:00"),
        ("'2026-06-14 10:15:30'::timestamptz AT TIME ZONE 'UTC'", "2026-06-14T10:15:30"),
        ("'2026-06-14 10:15:30.5'::timestamp", "2026-06-14T10:15:30.500000"),
        ("'infinity'::timestamptz", "infinity"),
        ("'-infinity'::date", "-infinity"),
        ("'0044-03-15 BC'::date", "0044-03-15 BC"),
        ("'0001-01-01 00:00:00+00 BC'::timestamptz", "0001-01-01T00:00:00+00:00 BC"),
        ("'20000-02-29 01:00'::timestamp", "20000-02-29T01:00:00"),
        ("'1582-10-15'::date", "1582-10-15"),
        ("'24:00'::time", "24:00:00"),
        ("'01:02:03.5-03:30'::timetz", "01:02:03.500000-03:30"),
        ("'14 months -3 days 04:05:06.7'::interval", "1 year 2 mons -3 days 04:05:06.700000"),
        ("'-1 month -30:00'::interval", "-1 mons -30:00:00"),
        ("'0'::interval", "00:00:00"),
        (
            "'6f0e9a3e-8f5e-4b0e-9d2a-0c5d5f4a1b2c'::uuid",
            "6f0e9a3e-8f5e-4b0e-9d2a-0c5d5f4a1b2c",
        ),
        ("'\\x00ff'::bytea", "AP8="),
        ("ARRAY[1, NULL, 3]", [1, None, 3]),
        ("ARRAY[[1.5, 2], [3, 4]]", [["1.5", "2"], ["3", "4"]]),
        ("ARRAY['2026-01-01'::date]", ["2026-01-01"]),
        ("ARRAY['{\"a\": 1}'::jsonb]", [{"a": 1}]),
        ("'{}'::text[]", []),
        ("'192.168.0.1'::inet", "192.168.0.1"),
        ("'192.168.0.1/24'::inet", "192.168.0.1/24"),
        ("'10.0.0.0/8'::cidr", "10.0.0.0/8"),
        ("'08:00:2b:01:02:03'::macaddr", "08:00:2b:01:02:03"),
        ("'happy'::mood", "happy"),
        ("ARRAY['sad'::mood]", ["sad"]),
        ("'l'::label", "l"),
        ("'[1,5)'::int4range", "[1,5)"),
        ("'(,2026-01-01 10:00]'::tsrange", "(,2026-01-01T10:00:00]"),
        ('\'["a b","c\\"d")\'::textrange', None),
        ("'empty'::numrange", "empty"),
        ("'{[1,3),[5,7)}'::int4multirange", ["[1,3)", "[5,7)"]),
        ("ROW(1, '2026-01-01 00:00+00')::pair", {"a": 1, "b": "2026-01-01T00:00:00+00:00"}),
        ("ROW(1, 'a'::text, NULL)", [1, "a", None]),
        ("B'0101'", "0101"),
        ("'(1,2.5)'::point", "(1,2.5)"),
        ("'((0,0),(1,1))'::box", "(1,1),(0,0)"),
        ("'<(1,2),3>'::circle", "<(1,2),3>"),
        ("'[(0,0),(1,1)]'::path", "[(0,0),(1,1)]"),
        ("'1.50'::money::text", "$1.50"),
        ("to_tsvector('simple', 'a b')", "'a':1 'b':2"),
        ("'(0,1)'::tid", "(0,1)"),
        ("'pg_class'::regclass", "pg_class"),
        ("'<a/>'::text", "<a/>"),
    ],
)
async def test_every_type_has_a_value(sql: Session, expression: str, value: Any) -> None:
    if "textrange" in expression:
        sql.database.run("CREATE TYPE textrange AS RANGE (subtype = text)")
        value = '["a b","c\\"d")'

    assert await sql.value(expression) == value


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("'NaN'::float8", "price is NaN: "),
        ("'-Infinity'::float8", "price is -Infinity: "),
        ("'NaN'::float4", "price is NaN: "),
        ("ARRAY[1.5, 'infinity'::float8]", "price[1] is Infinity: "),
        ("ARRAY[ARRAY['-Infinity'::float4]]", "price[0][0] is -Infinity: "),
    ],
)
async def test_a_number_that_json_lacks_is_refused_with_its_place(
    sql: Session, expression: str, why: str
) -> None:
    others = "SELECT NULL::float8 AS price FROM generate_series(1, 700) UNION ALL SELECT 1.5"
    if expression[0] != "'":
        others = "SELECT 1 AS a, NULL AS price WHERE false"
        query = f"SELECT {expression} AS price"
    else:
        query = f"{others} UNION ALL SELECT {expression}"

    error = await sql.failure(query)

    place = "result.rows[701]" if expression[0] == "'" else "result.rows[0]"
    assert str(error).startswith(f"Result error: {place}.{why}")


async def test_session_settings_change_no_value(sql: Session) -> None:
    data = await sql.data(
        "SET TimeZone = 'Asia/Kolkata'; SET DateStyle = 'German'; SET IntervalStyle = 'iso_8601';"
        "SELECT '2026-06-14 00:00+00'::timestamptz AS a, '2026-06-14'::date AS b,"
        " '1 day'::interval AS c"
    )

    assert data["rows"] == [{"a": "2026-06-14T00:00:00+00:00", "b": "2026-06-14", "c": "1 day"}]


@pytest.mark.parametrize(
    ("column", "value", "stored"),
    [
        ("id", 5, 5),
        ("id", "6", 6),
        ("id", 7.0, 7),
        ("amount", 5, "5.000"),
        ("amount", 1.25, "1.250"),
        ("amount", "12345678.125", "12345678.125"),
        ("note", 5, "5"),
        ("note", True, "true"),
        ("note", {"a": [1]}, '{"a":[1]}'),
        ("note", "'; DROP TABLE item; --", "'; DROP TABLE item; --"),
        ("note", None, None),
        ("tags", [1, None, 2], [1, None, 2]),
        ("tags", "{3}", [3]),
        ("doc", {"a": "é", "b": [1.5]}, {"a": "é", "b": [1.5]}),
        ("doc", [1, 2], [1, 2]),
        ("doc", '{"t": 1}', {"t": 1}),
        ("mood", "sad", "sad"),
        ("at", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00+00:00"),
        ("day", "2026-01-31", "2026-01-31"),
        ("label", "x", "x"),
        ("small", 3, 3),
        ("real", 0.1, 0.1),
        ("flag", False, False),
        ("flag", "yes", True),
        ("raw", "\\x6162", "YWI="),
        ("uid", "6f0e9a3e8f5e4b0e9d2a0c5d5f4a1b2c", "6f0e9a3e-8f5e-4b0e-9d2a-0c5d5f4a1b2c"),
        ("host", "10.0.0.1", "10.0.0.1"),
        ("span", "1 mon 2 days", "1 mon 2 days"),
        ("slot", "[1,3)", "[1,3)"),
    ],
)
async def test_a_parameter_takes_the_type_of_its_column(
    sql: Session, column: str, value: Any, stored: Any
) -> None:
    key = value if column == "id" else 1
    await sql.run("DELETE FROM item WHERE id < 100")
    columns = "id" if column == "id" else f"id, {column}"
    marks = "$1" if column == "id" else "$1, $2"
    params = [value] if column == "id" else [key, value]

    written = await sql.data(f"INSERT INTO item ({columns}) VALUES ({marks})", params=params)
    found = await sql.data(f"SELECT {column} AS v FROM item WHERE id = $1", params=[key])

    assert written == {"affected_rows": 1}
    assert found["rows"] == [{"v": stored}]


@pytest.mark.parametrize(
    ("query", "params", "message"),
    [
        ("SELECT 1 WHERE $1 = 1", ["x"], "ERROR: invalid input syntax for type integer"),
        ("SELECT $1::int", [1, 2], "the server expects 1 argument for this query, 2 were passed"),
        ("SELECT $1::text, $3::int", [1], "ERROR: could not determine data type of parameter $2"),
        ("SELECT 1; SELECT $1", [1], "cannot insert multiple commands into a prepared statement"),
    ],
)
async def test_parameters_that_do_not_fit(
    sql: Session, query: str, params: list[Any], message: str
) -> None:
    error = await sql.failure(query, params=params)

    assert str(error).startswith("Database error: Query failed: ")
    assert message in str(error)


async def test_parameters_may_have_names(sql: Session) -> None:
    query = "SELECT $b::int AS b, $a || '$a' AS a, $b + $1 AS c, $$ $b $$ AS d, $x$ $b $x$ AS e"
    data = await sql.data(query, params={"a": "one", "b": 2, "1": 3, "unused": 0})

    assert data["rows"] == [{"b": 2, "a": "one$a", "c": 5, "d": " $b ", "e": " $b "}]


async def test_a_parameter_without_a_value_is_named(sql: Session) -> None:
    error = await sql.failure("SELECT $late", params={"a": 1})

    assert str(error).endswith("Invalid postgres config: `params` has no value for `$late`")


async def test_marks_in_quotes_and_comments_are_no_parameters(sql: Session) -> None:
    data = await sql.data(
        "SELECT '$2' AS \"$3\", $1::int AS a /* $4 */, $$ $5 $$ AS b -- $6", params=["7"]
    )

    assert data["rows"] == [{"$3": "$2", "a": 7, "b": " $5 "}]


async def test_the_leading_statements_are_one_transaction(sql: Session) -> None:
    await sql.run("CREATE TABLE led (a int PRIMARY KEY)")
    await sql.failure("INSERT INTO led VALUES (1); INSERT INTO led VALUES (1); SELECT 1")
    assert (await sql.data("SELECT a FROM led"))["row_count"] == 0

    await sql.failure("INSERT INTO led VALUES (2); SELECT nothing")
    assert (await sql.data("SELECT a FROM led"))["rows"] == [{"a": 2}]


async def test_a_script_with_everything_a_splitter_can_get_wrong(sql: Session) -> None:
    script = """
    /* one; /* two; */ */
    CREATE TEMP TABLE "odd;name" (a text); -- it's; here
    CREATE FUNCTION pg_temp.f() RETURNS text LANGUAGE plpgsql AS $body$
      BEGIN RETURN 'x;'; END; $body$;
    CREATE FUNCTION pg_temp.g() RETURNS int LANGUAGE sql
      BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END;
    INSERT INTO "odd;name" VALUES (pg_temp.f()), ('{{ name | replace("'", "''") }}'), (E'\\';');
    SELECT string_agg(a, '|' ORDER BY a) AS all, pg_temp.g() AS g FROM "odd;name";
    ;
    """

    assert (await sql.data(script))["rows"] == [{"all": "';|it's; me|x;", "g": 2}]


@pytest.mark.parametrize(
    ("query", "text", "failure"),
    [
        (
            "SELECT * FROM nowhere",
            'Query failed: ERROR: relation "nowhere" does not exist (SQLSTATE 42P01)',
            ("unknown", False, "PG_42P01"),
        ),
        (
            "INSERT INTO item (id) VALUES (1), (1)",
            (
                "Execute failed: ERROR: duplicate key value violates unique constraint "
                '"item_pkey" (SQLSTATE 23505) | DETAIL: Key (id)=(1) already exists.'
            ),
            ("db_constraint", False, "PG_23505"),
        ),
        (
            (
                "SELECT 1; DO $$ BEGIN RAISE EXCEPTION 'm' USING ERRCODE = '40001', DETAIL = 'd',"
                " HINT = 'h'; END $$; SELECT 2"
            ),
            "Batch execute failed: ERROR: m (SQLSTATE 40001) | DETAIL: d | HINT: h",
            ("db_deadlock", True, "PG_40001"),
        ),
        (
            "SET statement_timeout = 20; SELECT pg_sleep(10)",
            "Query failed: ERROR: canceling statement due to statement timeout (SQLSTATE 57014)",
            ("db_timeout", True, "PG_57014"),
        ),
        (
            "SELECT pg_terminate_backend(pg_backend_pid())",
            (
                "Query failed: connection was closed in the middle of operation: "
                "terminating connection due to administrator command"
            ),
            ("db_connection", True, "PG_08003"),
        ),
        (
            "SELECT lower('A', 1)",
            "Query failed: ERROR: function lower(unknown, integer) does not exist (SQLSTATE 42883)",
            ("unknown", False, "PG_42883"),
        ),
        (
            "COPY other.place FROM STDIN",
            "Execute failed: ",
            None,
        ),
        (
            "BEGIN; INSERT INTO other.place VALUES (1)",
            "Execute failed: the script left a transaction open; it was rolled back",
            ("unknown", False, None),
        ),
        (
            "SELECT repeat('x', 1000) FROM generate_series(1, 5000)",
            "Query failed: the result has more than 1048576 bytes (NOETL_WORKER_SQL_RESULT_BYTES)",
            ("unknown", False, None),
        ),
    ],
)
async def test_failures_say_what_the_server_said(
    sql: Session, query: str, text: str, failure: tuple[str, bool, str | None] | None
) -> None:
    error = await sql.failure(query)

    assert str(error).startswith(f"Database error: {text}")
    if failure is not None:
        assert (error.failure.kind, error.failure.retryable, error.failure.code) == failure
    # The pool has forgotten it.
    assert await sql.value("1") == 1


async def test_policies_see_the_state(sql: Session) -> None:
    error = await sql.failure("INSERT INTO item (id) VALUES (1), (1)")
    context = ToolContext(
        variables={},
        execution_id=7,
        step="s",
        server_url="",
        toolbox=None,  # type: ignore[arg-type]  # no tools
    )
    rule = {
        "when": "{{ output.pg.sqlstate == '23505' and output.error.pg_code == '23505' "
        "and output.error.code == 'PG_23505' and not output.error.retryable }}",
        "then": {"do": "continue"},
    }

    decision = Attempts(limits=PolicyLimits()).decide(
        [rule], Tried(error=error), context=context, label="s"
    )

    assert decision.action == "continue"


@pytest.mark.parametrize(
    ("query", "data"),
    [
        ("SELECT 1 AS a INTO TEMP made", {"columns": [], "rows": [], "row_count": 0}),
        (
            "WITH q AS (SELECT 55 AS id) INSERT INTO other.place SELECT id FROM q",
            {"columns": [], "rows": [], "row_count": 0},
        ),
        (
            "WITH q AS (SELECT 56 AS id) INSERT INTO other.place SELECT id FROM q RETURNING id",
            {"columns": ["id"], "rows": [{"id": 56}], "row_count": 1},
        ),
        ("VACUUM other.place", {"affected_rows": 0}),
        ("CREATE INDEX CONCURRENTLY ON other.place (id)", {"affected_rows": 0}),
        (
            "CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$; CALL p()",
            {"affected_rows": 0},
        ),
    ],
)
async def test_statements_with_a_will_of_their_own(
    sql: Session, query: str, data: dict[str, Any]
) -> None:
    assert await sql.data(query) == data
    assert sql.database.run("SELECT count(*) > 0 FROM pg_class WHERE relname = 'place'") == "t"


async def test_a_comment_before_a_semicolon_does_not_swallow_it(sql: Session) -> None:
    script = "CREATE TEMP TABLE one (a int) -- it\n; CREATE TEMP TABLE two (a int); SELECT 1 AS v"

    assert (await sql.data(script))["rows"] == [{"v": 1}]


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
async def test_text_that_postgresql_has_no_room_for(sql: Session, text: str) -> None:
    for query, params in (("SELECT $1", [text]), (f"SELECT '{text}'", [])):
        error = await sql.failure(query, params=params)
        assert str(error).startswith("Database error: Query failed: ")


async def test_a_transaction_of_the_script_is_its_own(sql: Session) -> None:
    await sql.run("BEGIN; INSERT INTO other.place VALUES (77); ROLLBACK")
    assert (await sql.data("SELECT * FROM other.place WHERE id = 77"))["row_count"] == 0

    data = await sql.data("BEGIN; INSERT INTO other.place VALUES (78); COMMIT; "
                          "SELECT id FROM other.place WHERE id = 78")  # fmt: skip
    assert data["rows"] == [{"id": 78}]


async def test_nothing_of_a_call_is_seen_by_the_next(sql: Session) -> None:
    pid = await sql.value("pg_backend_pid()")
    await sql.run(
        "SET work_mem = '7MB'; SET ROLE pg_monitor; CREATE TEMP TABLE mine (a int);"
        "SELECT pg_advisory_lock(5)",
        schema="other",
    )
    assert await sql.value("to_regclass('place') IS NOT NULL", schema="other")

    data = await sql.data(
        "SELECT pg_backend_pid() AS pid, current_setting('search_path') AS path,"
        " current_setting('work_mem') = '7MB' AS mem, current_user = session_user AS me,"
        " to_regclass('mine') AS temp,"
        " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') AS locks"
    )

    assert data["rows"][0] == {
        "pid": pid,
        "path": '"$user", public',
        "mem": False,
        "me": True,
        "temp": None,
        "locks": 0,
    }


async def test_a_schema_is_a_name_and_no_sql(sql: Session) -> None:
    error = await sql.failure("SELECT 1", schema="other; DROP TABLE item")

    assert str(error).startswith("Database error: Failed to set schema: ERROR: ")
    assert await sql.value("'item'::regclass") == "item"


@pytest.mark.parametrize("ended_by", ["timeout", "cancellation"])
async def test_a_call_that_is_ended_ends_its_query(sql: Session, ended_by: str) -> None:
    mark = f"ended by {ended_by}"
    query = f"SELECT pg_sleep(60), '{mark}'"
    running = (
        "SELECT count(*) FROM pg_stat_activity"
        f" WHERE state = 'active' AND query LIKE '%{mark}%' AND pid <> pg_backend_pid()"
    )
    if ended_by == "timeout":
        result = await sql.run(query, timeout_seconds=1)
        assert (result.status, result.error) == (
            "timeout",
            "Execution timed out after 1 seconds",
        )
        assert result.failure is not None
        assert result.failure.kind == "timeout"
    else:
        task = asyncio.ensure_future(sql.run(query))
        await eventually(lambda: sql.database.run(running) == "1", what="the query runs")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert sql.database.run(running) == "0"
    assert await sql.value("1") == 1


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({}, "postgres has no connection: no credential in `auth`, no `connection_string`"),
        ({"user": "u", "password": "p", "database": "d"}, "and no `host`"),
        ({"connection_string": "postgres:///db"}, "postgres connection is not valid: it has no"),
        ({"connection_string": "host='x"}, "it is neither a URL nor pairs"),
        ({"connection_string": "mysql://h/db"}, "its scheme is not `postgres`"),
        ({"connection_string": "postgres://h:x/db"}, "its port is no port number"),
        ({"connection_string": "postgres://h/d?service=s"}, "`service` is not supported"),
        ({"host": "h", "sslmode": "maybe"}, "sslmode `maybe` is not one of disable, allow"),
        ({"host": "h", "port": "5432"}, 'Invalid postgres config: invalid type: string "5432"'),
        ({"host": "h", "port": 70000}, "expected u16"),
        ({"host": "h", "command": "SELECT 1"}, "duplicate field `query`"),
        ({"host": "h", "query": ["SELECT 1"]}, "invalid type: sequence, expected a string"),
        ({"host": "h", "as_objects": None}, "invalid type: null, expected a boolean"),
    ],
)
async def test_without_an_address_there_is_no_connection(
    sql: Session, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], text: str
) -> None:
    # What the driver would otherwise fall back to.
    monkeypatch.setenv("PGHOST", sql.database.host)
    monkeypatch.setenv("PGPORT", str(sql.database.port))

    with pytest.raises(ToolError) as caught:
        await sql.bare({"query": "SELECT 1", **config})

    assert str(caught.value).startswith("Configuration error: ")
    assert text in str(caught.value)


async def test_a_query_is_required(sql: Session) -> None:
    with pytest.raises(ToolError, match="Invalid postgres config: missing field `query`"):
        await sql.bare({"host": "h"})


async def test_any_password_works_in_any_form(sql: Session) -> None:
    database = sql.database
    password = "p@ss:w/rd?#%41 'q\" \\ é"
    database.run("CREATE ROLE odd LOGIN PASSWORD '{}'".format(password.replace("'", "''")))
    from urllib.parse import quote  # noqa: PLC0415

    place = f"{database.host}:{database.port}/{database.name}"
    in_pairs = password.replace("\\", "\\\\").replace("'", "\\'")
    try:
        for config in (
            {**sql.login, "user": "odd", "password": password},
            {"connection_string": f"postgres://odd:{quote(password, safe='')}@{place}"},
            {
                "connection_string": f"host={database.host} port={database.port} user=odd "
                f"dbname={database.name} password='{in_pairs}' connect_timeout=3"
            },
        ):
            data = (await sql.bare({"query": "SELECT current_user AS v", **config})).data
            assert data["rows"] == [{"v": "odd"}]
        secrets = {"PG_PASSWORD": password}
        named = await sql.bare(
            {**sql.login, "user": "odd", "password": "PG_PASSWORD", "query": "SELECT 1 AS v"},
            secrets=secrets,
        )
        assert named.data["rows"] == [{"v": 1}]
    finally:
        await sql.tool.close()
        database.run("DROP ROLE odd")


@pytest.mark.parametrize(
    ("changes", "text", "kind"),
    [
        ({"port": 1}, "Failed to get connection: ", "db_connection"),
        ({"host": "nowhere.invalid"}, "Failed to get connection: ", "db_connection"),
        (
            {"database": "missing"},
            'Failed to get connection: FATAL: database "missing" does not exist (SQLSTATE 3D000)',
            "unknown",
        ),
        ({"sslmode": "require"}, "Failed to get connection: ", "db_connection"),
    ],
)
async def test_a_database_that_can_not_be_reached(
    sql: Session, changes: dict[str, Any], text: str, kind: str
) -> None:
    error = await sql.failure("SELECT 1", **changes)

    assert str(error).startswith(f"Database error: {text}")
    assert sql.database.password not in str(error)
    assert error.failure.kind == kind


async def test_connections_are_bounded_and_shared(sql: Session) -> None:
    pids = await asyncio.gather(
        *(sql.value("pg_backend_pid(), pg_sleep(0.02)", timeout_seconds=20) for _ in range(8))
    )

    assert 1 <= len(set(pids)) <= LIMITS.pool_size


async def test_large_rows_are_not_taken_many_at_once(sql: Session) -> None:
    await sql.value("1")
    tracemalloc.start()
    try:
        await sql.failure("SELECT repeat('x', 1 << 20) AS v FROM generate_series(1, 200)")
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


async def test_a_call_that_is_ended_twice_gives_its_connection_back(
    shared_database: Database,
) -> None:
    """The second time while the first one is still being cleaned up."""
    shared_database.run(
        "CREATE FUNCTION stubborn() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60);"
        " RETURN 1; EXCEPTION WHEN query_canceled THEN PERFORM pg_sleep(1); RETURN 2; END $$"
    )
    tool = Postgres(PgPools(replace(LIMITS, pool_size=1)), most_seconds=60, result_bytes=1 << 20)
    session = Session(tool, shared_database)
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    task = asyncio.ensure_future(session.run("SELECT stubborn()"))
    await eventually(lambda: shared_database.run(asleep) == "1", what="the query runs")
    task.cancel()
    for _ in range(5):
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await session.value("1") == 1
    await tool.close()


async def test_calls_side_by_side_close_old_pools_once(shared_database: Database) -> None:
    pools = PgPools(replace(LIMITS, pools=8, idle_seconds=0.001))
    addresses = [
        parse_address(
            f"host={shared_database.host} port={shared_database.port}"
            f" user={shared_database.user} password={shared_database.password}"
            f" dbname={shared_database.name} application_name=n{number}"
        )
        for number in range(4)
    ]

    async def use(address: PgAddress) -> Any:
        async with pools.connection(address) as connection:
            return await connection.fetchval("SELECT 1")

    for _ in range(3):
        found = await asyncio.gather(*map(use, addresses))
        assert found == [1] * len(addresses)
    await pools.close()


async def test_the_oldest_unused_pool_makes_room(sql: Session) -> None:
    names = ("one", "two", "three")
    for name in names:
        options = f"postgres://{sql.database.user}:{sql.database.password}@{sql.database.host}"
        options += f":{sql.database.port}/{sql.database.name}?application_name={name}"
        data = (await sql.bare({"query": "SELECT 1 AS v", "connection_string": options})).data
        assert data["rows"] == [{"v": 1}]

    def kept() -> list[str]:
        return sql.database.run(
            "SELECT application_name FROM pg_stat_activity"
            " WHERE application_name IN ('one', 'two', 'three') ORDER BY 1"
        ).split()

    # Its server process ends after its connection.
    await eventually(lambda: "one" not in kept(), what="the first pool is closed")
    assert "three" in kept()


def test_settings_have_bounds() -> None:
    limits = PgLimits.of(Settings())

    assert limits.pool_size >= 1
    assert limits.connect_seconds > 0


@pytest.mark.parametrize("may_move", [True, False])
async def test_a_call_that_no_connection_was_left_for_never_began(
    sql: Session, *, may_move: bool
) -> None:
    config = {**sql.login, "query": "SELECT 1"}
    with without_descriptors(), pytest.raises(ToolError, match="Failed to get") as caught:
        await sql.bare(config, may_move=may_move)
    assert isinstance(caught.value, NeverBegan) == may_move

    with pytest.raises(ToolError) as caught:
        await sql.bare({**config, "password": "wrong", "port": 9}, may_move=may_move)
    assert not isinstance(caught.value, NeverBegan), "nobody listens there for anybody"
    assert (await sql.bare(config, may_move=may_move)).data["rows"]
