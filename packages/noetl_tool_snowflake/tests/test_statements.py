"""The snowflake tool with its driver, against fakesnow."""

import asyncio
from base64 import b64encode
from typing import Any

import pytest
from noetl_testkit.waiting import eventually
from noetl_worker.tools.errors import ToolError
from snow_bench import PASSPHRASE, PASSWORD, Bench, Fakesnow, Keys

TABLE = "CREATE TABLE t (id INT, n NUMBER(10,2), s VARCHAR, d DATE, seen TIMESTAMP_NTZ);"
ROWS = "INSERT INTO t VALUES (1, 1.50, 'it''s; $1', '2024-01-02', '2024-01-02 03:04:05.5');"


async def test_the_last_statement_decides_the_result(bench: Bench, fakesnow: Fakesnow) -> None:
    given = fakesnow.login(query=f"{TABLE} {ROWS} -- a comment; with a semicolon\nSELECT * FROM t;")

    result = await bench.run("snowflake", given)

    assert result.to_json()["data"] == {
        "columns": ["ID", "N", "S", "D", "SEEN"],
        "rows": [
            {"ID": 1, "N": "1.50", "S": "it's; $1", "D": "2024-01-02",
             "SEEN": "2024-01-02T03:04:05.500000"},
        ],
        "row_count": 1,
    }  # fmt: skip
    login = fakesnow.seen("/session/v1/login-request")[-1]["body"]["data"]
    parameters = login["SESSION_PARAMETERS"]
    assert (login["LOGIN_NAME"], login["ACCOUNT_NAME"]) == ("ann", "acme-one")
    assert parameters["QUERY_TAG"] == "noetl 7 load"
    assert parameters["STATEMENT_TIMEOUT_IN_SECONDS"] == "3600"
    assert "warehouse=COMPUTE_WH" in fakesnow.seen("/session/v1/login-request")[-1]["query"]


async def test_rows_as_lists_and_other_values(bench: Bench, fakesnow: Fakesnow) -> None:
    query = (
        "SELECT PARSE_JSON('{\"a\":[1,null]}') v, TO_BINARY('00ff','HEX') b, 2.5::FLOAT f, "
        "TRUE yes, NULL nothing, TO_TIMESTAMP_TZ('2024-01-02T03:04:05+02:00') z, "
        "'10:11:12'::TIME tm"
    )

    result = await bench.run("snowflake", fakesnow.login(query=query, as_objects=False))

    row = [{"a": [1, None]}, "AP8=", 2.5, True, None, "2024-01-02T01:04:05+00:00", "10:11:12"]
    assert result.value["rows"] == [row]


async def test_values_are_bound(bench: Bench, fakesnow: Fakesnow) -> None:
    login = fakesnow.login
    await bench.run("snowflake", login(query="CREATE TABLE p (id INT, s VARCHAR)"))
    hostile = "'); DROP TABLE p; --"

    added = await bench.run(
        "snowflake",
        login(query="INSERT INTO p SELECT $1, $2 UNION ALL SELECT $1 + 1, $2",
              params=[1, hostile]),
    )  # fmt: skip
    await bench.run("snowflake", login(query="INSERT INTO p VALUES (?, ?)", params=[3, None]))
    found = await bench.run(
        "snowflake",
        login(query="SELECT id, s FROM p WHERE s = $text AND id IN ($one) ORDER BY id",
              params={"text": hostile, "one": 1, "other": 2}),
    )  # fmt: skip

    assert added.value == {"affected_rows": 2}
    assert found.value["rows"] == [{"ID": 1, "S": hostile}]


@pytest.mark.parametrize("name", ["command", "commands", "command_b64", "commands_b64"])
async def test_every_statement_of_a_command_has_a_result_of_texts(
    bench: Bench, fakesnow: Fakesnow, name: str
) -> None:
    script: Any = f"{TABLE} {ROWS} SELEC 1; SELECT id, n, d FROM t"
    if name == "commands":
        script = [f"{TABLE} {ROWS}", "SELEC 1", "-- nothing", "SELECT id, n, d FROM t;"]
    elif name != "command":
        script = b64encode(script.encode()).decode()

    result = await bench.run("snowflake", fakesnow.login(**{name: script}))

    data = result.to_json()["data"]
    assert (result.status, result.error) == ("error", "Some statements failed")
    assert [one["status"] for one in data.values()] == ["success", "success", "error", "success"]
    assert data["statement_2"]["error"].startswith("Statement 3 failed: 001003 (42000): ")
    assert data["statement_3"] == {
        "status": "success",
        "row_count": 1,
        "result": [{"ID": "1", "N": "1.50", "D": "2024-01-02"}],
        "columns": ["ID", "N", "D"],
    }


@pytest.mark.parametrize(
    ("query", "message", "kind"),
    [
        ("SELECT * FROM nope", "Query failed: 002003 (42S02): ", "not_found"),
        ("SELECT 1; SELEC 2; SELECT 3", "Statement 2 of 3 failed: 001003 (42000): ", "unknown"),
    ],
)
async def test_a_failure_has_snowflake_s_number(
    bench: Bench, fakesnow: Fakesnow, query: str, message: str, kind: str
) -> None:
    with pytest.raises(ToolError) as raised:
        await bench.run("snowflake", fakesnow.login(query=query))

    assert str(raised.value).startswith(f"Database error: {message}")
    number = message.partition(": ")[2][:6]
    assert str(raised.value).count(number) == 1
    assert (raised.value.failure.kind, raised.value.failure.code) == (kind, f"SF_{number}")


