"""The SQL route against a real PostgreSQL: types, bounds, and nothing written."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import orjson
import pytest
from noetl_bus.broker import connect
from noetl_bus.rpc import handle, serve_rpc
from noetl_contract.http.secrets.credentials import CredentialBody, CredentialRead
from noetl_contract.http.system.database import SessionRequest
from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.catalog import CREDENTIAL_GET
from noetl_contract.rpc.projector import SESSIONS_VALIDATE, SQL_EXECUTE, SqlStatement
from noetl_projector.sql_console.console import RoleRefused, open_console
from noetl_projector.sql_console.handlers import SqlHandlers
from noetl_projector.sql_console.login import ConsoleLogin, Login, reader_of
from noetl_projector.sql_console.text import Statement
from noetl_testkit.postgres import Database
from noetl_testkit.waiting import eventually

from services.projector.tests.conftest import AddLog, Ask, Pool, make_settings

WRITES = {"sql_console_writes": True}
ELSEWHERE = {"sql_console_elsewhere": True}
NOT_READING = (
    " is not possible here: a statement begins with one of"
    " SELECT, WITH, VALUES, TABLE, EXPLAIN, SHOW"
)
NO_SQL = "Database error: error returned from database: "


@asynccontextmanager
async def serving(
    database: Database, nats_url: str, *, guest: Login | None = None, **changes: Json
) -> AsyncIterator[Ask]:
    """Serve the SQL operations, with a catalog that knows some credentials."""
    settings = make_settings(database, nats_url=nats_url, **changes)
    login = guest or Login(database.user, database.password)
    datas: JsonObject = {
        "here": {
            "type": "postgres",
            "data": {
                "db_host": database.host,
                "db_port": database.port,
                "db_user": login.user,
                "db_password": login.password,
                "db_name": database.name,
            },
        },
        "other": {"type": "http", "data": {}},
        "nowhere": {"type": "postgres", "data": {"host": "127.0.0.1", "port": 1}},
    }

    async def credential(request: CredentialRead) -> CredentialBody | Refusal:
        name = request.identifier
        if name not in datas:
            return Refusal(404, f"Credential '{name}' not found")
        return CredentialBody(id="1", name=name, created_at="", updated_at="", **datas[name])

    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(connect(settings, name="test"))
        console = await stack.enter_async_context(open_console(settings))
        catalog = [handle(CREDENTIAL_GET, credential)]
        await stack.enter_async_context(serve_rpc(bus, catalog, queue="test"))
        yield Ask(SqlHandlers(console, bus=bus, settings=settings).handlers())


@pytest.fixture
async def guest(pool: Pool) -> AsyncIterator[Login]:
    """A role that may change the tables and nothing else."""
    login = Login(f"guest_{secrets.token_hex(6)}", secrets.token_hex(6))
    await pool.execute(
        f"CREATE ROLE {login.user} LOGIN PASSWORD '{login.password}';"
        f"GRANT ALL ON SCHEMA noetl TO {login.user};"
        f"GRANT ALL ON ALL TABLES IN SCHEMA noetl TO {login.user}"
    )
    try:
        yield login
    finally:
        await pool.execute(f"DROP OWNED BY {login.user}; DROP ROLE {login.user}")


@pytest.fixture
async def ask(database: Database, nats_url: str) -> AsyncIterator[Ask]:
    async with serving(database, nats_url) as made:
        yield made


async def run(ask: Ask, query: str, **request: Json) -> Json:
    """Run a statement that works and return its rows."""
    reply = await ask(SQL_EXECUTE, SqlStatement(query=query, **request))
    assert reply.status == 200, reply.error
    body = orjson.loads(reply.body["text"])
    assert body["status"] == "ok"
    return body["result"]


async def texts(ask: Ask, expressions: dict[str, str]) -> dict[str, str]:
    """Return each expression's cell as it stands in the answer."""
    columns = ", ".join(f"{expression} AS v{i}" for i, expression in enumerate(expressions))
    reply = await ask(SQL_EXECUTE, SqlStatement(query=f"SELECT {columns}"))
    assert reply.status == 200, reply.error
    text = reply.body["text"]
    cells = {}
    for i, expression in enumerate(expressions):
        _, _, rest = text.partition(f'"v{i}":')
        cells[expression] = next(
            rest[:end] for end in range(1, len(rest)) if rest[end] in ",}" and _is_json(rest[:end])
        )
    return cells


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


