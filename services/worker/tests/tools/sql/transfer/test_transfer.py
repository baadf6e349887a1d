"""The transfer tool between a real HTTP server, a real PostgreSQL and a real DuckDB."""

import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pytest
from noetl_testkit.postgres import Database, PostgresServer
from noetl_worker.tools.registry import ToolRegistry
from noetl_worker.tools.tool import ToolContext, ToolError, ToolResult

POSTS = [
    {"userId": number // 10 + 1, "id": number, "title": f"t{number}", "body": "it's\n{{ n }}"}
    for number in range(1, 101)
]
ANSWERS: dict[str, Any] = {
    "/posts": POSTS,
    "/nested": {"data": {"items": [{"id": 1, "who": {"name": "é"}}, {"id": 2}]}},
    "/one": {"id": 7, "note": None},
    "/kinds": [
        {"id": 1, "amount": "1.50", "tags": [1, 2], "doc": {"a": [True]}, "at": "2026-01-02"},
        {"id": 2.0, "amount": 3, "flag": True, "doc": "text", "tags": None},
    ],
    "/empty": [],
    "/numbers": [1, 2],
    "/text": "text",
    "/twice": [{"id": 1, "note": "old"}, {"id": 1, "note": "new"}],
    "/bad-last": [{"id": 1, "note": "x"}, {"id": "y", "note": "z"}],
}


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Else a body waits until the head is confirmed: 40 ms on a connection that is kept.
    disable_nagle_algorithm = True

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        status, value = 200, ANSWERS.get(self.path)
        if self.path == "/echo":
            value = {"id": 1, "note": f"{self.command} {body.decode()}"}
        elif self.path == "/closed" and self.headers.get("Authorization") == "Bearer t0":
            value = [{"id": 3}]
        elif value is None:
            status = 401 if self.path == "/closed" else 404
        data = orjson.dumps(value)
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = answer  # noqa: N815  the names are the standard library's

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def shared_database(postgres_server: PostgresServer) -> Iterator[Database]:
    with postgres_server.fresh() as fresh:
        yield fresh


@pytest.fixture
def database(shared_database: Database) -> Database:
    shared_database.run(
        "DROP SCHEMA public CASCADE; CREATE SCHEMA public;"
        "CREATE TABLE posts (id int4 PRIMARY KEY, userid int, title text, body text);"
        "CREATE TABLE note (id int PRIMARY KEY, note text);"
        "INSERT INTO note VALUES (1, 'was'), (9, 'there');"
        "CREATE TABLE kinds (id int2, amount numeric(10,2), tags int[], doc jsonb, flag bool,"
        " at timestamptz)"
    )
    return shared_database


class Session:
    def __init__(self, toolbox: ToolRegistry, database: Database, directory: Path) -> None:
        self.toolbox = toolbox
        self.database = database
        self.directory = directory
        self.file = str(directory / "t.duckdb")

    @property
    def login(self) -> dict[str, Any]:
        """Return the fields of an endpoint with a credential of type postgres."""
        database = self.database
        return {
            "type": "postgres",
            "host": database.host,
            "port": database.port,
            "user": database.user,
            "password": database.password,
            "database": database.name,
        }

    @property
    def duck(self) -> dict[str, Any]:
        return {"type": "duckdb", "connection": self.file}

    def context(self) -> ToolContext:
        return ToolContext(
            variables={"n": 5}, execution_id=7, step="s", server_url="", toolbox=self.toolbox
        )

    async def run(self, source: Any, target: Any, **config: Any) -> ToolResult:
        given = {"source": source, "target": target, **config}
        return await self.toolbox.run("transfer", given, self.context())

    async def failure(self, source: Any, target: Any, **config: Any) -> ToolError:
        with pytest.raises(ToolError) as caught:
            await self.run(source, target, **config)
        return caught.value

    def duckdb(self, sql: str) -> list[Any]:
        with duckdb.connect(self.file) as connection:
            return connection.execute(sql).fetchall()


@pytest.fixture
async def session(
    toolbox: ToolRegistry, database: Database, tmp_path: Path
) -> AsyncIterator[Session]:
    yield Session(toolbox, database, tmp_path)
    await toolbox.close()


async def test_a_hundred_posts_arrive_in_postgres(session: Session, url: str) -> None:
    """The direction, credential and mapping of the core set's transfer."""
    result = await session.run(
        {"type": "http", "url": f"{url}/posts", "method": "GET"},
        {
            **session.login,
            "table": "public.posts",
            "mapping": {"id": "id", "userId": "userId", "title": "title", "body": "body"},
        },
        chunk_size=30,
        mode="replace",
    )

    assert result.data == {
        "direction": "http_to_postgres",
        "source_type": "http",
        "target_type": "postgres",
        "mode": "replace",
        "rows_transferred": 100,
        "chunks_processed": 4,
        "target_table": "public.posts",
        "columns": ["id", "userId", "title", "body"],
    }
    counted = "SELECT count(*), sum(id), max(userid), max(body) = E'it''s\\n{{ n }}' FROM posts"
    assert session.database.run(counted) == "100|5050|11|t"


async def test_every_type_from_json_to_postgres(session: Session, url: str) -> None:
    await session.run(
        {"kind": "http", "url": f"{url}/kinds"},
        {
            "tool": "postgres",
            "connection": session.database.dsn,
            "table": "kinds",
            "mapping": {name: name for name in ("id", "amount", "tags", "doc", "flag", "at")},
        },
    )

    assert session.database.run("SELECT * FROM kinds ORDER BY id").splitlines() == [
        '1|1.50|{1,2}|{"a": [true]}||2026-01-02 00:00:00+00',
        '2|3.00||"text"|t|',
    ]


@pytest.mark.parametrize(
    ("path", "source", "rows"),
    [
        ("/nested", {"data_path": "data.items"}, "1|é\n2|\n9|there"),
        ("/nested", {"data_path": "data.items.0"}, "1|é\n9|there"),
        ("/one", {}, "7|\n9|there"),
        ("/echo", {}, "1|GET \n9|there"),
        ("/echo", {"method": "POST", "json": {"a": "{{ n }}"}}, '1|POST {"a":5}\n9|there'),
        ("/echo", {"method": "DELETE"}, "1|GET \n9|there"),
        ("/closed", {"auth": {"type": "bearer", "token": "t0"}}, "3|\n9|there"),
    ],
)
async def test_what_http_returns(
    session: Session, url: str, path: str, source: dict[str, Any], rows: str
) -> None:
    mapping = {"id": "id", "note": "who.name" if path == "/nested" else "note"}
    session.database.run("DELETE FROM note WHERE id = 1")

    await session.run(
        {"type": "http", "url": url + path, **source},
        {**session.login, "table": "note", "mapping": mapping},
    )

    assert session.database.run("SELECT * FROM note ORDER BY id") == rows


@pytest.mark.parametrize(
    ("path", "source", "failure"),
    [
        ("/missing", {}, ("HTTP error: source: HTTP 404 response", "not_found")),
        ("/closed", {}, ("HTTP error: source: HTTP 401 response", "auth")),
        ("/text", {}, ("HTTP error: HTTP response data must be an array or object", "unknown")),
        ("/numbers", {}, ("HTTP error: HTTP response data: row 0 is not an object", "unknown")),
        (
            "/nested",
            {"data_path": "data.rows"},
            ("HTTP error: Path segment 'rows' not found in JSON", "unknown"),
        ),
    ],
)
async def test_http_failures_are_raised(
    session: Session, url: str, path: str, source: dict[str, Any], failure: tuple[str, str]
) -> None:
    error = await session.failure(
        {"type": "http", "url": url + path, **source},
        {**session.login, "table": "note"},
        mode="replace",
    )

    assert (str(error), error.failure.kind) == failure
    assert session.database.run("SELECT count(*) FROM note") == "2"


@pytest.mark.parametrize("target_kind", ["postgres", "duckdb"])
@pytest.mark.parametrize(
    "case",
    [
        ("append", "/one", [(1, "was"), (7, None), (9, "there")]),
        ("replace", "/one", [(7, None)]),
        ("upsert", "/twice", [(1, "new"), (9, "there")]),
        ("replace", "/twice", None),
        ("append", "/twice", None),
        ("replace", "/bad-last", None),
        ("replace", "/empty", [(1, "was"), (9, "there")]),
    ],
)
async def test_modes(
    session: Session, url: str, target_kind: str, case: tuple[str, str, Any]
) -> None:
    """Without rows the transfer fails, and the table is as it was."""
    mode, path, rows = case
    before = [(1, "was"), (9, "there")]
    source = {"type": "http", "url": url + path}
    target = {**(session.login if target_kind == "postgres" else session.duck), "table": "note"}
    session.duckdb(
        "CREATE TABLE note (id int PRIMARY KEY, note text);"
        "INSERT INTO note VALUES (1, 'was'), (9, 'there')"
    )

    if rows is None:
        error = await session.failure(source, target, mode=mode, chunk_size=1)
        assert str(error).startswith("Database error: Execute failed: ")
    else:
        await session.run(source, target, mode=mode)

    query = "SELECT id, note FROM note ORDER BY id"
    if target_kind == "duckdb":
        assert session.duckdb(query) == (rows or before)
    else:
        found = session.database.run(query).splitlines()
        assert found == [f"{number}|{note or ''}" for number, note in rows or before]


async def test_upsert_needs_a_key(session: Session, url: str) -> None:
    session.database.run("ALTER TABLE note DROP CONSTRAINT note_pkey")
    source = {"type": "http", "url": f"{url}/twice"}
    target = {**session.login, "table": "note"}

    error = await session.failure(source, target, mode="upsert")
    assert str(error) == (
        "Configuration error: upsert into `note`: it has no primary key and the target no `key`"
    )

    session.database.run("CREATE UNIQUE INDEX ON note (id)")
    await session.run(source, {**target, "key": "id"}, mode="upsert")
    assert session.database.run("SELECT * FROM note ORDER BY id") == "1|new\n9|there"


MANY = """
    SELECT 1::int2 AS a, 1.50::numeric AS b, 'NaN'::float8 AS c, '\\x00ff'::bytea AS d,
    '2026-01-02 03:04:05.678901+00'::timestamptz AS e, '1 mon 2 days 03:00:00'::interval AS f,
    ARRAY[1, NULL] AS g, '{"k": [1]}'::jsonb AS h, true AS i, '0044-03-15 BC'::date AS j,
    '[1,5)'::int4range AS k, 'it''s; "x"'::text AS l, NULL::uuid AS m -- the end
"""


async def test_postgres_to_postgres_loses_nothing(session: Session) -> None:
    session.database.run(f"CREATE TABLE many AS {MANY}; CREATE TABLE copy AS TABLE many LIMIT 0")
    session.database.run("INSERT INTO many SELECT * FROM many")

    result = await session.run(
        {**session.login, "query": f"{MANY}\n"},
        {"type": "postgres", "connection": session.database.dsn, "table": "copy"},
    )

    assert result.data["direction"] == "postgres_to_postgres"
    assert session.database.run("TABLE copy") == session.database.run("TABLE many LIMIT 1")


async def test_there_and_back_through_duckdb(session: Session) -> None:
    session.database.run(f"CREATE TABLE many AS {MANY}; CREATE TABLE copy AS TABLE many LIMIT 0")

    there = await session.run(
        {**session.login, "query": "SELECT * FROM many, generate_series(1, 5);", "chunk_size": 2},
        {**session.duck, "table": "main.many"},
        chunk_size=2,
    )
    kinds = {row[0]: row[1] for row in session.duckdb("DESCRIBE many")}
    back = await session.run(
        {**session.duck, "query": "SELECT * EXCLUDE generate_series FROM many LIMIT 1 -- one"},
        {**session.login, "table": "copy"},
    )

    assert (there.data["rows_transferred"], there.data["chunks_processed"]) == (5, 3)
    assert back.data["direction"] == "duckdb_to_postgres"
    assert [kinds[name] for name in "abcdeghi"] == [
        "SMALLINT", "VARCHAR", "DOUBLE", "BLOB", "TIMESTAMP WITH TIME ZONE", "INTEGER[]", "JSON",
        "BOOLEAN",
    ]  # fmt: skip
    assert session.database.run("TABLE copy") == session.database.run("TABLE many")


async def test_duckdb_to_duckdb_and_from_a_file(session: Session) -> None:
    write = "COPY (FROM (VALUES (1, 'x'), (2, 'y')) AS t(a, b)) TO 'in.csv'"
    await session.toolbox.run("duckdb", {"query": write}, session.context())
    query = "SELECT a, b, {'s': [a]} AS c, 'z'::blob AS d FROM 'in.csv'"

    await session.run({"type": "duckdb", "query": query}, {**session.duck, "table": "one"})
    await session.run(
        {**session.duck, "query": "SELECT * FROM one"},
        {**session.duck, "table": "two", "mapping": {"id": "a", "s": "c", "d": "d"}},
    )

    assert session.duckdb("SELECT * FROM two ORDER BY id") == [
        (1, {"s": [1]}, b"z"),
        (2, {"s": [2]}, b"z"),
    ]


async def test_http_to_duckdb_makes_the_table(session: Session, url: str) -> None:
    await session.run({"type": "http", "url": f"{url}/posts"}, {**session.duck, "table": "posts"})

    assert session.duckdb("SELECT count(*), sum(id), any_value(typeof(title)) FROM posts") == [
        (100, 5050, "VARCHAR")
    ]


@pytest.mark.parametrize(
    ("source", "target", "text"),
    [
        ({}, {"table": None}, "Target table name required"),
        ({"type": "snowflake"}, {}, "Snowflake to Postgres (install noetl-tool-snowflake where"),
        ({}, {"type": "snowflake"}, "Unsupported transfer direction: Http to Snowflake"),
        ({}, {"type": "http"}, "Unsupported transfer direction: Http to Http"),
        ({"type": "s3"}, {}, "unknown variant `s3`, expected one of `snowflake`, `postgres`"),
        ({"type": None}, {}, "invalid type: null, expected a string"),
        ({"kind": "http"}, {}, "duplicate field `type`"),
        ({"type": "postgres", "query": "SELECT 1"}, {}, "Source connection string required"),
        ({"type": "postgres", "connection": "postgres://h/d"}, {}, "Source query required"),
        ({}, {"host": None}, "Target connection string required"),
        ({}, {"type": "duckdb"}, "Target connection string required"),
        ({}, {"type": "duckdb", "connection": "../x.duckdb"}, "leads out of the worker's"),
        ({}, {"mapping": {"id": "nothing", "x": 1}}, "invalid type: integer `1`"),
        ({}, {"key": {"a": 1}}, "`key` is neither a column nor a list of columns"),
    ],
)
async def test_configurations_that_are_refused(
    session: Session, url: str, source: dict[str, Any], target: dict[str, Any], text: str
) -> None:
    error = await session.failure(
        {"type": "http", "url": f"{url}/one", **source},
        {**session.login, "table": "note", **target},
    )

    assert str(error).startswith("Configuration error: ")
    assert text in str(error)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ({"table": "nowhere"}, 'ERROR: relation "nowhere" does not exist (SQLSTATE 42P01)'),
        ({"mapping": {"gone": "id"}}, 'column "gone" of relation "note" does not exist'),
        ({"table": "note; DROP TABLE note"}, "ERROR: invalid name syntax (SQLSTATE 42602)"),
        ({"port": 1}, "Failed to get connection: "),
    ],
)
async def test_targets_that_are_not_there(
    session: Session, url: str, target: dict[str, Any], text: str
) -> None:
    error = await session.failure(
        {"type": "http", "url": f"{url}/one"}, {**session.login, "table": "note", **target}
    )

    assert str(error).startswith("Database error: ")
    assert text in str(error)
    assert session.database.run("SELECT count(*) FROM note") == "2"


async def test_a_mapping_names_what_the_source_has(session: Session) -> None:
    error = await session.failure(
        {**session.login, "query": "SELECT 1 AS a, 2 AS b"},
        {**session.login, "table": "note", "mapping": {"id": "c"}},
    )

    assert str(error) == (
        "Configuration error: the mapping of `id` names `c`, which the source doesn't have: a, b"
    )


async def test_a_transfer_into_its_own_source_ends(session: Session) -> None:
    await session.run(
        {**session.login, "query": "SELECT id + 100 AS id, note FROM note"},
        {**session.login, "table": "note"},
    )
    assert session.database.run("SELECT count(*) FROM note") == "4"

    result = await session.run(
        {**session.login, "query": "SELECT * FROM note"},
        {**session.login, "table": "note"},
        mode="replace",
        timeout_seconds=1,
    )
    assert (result.status, result.error) == ("timeout", "Execution timed out after 1 seconds")
    assert session.database.run("SELECT count(*) FROM note") == "4"