async def test_an_open_transaction_is_rolled_back_and_told(
    bench: Bench, fakesnow: Fakesnow
) -> None:
    await bench.run("snowflake", fakesnow.login(query=TABLE))

    with pytest.raises(ToolError, match="left a transaction open; it was rolled back"):
        await bench.run("snowflake", fakesnow.login(query=f"BEGIN; {ROWS}"))

    left = await bench.run("snowflake", fakesnow.login(query="SELECT COUNT(*) AS n FROM t"))
    assert left.value["rows"] == [{"N": 0}]


async def test_files_of_the_worker_stay_where_they_are(bench: Bench, fakesnow: Fakesnow) -> None:
    with pytest.raises(ToolError, match="PUT and GET are refused"):
        await bench.run("snowflake", fakesnow.login(query="PUT file:///etc/hostname @~/x"))

    assert not any("PUT file" in one["body"]["sqlText"] for one in fakesnow.seen())


async def test_a_result_has_a_bound(bench: Bench, fakesnow: Fakesnow) -> None:
    query = "SELECT REPEAT('x', 100000) AS x FROM TABLE(GENERATOR(ROWCOUNT => 200))"

    with pytest.raises(ToolError, match="more than 16777216 bytes"):
        await bench.run("snowflake", fakesnow.login(query=query))


@pytest.mark.parametrize("form", ["private", "encrypted"])
async def test_a_key_pair_logs_in(
    bench: Bench, fakesnow: Fakesnow, keys: Keys, caplog: pytest.LogCaptureFixture, *, form: str
) -> None:
    given = fakesnow.login(
        user="bot", private_key=getattr(keys, form), public_key=keys.public, query="SELECT 1 AS one"
    )
    if form == "encrypted":
        given["private_key_passphrase"] = PASSPHRASE

    result = await bench.run("snowflake", given)

    assert result.value["rows"] == [{"ONE": 1}]
    login = fakesnow.seen("/session/v1/login-request")[-1]["body"]["data"]
    assert login["AUTHENTICATOR"] == "SNOWFLAKE_JWT"
    assert login.get("PASSWORD") is None
    # The driver asks no cloud who its machine is.
    assert "IMDS" not in caplog.text


@pytest.mark.parametrize(
    ("more", "number"),
    [({"password": "wrong one"}, "390100"), ({"user": "bot", "key": True}, "390144")],
)
async def test_a_refused_login_is_told_by_number(
    bench: Bench, fakesnow: Fakesnow, more: dict[str, Any], number: str
) -> None:
    from snow_bench import make_keys  # noqa: PLC0415  costs a moment

    given = fakesnow.login(query="SELECT 1", **more)
    if given.pop("key", None):
        given["private_key"] = make_keys().private

    with pytest.raises(ToolError) as raised:
        await bench.run("snowflake", given)

    text = str(raised.value)
    assert text.startswith("Authentication error: ")
    assert number in text
    assert (raised.value.failure.kind, raised.value.failure.retryable) == ("auth", False)
    assert PASSWORD not in text
    assert "wrong one" not in text


@pytest.mark.parametrize(
    ("port", "message"),
    [
        (1, "Database error: Failed to get connection: "),
        (2, "Configuration error: snowflake: host is neither Snowflake's nor one of"),
    ],
)
async def test_an_address_where_nobody_is_and_one_that_is_not_allowed(
    bench: Bench, fakesnow: Fakesnow, port: int, message: str
) -> None:
    with pytest.raises(ToolError) as raised:
        await bench.run("snowflake", fakesnow.login(query="SELECT 1", port=port))

    assert str(raised.value).startswith(message)


async def test_time_that_is_over_cancels_at_the_server(bench: Bench, fakesnow: Fakesnow) -> None:
    given = fakesnow.login(query="SELECT 1 /* slow */", timeout_seconds=1)

    result = await bench.run("snowflake", given)

    assert (result.status, result.error) == ("timeout", "Execution timed out after 1 seconds")
    await cancelled(fakesnow)


async def test_a_cancel_cancels_at_the_server_and_ends_the_session(
    bench: Bench, fakesnow: Fakesnow
) -> None:
    before = len(fakesnow.seen("/session"))
    running = asyncio.create_task(
        bench.run("snowflake", fakesnow.login(query="SELECT 2 /* slow */"))
    )
    await eventually(lambda: asked(fakesnow, "SELECT 2 /* slow */"), what="it runs")

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    await cancelled(fakesnow)
    await eventually(lambda: len(fakesnow.seen("/session")) > before, what="the session has ended")


def asked(fakesnow: Fakesnow, text: str) -> bool:
    return any(one["body"]["sqlText"] == text for one in fakesnow.seen())


async def cancelled(fakesnow: Fakesnow) -> None:
    """Wait until the newest statement's cancel has arrived."""
    query = fakesnow.seen()[-1]["query"]

    def is_cancelled() -> bool:
        found = fakesnow.seen("/queries/v1/abort-request")
        return any(f"requestId={one['body']['requestId']}&" in f"{query}&" for one in found)

    await eventually(is_cancelled, what="the statement is cancelled at the server")