CELLS = {
    "1::int2": "1",
    "9223372036854775807::int8": "9223372036854775807",
    "1::float8": "1.0",
    "0.1::float4": "0.1",
    "'NaN'::float8": "null",
    "'-Infinity'::float4": "null",
    "12345678901234567890.123456789012345678900::numeric": (
        "12345678901234567890.123456789012345678900"
    ),
    "'NaN'::numeric": "null",
    "true": "true",
    "NULL::int4": "null",
    '\'{"b": 12345678901234567890123, "a": [1.10]}\'::jsonb': (
        '{"a": [1.10], "b": 12345678901234567890123}'
    ),
    "'[1]'::json": "[1]",
    "'2026-06-15 12:00:00.123456+02'::timestamptz": '"2026-06-15T10:00:00.123456+00:00"',
    "'infinity'::timestamptz": '"infinity"',
    "'0044-03-15 12:00:00 BC'::timestamp": '"0044-03-15 12:00:00 BC"',
    "'2026-06-15 12:00:00.5'::timestamp": '"2026-06-15T12:00:00.5"',
    "'2026-06-15'::date": '"2026-06-15"',
    "'12:30'::time": '"12:30:00"',
    "'1 year 2 days'::interval": '"1 year 2 days"',
    "'a'::text": '"a"',
    "'ab'::char(3)": '"ab "',
    "'x'::name": '"x"',
    "'c'::\"char\"": '"c"',
    "'00000000-0000-0000-0000-000000000001'::uuid": '"00000000-0000-0000-0000-000000000001"',
    "'10.0.0.1/8'::inet": '"10.0.0.1/8"',
    "'\\x00ff'::bytea": '"\\\\x00ff"',
    "26::oid": "26",
    "'pg_class'::regclass": '"pg_class"',
    "ARRAY[1,NULL,3]": "[1,null,3]",
    "ARRAY[[1,2],[3,4]]": "[[1,2],[3,4]]",
    "ARRAY['a','b,c']": '["a","b,c"]',
    "ARRAY[1.10]": "[1.10]",
    "ARRAY['2026-06-15'::date]": '["2026-06-15"]',
    "int4range(1,5)": '"[1,5)"',
    "'empty'::int4range": '"empty"',
    "tstzrange(NULL,'2026-06-15 00:00+00')": '"(,\\"2026-06-15 00:00:00+00\\")"',
    "'{[1,3),[5,7)}'::int8multirange": '"{[1,3),[5,7)}"',
    "ARRAY[int4range(1,5)]": '["[1,5)"]',
    "ROW(1,'x')::noetl_pair": '"(1,x)"',
    "ROW(1,ROW(2.50))": '"(1,\\"(2.50)\\")"',
    "ARRAY[ROW(1,'x')::noetl_pair]": '["(1,x)"]',
    "noetl_span(1.10,2)": '"[1.10,2)"',
    "'sad'::noetl_mood": '"sad"',
    "5::noetl_small": "5",
}


async def test_cells_of_every_type_lose_nothing(ask: Ask, pool: Pool) -> None:
    await pool.execute(
        "CREATE TYPE noetl_pair AS (a int, b text);"
        "CREATE TYPE noetl_span AS RANGE (subtype = numeric);"
        "CREATE TYPE noetl_mood AS ENUM ('sad', 'ok');"
        "CREATE DOMAIN noetl_small AS int CHECK (VALUE < 10)"
    )

    assert await texts(ask, CELLS) == CELLS


async def test_keys_are_sorted_and_the_last_of_a_name_counts(ask: Ask) -> None:
    reply = await ask(SQL_EXECUTE, SqlStatement(query="SELECT 1 AS b, 2 AS a, 3 AS b"))

    assert reply.body["text"] == '{"status":"ok","result":[{"a":2,"b":3}]}'


