"""Parts that need no server: scripts, logins, values and errors."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from noetl_tool_snowflake.errors import failure_of, login_error, statement_error
from noetl_tool_snowflake.login import Login, login_of
from noetl_tool_snowflake.place import _pieces, _statement, _table, _text
from noetl_tool_snowflake.settings import SnowflakeSettings
from noetl_tool_snowflake.sql_text import bound, has_rows, leaves_open, statements_of, uses_files
from noetl_tool_snowflake.values import duckdb_type, reader, text, transfer_reader
from noetl_worker.tools.errors import ToolError
from noetl_worker.tools.sql.fields import SqlFields
from noetl_worker.tools.sql.result import RowBuffer
from snow_bench import PASSPHRASE, Keys, make_keys

TOP = Path(__file__).resolve().parents[3]


def login(servers: frozenset[str] = frozenset(), **config: Any) -> Login:
    given = {"account": "acme-one", "user": "ann", "password": "p", **config}
    return login_of(SqlFields(given, kind="snowflake"), servers=servers)


@pytest.mark.parametrize(
    ("script", "statements"),
    [
        ("", []),
        ("-- a;\n/* b; */ // c;\n;", []),
        ("SELECT 1; SELECT 2;", ["SELECT 1", "SELECT 2"]),
        ("SELECT 'a;''b;\\';c'; X", ["SELECT 'a;''b;\\';c'", "X"]),
        ('SELECT ";" ; SELECT $$;\'$$', ['SELECT ";"', "SELECT $$;'$$"]),
        ("SELECT (1;2); A // x;\n; B", ["SELECT (1;2)", "A // x;", "B"]),
        ("BEGIN; A; COMMIT", ["BEGIN", "A", "COMMIT"]),
        ("BEGIN TRANSACTION; A", ["BEGIN TRANSACTION", "A"]),
        ("A; BEGIN LET x := 1; RETURN x; END; B", ["A", "BEGIN LET x := 1; RETURN x; END; B"]),
        ("DECLARE x INT; BEGIN x := 1; END", ["DECLARE x INT; BEGIN x := 1; END"]),
        ("SELECT 'open; B", ["SELECT 'open; B"]),
    ],
)
def test_scripts_are_cut_as_snowflake_reads_them(script: str, statements: list[str]) -> None:
    assert statements_of(script) == statements


@pytest.mark.parametrize(
    ("query", "params", "statement", "values"),
    [
        ("a = ? AND b = ?", [1, 2], "a = ? AND b = ?", [1, 2]),
        ("a = $2 AND b = $1 OR $2", [1, 2], "a = ? AND b = ? OR ?", [2, 1, 2]),
        ("'$1' -- ?\n$1", [1], "'$1' -- ?\n?", [1]),
        ("$a + $session + $$ $a $$", {"a": 1}, "? + $session + $$ $a $$", [1]),
    ],
)
def test_placeholders(query: str, params: Any, statement: str, values: list[Any]) -> None:
    assert bound(query, params) == (statement, values)


@pytest.mark.parametrize(("query", "params"), [("?", []), ("$2", [1]), ("$0", [1]), ("?", [1, 2])])
def test_placeholders_and_values_have_to_fit(query: str, params: list[Any]) -> None:
    with pytest.raises((LookupError, ValueError)):
        bound(query, params)


def test_what_has_rows_and_what_stays_open() -> None:
    rows = ["/* a */ select 1", "(SELECT 1)", "WITH a AS (B) C", "show tables", "BEGIN x; END"]
    none = ["INSERT INTO a", "BEGIN", "begin work", "START TRANSACTION", "COMMIT", "USE ROLE a"]

    assert [has_rows(one) for one in (*rows, *none)] == [True] * 5 + [False] * 6
    assert leaves_open(["BEGIN", "INSERT"])
    assert not leaves_open(["BEGIN", "INSERT", "COMMIT"])
    assert not leaves_open(["BEGIN", "CREATE TABLE x"])
    assert not leaves_open(["BEGIN LET x := 1; END"])


@pytest.mark.parametrize(
    "statement",
    ["PUT file:///etc/passwd @~", "/* a */ get @~ file:///tmp", "-- x\n (put file:///a @b)",
     "\ufeffPut 'file:///a' @b", "; GET @a file:///b"],
)  # fmt: skip
def test_files_of_the_worker_are_out_of_reach(statement: str) -> None:
    assert uses_files(statement)
    assert not uses_files("SELECT GET(a, 'put') FROM t")


def test_a_login_leads_to_snowflake() -> None:
    found = login(account="my_org-one.eu-central-1", role="loader", database="d")

    assert (found.account, found.host) == (
        "my_org-one",
        "my-org-one.eu-central-1.snowflakecomputing.com",
    )
    assert (found.port, found.protocol, found.schema) == (443, "https", "PUBLIC")
    assert login(account="a.cn-north-1").host == "a.cn-north-1.snowflakecomputing.cn"
    assert "password" not in repr(found)
    servers = frozenset({"http://10.0.0.1:8080"})
    assert login(servers, host="10.0.0.1", port=8080, protocol="http").port == 8080


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"account": None}, "snowflake: account is needed"),
        ({"user": ""}, "snowflake: user is needed"),
        ({"password": None}, "snowflake: password is needed, or private_key"),
        ({"account": "evil.example/"}, "snowflake: account is no name of an account"),
        ({"host": "evil.example"}, "snowflake: host is neither"),
        ({"host": "x.snowflakecomputing.com.evil.example"}, "snowflake: host is neither"),
        ({"protocol": "http"}, "snowflake: host is neither"),
        ({"port": 8443}, "snowflake: host is neither"),
        ({"private_key": "SECRET"}, "snowflake: private_key is no private key"),
        ({"private_key": "-----BEGIN SECRET"}, "snowflake: private_key is no private key"),
        ({"private_key": "encrypted"}, "snowflake: private_key_passphrase is needed"),
        ({"private_key": "encrypted", "private_key_passphrase": "SECRET"},
         "snowflake: private_key_passphrase doesn't open"),
        ({"private_key": "private", "private_key_passphrase": "SECRET"},
         "snowflake: private_key_passphrase opens a key that isn't encrypted"),
        ({"private_key": "private", "public_key": "SECRET"}, "snowflake: public_key is no public"),
        ({"private_key": "private", "public_key": "other"}, "snowflake: public_key belongs to"),
    ],
)  # fmt: skip
def test_a_wrong_login_is_told_by_its_field(
    keys: Keys, config: dict[str, Any], message: str
) -> None:
    pems = {"private": keys.private, "encrypted": keys.encrypted}
    given = {name: pems.get(value, value) for name, value in config.items()}
    if given.get("public_key") == "other":
        given["public_key"] = make_keys().public

    with pytest.raises(ToolError) as raised:
        login(**given)

    assert message in str(raised.value)
    assert "SECRET" not in str(raised.value)


def test_a_key_counts_before_a_password(keys: Keys) -> None:
    found = login(private_key=keys.encrypted, private_key_passphrase=PASSPHRASE)

    assert found.private_key is not None
    assert found.password is None


def test_servers_are_compared_in_one_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOETL_WORKER_SNOWFLAKE_SERVERS", "https://snow.example, http://a:80/")

    assert SnowflakeSettings().servers == {"https://snow.example:443", "http://a:80"}
    monkeypatch.setenv("NOETL_WORKER_SNOWFLAKE_SERVERS", "snow.example")
    with pytest.raises(ValueError, match="is no address such as"):
        SnowflakeSettings()


@pytest.mark.parametrize(
    ("code", "value", "plain", "moved", "as_text"),
    [
        (0, 5, 5, 5, "5"),
        (0, 2**70, str(2**70), str(2**70), str(2**70)),
        (0, Decimal("1.50"), "1.50", "1.50", "1.50"),
        (1, 2.5, 2.5, 2.5, "2.5"),
        (13, True, True, True, "true"),
        (3, date(2024, 1, 2), "2024-01-02", "2024-01-02", "2024-01-02"),
        (12, time(1, 2, 3), "01:02:03", "01:02:03", "01:02:03"),
        (6, datetime(2024, 1, 2, tzinfo=UTC), *["2024-01-02T00:00:00+00:00"] * 3),
        (11, bytearray(b"\0\xff"), "AP8=", b"\0\xff", "00FF"),
        (5, '{"a": 1}', {"a": 1}, {"a": 1}, '{"a": 1}'),
        (5, "no json", "no json", "no json", "no json"),
        (2, None, None, None, None),
    ],
)
def test_values(code: int, value: Any, plain: Any, moved: Any, as_text: Any) -> None:
    assert reader(code)(value) == plain
    assert transfer_reader(code)(value) == moved
    assert text(value) == as_text


def test_a_number_that_json_lacks_is_refused_with_its_place() -> None:
    rows = RowBuffer(["price"], as_objects=True, most_bytes=1000)
    rows.add([[reader(1)(1.5)]])

    with pytest.raises(ToolError, match=r"^Result error: result\.rows\[1\]\.price is NaN: "):
        rows.add([[reader(1)(float("nan"))]])


def test_types_of_duckdb() -> None:
    assert [duckdb_type(0, 38, 0), duckdb_type(0, 9, 0)] == ["HUGEINT", "BIGINT"]
    assert [duckdb_type(0, 10, 2), duckdb_type(5, None, None)] == ["DECIMAL(10,2)", "JSON"]


@dataclass
class Raised(Exception):
    errno: int | None
    sqlstate: str | None
    msg: str | None


def test_errors_are_told_once_and_by_number() -> None:
    twice = Raised(2003, "42S02", "002003 (42S02): 002003 (42S02): Object 'X' does not exist")

    error = statement_error("Query failed", twice)

    assert str(error) == ("Database error: Query failed: 002003 (42S02): Object 'X' does not exist")
    kinds = {number: failure_of(Raised(number, state, "")).kind for number, state in (
        (604, "57014"), (630, "57014"), (625, "57014"), (100072, "22000"), (250001, "08001"),
        (390114, None), (1003, "42000"), (100132, "23505"),
    )}  # fmt: skip
    assert kinds == {
        604: "db_timeout", 630: "db_timeout", 625: "db_deadlock", 100072: "db_constraint",
        250001: "db_connection", 390114: "db_connection", 1003: "unknown", 100132: "db_constraint",
    }  # fmt: skip
    refused = login_error(Raised(250001, "08001", "Failed to login: 390100: Incorrect …"))
    assert (refused.prefix, refused.failure.code) == ("Authentication error", "SF_390100")
    silent = login_error(Raised(250001, "08001", "Failed to login: refused"))
    assert (silent.failure.kind, silent.failure.retryable) == ("db_connection", True)


def test_how_rows_are_written() -> None:
    kinds = ["NUMBER(38,0)", "VARIANT", "BINARY(8)", "ARRAY"]

    statement = _statement('"T"', ["ID", "V", "B", "A"], kinds, [0])

    assert statement == (
        'MERGE INTO "T" AS t USING (SELECT s.value[0]::STRING::NUMBER(38,0) AS c0, '
        "PARSE_JSON(s.value[1]::STRING) AS c1, TO_BINARY(s.value[2]::STRING, 'HEX') AS c2, "
        "PARSE_JSON(s.value[3]::STRING)::ARRAY AS c3 FROM (SELECT PARSE_JSON(?) AS batch) AS b, "
        'LATERAL FLATTEN(INPUT => b.batch) AS s) AS x ON t."ID" = x.c0 WHEN MATCHED THEN UPDATE '
        'SET "V" = x.c1, "B" = x.c2, "A" = x.c3 WHEN NOT MATCHED THEN INSERT ("ID", "V", "B", "A")'
        " VALUES (x.c0, x.c1, x.c2, x.c3)"
    )
    assert [_text(one, "VARIANT") for one in ({"a": 1}, '{"a":1}', "text", True)] == [
        '{"a":1}', '{"a":1}', '"text"', "true",
    ]  # fmt: skip
    assert _text("2024-01-02 03:04:05+02", "TIMESTAMP_TZ(9)") == "2024-01-02 03:04:05+02:00"
    assert _text("2024-01-02 03:04:05", "TIMESTAMP_NTZ(9)") == "2024-01-02 03:04:05"
    large = "x" * (5 << 20)
    assert [len(one) > 5 << 20 for one in _pieces([[large], [large], ["a"]])] == [True, True]


def test_names_of_tables() -> None:
    assert _table('db."My ""x""".t$1') == '"DB"."My ""x"""."T$1"'
    for wrong in ("", "a.", "a;b", "a b", "1a", '"', "a.b.c.d"):
        with pytest.raises(ToolError, match="is no name of a table"):
            _table(wrong)


def test_the_lock_is_of_what_the_package_asks_for() -> None:
    asked = (TOP / "packages/noetl_tool_snowflake/requirements.in").read_text().strip()

    assert f'"{asked}"' in (TOP / "packages/noetl_tool_snowflake/pyproject.toml").read_text()