async def test_statements_without_rows_have_an_empty_result(ask: Ask) -> None:
    assert await run(ask, "") == []


async def test_parameters_are_read_by_postgresql(ask: Ask) -> None:
    rows = await run(
        ask,
        "SELECT $1::int8 AS i, $2::text AS t, $3::numeric AS n, $4::jsonb AS j, $5::int[] AS a,"
        " $6::bool AS b, $7::timestamptz AS m, $8::int AS z, $9::jsonb AS l",
        parameters=[
            "9007199254740993",
            5,
            1.5,
            {"a": [1]},
            [1, None],
            True,
            "2026-06-15",
            None,
            [1, 2],
        ],
    )
    named = await run(ask, "SELECT %(x)s::int + %(x)s::int AS n", parameters={"x": 4})

    assert rows == [
        {
            "i": 9007199254740993,
            "t": "5",
            "n": 1.5,
            "j": {"a": [1]},
            "a": [1, None],
            "b": True,
            "m": "2026-06-15T00:00:00+00:00",
            "z": None,
            "l": [1, 2],
        }
    ]
    assert named == [{"n": 8}]


REFUSED: list[tuple[str, Json, int, str]] = [
    ("SELECT $1::int", [], 422, "The statement has 1 parameters, 0 were given"),
    ("SELECT 1", [1], 422, "The statement has 0 parameters, 1 were given"),
    ("SELECT $1::int[]", [1], 422, "Parameter 1 must be a list"),
    ("SELECT $1::int", ["x"], 500, NO_SQL + 'invalid input syntax for type integer: "x"'),
    ("SELECT FROM WHERE", None, 500, NO_SQL + 'syntax error at or near "WHERE"'),
    (
        "SELEC 1",
        None,
        422,
        "SELEC" + NOT_READING,
    ),
    (
        "SELECT 1; SELECT 2",
        None,
        500,
        NO_SQL + "cannot insert multiple commands into a prepared statement",
    ),
    ("SELECT * FROM nope", None, 500, NO_SQL + 'relation "nope" does not exist'),
    ("COMMIT", None, 422, "COMMIT is not possible here: each call is one transaction"),
]


async def test_what_postgresql_refuses_is_told(ask: Ask, subtests: pytest.Subtests) -> None:
    for query, parameters, status, error in REFUSED:
        with subtests.test(query):
            reply = await ask(SQL_EXECUTE, SqlStatement(query=query, parameters=parameters))

            assert (reply.status, reply.error) == (status, error)


WRITING = [
    ("INSERT INTO noetl.resource (name) VALUES ('x') RETURNING name", "INSERT"),
    ("WITH x AS (DELETE FROM noetl.resource RETURNING 1) SELECT * FROM x", "SELECT"),
    ("EXPLAIN ANALYZE UPDATE noetl.resource SET meta = NULL", "UPDATE"),
    ("CREATE TABLE noetl.x (a int)", "CREATE TABLE"),
    ("TRUNCATE noetl.resource", "TRUNCATE TABLE"),
]


async def test_nothing_is_written_unless_allowed(ask: Ask, subtests: pytest.Subtests) -> None:
    for query, verb in WRITING:
        with subtests.test(query):
            reply = await ask(SQL_EXECUTE, SqlStatement(query=query))

            reason = f"cannot execute {verb} in a read-only transaction"
            hint = "; NOETL_SQL_CONSOLE_WRITES allows writing"
            assert (reply.status, reply.error) == (403, NO_SQL + reason + hint)


async def test_reading_cannot_be_turned_into_writing(ask: Ask) -> None:
    for query in (
        "SET TRANSACTION READ WRITE",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "SET default_transaction_read_only = off",
        "RESET ALL",
        "SELECT set_config('transaction_read_only', 'off', true)",
        """SELECT pg_catalog . "set_config" /**/ ('transaction_read_only', 'off', true)""",
    ):
        reply = await ask(SQL_EXECUTE, SqlStatement(query=query))
        assert (reply.status, "is not possible here" in (reply.error or "")) == (422, True)
    after = await ask(SQL_EXECUTE, SqlStatement(query="DELETE FROM noetl.resource"))

    assert after.status == 403


async def test_texts_of_statements_stay_out_of_the_logs(
    ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    reply = await ask(SQL_EXECUTE, SqlStatement(query="SELECT 'hunter2'::int"))

    assert (reply.status, "hunter2" in (reply.error or "")) == (500, True)
    assert "hunter2" not in "".join(capsys.readouterr())


async def test_writes_are_committed_when_allowed(
    database: Database, nats_url: str, pool: Pool, guest: Login
) -> None:
    login = {"sql_console_user": guest.user, "sql_console_password": guest.password}
    async with serving(database, nats_url, **WRITES, **login) as ask:
        rows = await run(ask, "INSERT INTO noetl.resource (name) VALUES ('x') RETURNING name")
        failed = await ask(
            SQL_EXECUTE, SqlStatement(query="INSERT INTO noetl.resource (name) VALUES ('x')")
        )

    assert rows == [{"name": "x"}]
    assert failed.status == 500
    assert failed.error is not None
    assert "duplicate key value" in failed.error
    count = await pool.fetchval("SELECT count(*) FROM noetl.resource WHERE name = 'x'")
    assert count == 1


async def test_nothing_is_written_as_a_superuser(database: Database, nats_url: str) -> None:
    async with serving(database, nats_url, **WRITES) as ask:
        reply = await ask(SQL_EXECUTE, SqlStatement(query="SELECT 1"))

    assert (reply.status, reply.error) == (403, RoleRefused.template)


async def test_role_taken_by_a_procedure_is_given_back(
    database: Database, nats_url: str, pool: Pool, guest: Login
) -> None:
    login = {"sql_console_user": guest.user, "sql_console_password": guest.password}
    await pool.execute(
        f"CREATE ROLE {guest.user}_other; GRANT {guest.user}_other TO {guest.user};"
        "CREATE PROCEDURE noetl.turn() LANGUAGE plpgsql"
        f" AS $$ BEGIN SET ROLE {guest.user}_other; END $$"
    )
    try:
        async with serving(database, nats_url, sql_console_connections=1, **WRITES, **login) as ask:
            assert await run(ask, "CALL noetl.turn()") == []
            rows = await run(ask, "SELECT current_user::text AS u")
    finally:
        await pool.execute(f"DROP ROLE {guest.user}_other")

    assert rows == [{"u": guest.user}]


async def test_search_path_holds_for_one_statement(ask: Ask) -> None:
    query = "SELECT current_schema() AS s"

    usual = await run(ask, query)
    assert usual != [{"s": "pg_catalog"}]
    assert await run(ask, query, schema="pg_catalog, noetl") == [{"s": "pg_catalog"}]
    assert await run(ask, query) == usual
    assert await run(ask, "SELECT count(*) AS n FROM event", schema="noetl") == [{"n": 0}]


async def test_too_many_rows_or_bytes_are_cut_and_told(database: Database, nats_url: str) -> None:
    limits = {"sql_console_rows": 20, "sql_console_bytes": 4000}
    async with serving(database, nats_url, **limits) as ask:
        many = await ask(SQL_EXECUTE, SqlStatement(query="SELECT generate_series(1, 1000000) AS n"))
        wide = await ask(
            SQL_EXECUTE, SqlStatement(query="SELECT repeat('x', 900) FROM generate_series(1, 9)")
        )
        fits = await ask(SQL_EXECUTE, SqlStatement(query="SELECT generate_series(1, 20) AS n"))

    assert orjson.loads(many.body["text"]) == {
        "status": "ok",
        "result": [{"n": number} for number in range(1, 21)],
        "truncated": True,
        "rows": 20,
    }
    assert len(orjson.loads(wide.body["text"])["result"]) == 4
    assert "truncated" not in fits.body["text"]


async def test_statements_are_ended_after_their_time(database: Database, nats_url: str) -> None:
    async with serving(database, nats_url, sql_console_timeout_seconds=0.2) as ask:
        slow = await ask(SQL_EXECUTE, SqlStatement(query="SELECT pg_sleep(60)"))

    assert (slow.status, slow.error) == (
        500,
        NO_SQL + "canceling statement due to statement timeout",
    )


async def test_more_statements_than_connections_wait_and_are_refused_in_the_end(
    database: Database, nats_url: str
) -> None:
    limits = {
        "sql_console_connections": 1,
        "sql_console_queue": 1,
        "sql_console_wait_seconds": 1.0,
    }
    holder = await asyncpg.connect(database.dsn)
    async with serving(database, nats_url, **limits) as ask:

        async def is_connected() -> bool:
            return (await ask(SQL_EXECUTE, SqlStatement(query="SELECT 1"))).status == 200

        async def is_held() -> bool:
            return bool(
                await holder.fetchval(
                    "SELECT EXISTS (SELECT FROM pg_stat_activity"
                    " WHERE datname = current_database() AND wait_event_type = 'Lock')"
                )
            )

        await eventually(is_connected)
        held = holder.transaction()
        await held.start()
        await holder.execute("LOCK TABLE noetl.resource")
        running = asyncio.create_task(
            ask(SQL_EXECUTE, SqlStatement(query="SELECT 1 FROM noetl.resource"))
        )
        await eventually(is_held)
        others = await asyncio.gather(
            *(ask(SQL_EXECUTE, SqlStatement(query="SELECT 1")) for _ in range(2))
        )
        await held.rollback()
        first = await running
    await holder.close()

    assert first.status == 200
    assert [reply.status for reply in others] == [503, 503]
    assert {reply.error for reply in others} == {
        "the database is not available: too many statements are waiting",
        "the database is not available: pool timed out while waiting for an open connection",
    }


async def test_other_databases_are_reached_by_every_name(
    database: Database, nats_url: str, guest: Login
) -> None:
    query = "SELECT current_database() AS d, current_setting('transaction_read_only') AS r"
    here = [{"d": database.name, "r": "on"}]
    address = (
        f"postgresql://{guest.user}:{guest.password}@{database.host}:{database.port}"
        f"/{database.name}"
    )

    async with serving(database, nats_url, guest=guest, **ELSEWHERE) as ask:
        assert await run(ask, query, connection_string=address) == here
        assert await run(ask, query, credential="here") == here
        assert await run(ask, query, database=database.name) == here
        assert await run(ask, query, database="postgres") == [{"d": "postgres", "r": "on"}]
        assert await run(ask, query, credential="nowhere", connection_string=address) == here


NOT_THERE = [
    ({"credential": "missing"}, 404, "Credential 'missing' not found"),
    ({"credential": "other"}, 400, "Credential 'other' is of type 'http', expected postgres"),
    ({"credential": "nowhere"}, 502, "The database that the request names can't be reached: "),
    (
        {"database": "no such"},
        502,
        'The database that the request names can\'t be reached: database "no such" does not exist',
    ),
    ({"connection_string": "what"}, 422, "Invalid connection_string"),
]


async def test_databases_that_are_not_there(
    database: Database, nats_url: str, subtests: pytest.Subtests
) -> None:
    async with serving(database, nats_url, **ELSEWHERE) as ask:
        for request, status, error in NOT_THERE:
            with subtests.test(str(request)):
                reply = await ask(SQL_EXECUTE, SqlStatement(query="SELECT 1", **request))

                assert reply.status == status
                assert (reply.error or "").startswith(error), reply.error


async def test_other_databases_are_switched_off(ask: Ask, database: Database) -> None:
    for place in ({"database": "postgres"}, {"credential": "here"}, {"connection_string": "x"}):
        reply = await ask(SQL_EXECUTE, SqlStatement(query="SELECT 1", **place))

        assert (reply.status, reply.error) == (
            403,
            "Other databases are switched off (NOETL_SQL_CONSOLE_ELSEWHERE)",
        )
    assert await run(ask, "SELECT 1 AS n", database=database.name) == [{"n": 1}]


async def test_session_tokens_are_looked_up_with_their_roles(ask: Ask, pool: Pool) -> None:
    await pool.execute(
        """
        CREATE SCHEMA auth;
        CREATE TABLE auth.users (user_id INT, email TEXT, display_name TEXT, is_active BOOL);
        CREATE TABLE auth.sessions (session_token TEXT, user_id INT, is_active BOOL,
            expires_at TIMESTAMPTZ);
        CREATE TABLE auth.roles (role_id INT, role_name TEXT);
        CREATE TABLE auth.user_roles (user_id INT, role_id INT, expires_at TIMESTAMPTZ);
        INSERT INTO auth.users VALUES (7, 'a@b.c', NULL, true), (8, 'd@e.f', 'D', false);
        INSERT INTO auth.sessions VALUES
            ('good', 7, true, '2999-01-01'), ('over', 7, true, '2000-01-01'),
            ('off', 7, false, '2999-01-01'), ('gone', 8, true, '2999-01-01');
        INSERT INTO auth.roles VALUES (1, 'viewer'), (2, 'admin'), (3, 'old');
        INSERT INTO auth.user_roles VALUES (7, 1, NULL), (7, 2, '2999-01-01'), (7, 3, '2000-01-01');
        """
    )
    nobody = {"status": "ok", "valid": False, "user": None, "expires_at": None, "error": None}

    good = await ask(SESSIONS_VALIDATE, SessionRequest(session_token="good", credential="here"))

    assert good.body == {
        "status": "ok",
        "valid": True,
        "user": {
            "user_id": 7,
            "email": "a@b.c",
            "display_name": "a@b.c",
            "roles": ["admin", "viewer"],
        },
        "expires_at": "2999-01-01 00:00:00+00",
        "error": None,
    }
    for token in ("over", "off", "gone", "what"):
        reply = await ask(SESSIONS_VALIDATE, SessionRequest(session_token=token, credential="here"))
        assert reply.body == nobody


async def test_session_check_tells_what_is_wrong(ask: Ask) -> None:
    no_tables = await ask(SESSIONS_VALIDATE, SessionRequest(session_token="t", credential="here"))
    nowhere = await ask(SESSIONS_VALIDATE, SessionRequest(session_token="t", credential="nowhere"))
    no_credential = await ask(SESSIONS_VALIDATE, SessionRequest(session_token="t"))

    assert (no_tables.status, no_tables.body["status"], no_tables.body["valid"]) == (
        200,
        "error",
        False,
    )
    assert 'relation "auth.' in no_tables.body["error"]
    assert nowhere.body["status"] == "error"
    assert (no_credential.status, no_credential.error) == (404, "Credential 'pg_auth' not found")


ESCAPES = [
    "DO $$ BEGIN EXECUTE 'COPY (SELECT 1) TO PROGRAM ''true'''; END $$",
    "SELECT pg_read_file('PG_VERSION')",
    "DO $$ BEGIN SET ROLE NONE; PERFORM pg_ls_dir('.'); END $$",
    "DO $$ BEGIN RESET SESSION AUTHORIZATION; PERFORM pg_ls_dir('.'); END $$",
    "LOAD '/tmp/x'",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()",
    "SELECT nextval('noetl.outbox_outbox_id_seq')",
    "SELECT pg_switch_wal()",
    "SELECT pg_reload_conf()",
    "CALL pg_catalog.nothing()",
    "LISTEN x",
    "NOTIFY x",
    "LOCK TABLE noetl.resource",
    "EXECUTE x",
    "DECLARE x CURSOR FOR SELECT 1",
    "ANALYZE",
    """SELECT "pg_read_file"('PG_VERSION')""",
    """SELECT U&"pg\\005fread_file"('PG_VERSION')""",
    "SELECT * FROM pg_ls_dir('.')",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_notify('x', 'y')",
    "SELECT query_to_xml('SELECT pg_advisory_lock(1)', true, true, '')",
    "SELECT lo_import('/etc/passwd')",
]


async def test_reading_reaches_nothing_beside_the_tables(
    database: Database, nats_url: str, pool: Pool, subtests: pytest.Subtests
) -> None:
    """Also for a service that is a superuser itself, for every named database."""
    assert await pool.fetchval("SELECT current_setting('is_superuser')") == "on"
    places: list[JsonObject] = [
        {},
        {"connection_string": f"user={database.user} dbname={database.name}"},
    ]
    async with serving(database, nats_url, **ELSEWHERE) as ask:
        for query in ESCAPES:
            for place in places:
                with subtests.test(query, place=place):
                    reply = await ask(SQL_EXECUTE, SqlStatement(query=query, **place))

                    assert reply.status in {422, 500}
                    assert re.search("permission denied|not possible here", reply.error or ""), (
                        reply.error
                    )
        assert await pool.fetchval("SELECT 1") == 1
        rows = await run(ask, "SELECT session_user::text AS u", database="postgres")
    assert rows == [{"u": reader_of(Login(database.user, database.password)).user}]


HOST_RIGHTS = [
    "SUPERUSER",
    "IN ROLE pg_execute_server_program",
    "IN ROLE pg_read_server_files",
    "IN ROLE pg_write_server_files",
]


@pytest.mark.parametrize("rights", HOST_RIGHTS)
async def test_roles_that_reach_the_host_are_refused(
    database: Database, nats_url: str, guest: Login, pool: Pool, rights: str
) -> None:
    """Also by way of a role that has to be taken first."""
    boss = f"{guest.user}_boss"
    await pool.execute(
        f"CREATE ROLE {boss} {rights}; GRANT {boss} TO {guest.user} WITH INHERIT FALSE"
    )
    try:
        async with serving(database, nats_url, guest=guest, **ELSEWHERE) as ask:
            reply = await ask(SQL_EXECUTE, SqlStatement(query="SELECT 1", credential="here"))
    finally:
        await pool.execute(f"DROP ROLE {boss}")

    assert (reply.status, reply.error) == (403, RoleRefused.template)


async def test_secrets_of_executions_are_not_shown(ask: Ask, add_log: AddLog) -> None:
    start = {"event_type": "playbook_started", "context": {"workload": {"db_password": "Hunt3r+x"}}}
    done = {"event_type": "call.done", "result": {"status": "x", "context": {"p": "is Hunt3r+x"}}}
    await add_log(7, [start, done])

    rows = await run(ask, "SELECT context, result FROM noetl.event ORDER BY position")
    assert rows == [
        {"context": {"workload": {"db_password": "[REDACTED]"}}, "result": None},
        {"context": None, "result": {"status": "x", "context": {"p": "is [REDACTED]"}}},
    ]
    for query in (
        'SELECT "context" FROM ONLY "noetl" /**/ . "event"',
        "SELECT event.result FROM event",
        "SELECT e::text FROM noetl.event AS e",
    ):
        assert "Hunt3r" not in str(await ask(SQL_EXECUTE, SqlStatement(query=query)))


async def test_events_are_chained_by_the_id_of_the_one_before(ask: Ask, add_log: AddLog) -> None:
    """Tools of later servers walk `prev_event_id`: one beginning, no loose end, every event."""
    await add_log(7, [{"event_type": name} for name in ("a", "b", "c")])
    await add_log(8, [{"event_type": "a"}])

    walked = await run(
        ask,
        """
        WITH RECURSIVE walk AS (
            SELECT execution_id, event_id FROM noetl.event WHERE prev_event_id IS NULL
            UNION ALL
            SELECT e.execution_id, e.event_id FROM walk AS w
            JOIN noetl.event AS e
                ON e.execution_id = w.execution_id AND e.prev_event_id = w.event_id
        )
        SELECT execution_id, count(*) AS events FROM walk GROUP BY 1 ORDER BY 1
        """,
    )

    assert walked == [{"execution_id": 7, "events": 3}, {"execution_id": 8, "events": 1}]


async def test_a_secret_that_begins_like_another_one_leaves_no_rest(
    ask: Ask, add_log: AddLog
) -> None:
    workload = {"db_password": "Hunt3r", "old_password": "Hunt3r+tail"}
    done = {"event_type": "call.done", "result": {"context": {"p": "is Hunt3r+tail"}}}
    await add_log(7, [{"event_type": "x", "context": {"workload": workload}}, done])

    rows = await run(ask, "SELECT result FROM noetl.event WHERE position = 2")

    assert rows == [{"result": {"context": {"p": "is [REDACTED]"}}}]


async def test_only_the_owner_lets_others_read(pool: Pool) -> None:
    may = "SELECT has_function_privilege('public', $1, 'EXECUTE')"

    assert not await pool.fetchval(may, "noetl_shown.let_read(name)")
    assert await pool.fetchval(may, "noetl_shown.masked(jsonb, text[])")


async def test_views_have_the_columns_of_their_tables(pool: Pool) -> None:
    rows = await pool.fetch(
        "SELECT table_name, array_agg((column_name, data_type)::text ORDER BY ordinal_position)"
        " FROM information_schema.columns WHERE table_schema = $1 GROUP BY 1",
        "noetl_shown",
    )
    for name, columns in rows:
        table = await pool.fetchval(
            "SELECT array_agg((column_name, data_type)::text ORDER BY ordinal_position)"
            " FROM information_schema.columns WHERE table_schema = 'noetl' AND table_name = $1",
            name,
        )
        assert columns == table, name
    assert len(rows) == 8


async def test_names_are_found_as_the_service_finds_them(ask: Ask, pool: Pool) -> None:
    query = "SELECT current_schemas(false)::text AS s"

    found = await pool.fetchval(query)
    assert await run(ask, query) == [{"s": found.replace("noetl", "noetl_shown,noetl")}]


async def test_consoles_that_start_at_once_make_their_role_once(
    database: Database, nats_url: str, pool: Pool
) -> None:
    reader = reader_of(Login(database.user, database.password))
    await pool.execute(f'DROP ROLE IF EXISTS "{reader.user}"')

    async def who() -> Json:
        async with open_console(make_settings(database, nats_url=nats_url)) as console:
            outcome = await console.run(Statement("SELECT session_user::text AS u", ()))
        return orjson.loads(outcome.rows[0])

    assert await asyncio.gather(*(who() for _ in range(6))) == [{"u": reader.user}] * 6
    await pool.execute(f"ALTER ROLE \"{reader.user}\" SUPERUSER PASSWORD 'other'")
    assert await who() == {"u": reader.user}
    assert not await pool.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = $1", reader.user)


async def test_a_role_of_its_own_is_taken_as_it_is(
    database: Database, nats_url: str, pool: Pool
) -> None:
    await pool.execute("CREATE ROLE noetl_console LOGIN PASSWORD 'of-its-own'")
    login = {"sql_console_user": "noetl_console", "sql_console_password": "of-its-own"}
    try:
        async with serving(database, nats_url, **login) as ask:
            rows = await run(ask, "SELECT session_user::text AS u")
    finally:
        await pool.execute("DROP ROLE noetl_console")

    assert rows == [{"u": "noetl_console"}]


async def test_a_connection_has_no_parameter_that_a_pooler_refuses(
    database: Database, nats_url: str
) -> None:
    """PgBouncer tracks `search_path` only if configured to, so each statement sets it."""
    settings = make_settings(database, nats_url=nats_url)
    login = ConsoleLogin(settings)
    place = {"host": database.host, "port": database.port, "database": database.name}
    connection = await login.connect(**place, server_settings={"application_name": "test"})
    try:
        here = await connection.fetchval("SHOW search_path")
    finally:
        await connection.close()
    async with open_console(settings) as console:
        shown = await console.run(Statement("SHOW search_path", []))

    assert here != login.search_path
    assert [orjson.loads(row) for row in shown.rows] == [{"search_path": login.search_path}]
