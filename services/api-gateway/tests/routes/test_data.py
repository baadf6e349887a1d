"""Variables, dashboard, database and sessions at the edge."""

import base64
from typing import Any

import pytest
from noetl_contract.json import Json
from noetl_contract.rpc import RpcReply
from noetl_testkit.waiting import eventually

from ..conftest import EXECUTION_ID, IMPATIENT, World, make_world

SHAPE = "Failed to deserialize the JSON body into the target type: "
URL = f"/api/vars/{EXECUTION_ID}"
VAR = {
    "var_name": "user_id",
    "var_type": "user_defined",
    "var_value": {"execution_id": 7},
    "source_step": None,
    "created_at": "2026-06-15T12:00:00.123456Z",
    "accessed_at": "2026-06-15T12:00:00.123456Z",
    "access_count": 0,
}


def is_told(answer: Any, status: int, text: str) -> None:
    assert (answer.status_code, answer.json()) == (
        status,
        {"error": text, "status": status, "detail": text},
    )


def new(name: str, value: Json, **others: Json) -> Json:
    return {"var_name": name, "var_value": value} | others


FORMS: list[tuple[Json, Json]] = [
    (
        {
            "variables": [
                {"var_name": "a", "var_value": None},
                {"var_name": "b", "var_value": 1, "var_type": "computed", "source_step": "s"},
            ]
        },
        [new("a", None), new("b", 1, var_type="computed", source_step="s")],
    ),
    ({"variables": []}, []),
    ({"name": {"x": 1}}, [new("name", {"x": 1})]),
    (
        {"variables": {"a": 1}, "var_type": "computed", "source_step": "s"},
        [new("a", 1, var_type="computed", source_step="s")],
    ),
]


async def test_variables_are_written_from_every_form(
    world: World, subtests: pytest.Subtests
) -> None:
    for body, variables in FORMS:
        with subtests.test(str(body)):
            world.backend.asked.clear()
            done = {"execution_id": EXECUTION_ID, "status": "ok", "variables_set": len(variables)}
            world.backend.answer("vars.set", done)

            answer = await world.post(URL, body)
            in_browser = await world.post(URL, body, Origin="http://localhost")

            assert (answer.status_code, answer.json()) == (200, done)
            assert in_browser.json() == done | {"execution_id": str(EXECUTION_ID)}
            wanted = {"execution_id": EXECUTION_ID, "variables": variables}
            assert world.backend.requests("vars.set") == [wanted, wanted]


async def test_variables_are_read_and_removed(world: World) -> None:
    deleted = {"execution_id": EXECUTION_ID, "var_name": "a/b c", "status": "deleted"}
    cleared = {"execution_id": EXECUTION_ID, "status": "ok", "variables_deleted": 2}
    world.backend.answer("vars.list", [VAR])
    world.backend.answer("vars.get", VAR)
    world.backend.answer("vars.delete", deleted)
    world.backend.answer("vars.clear", cleared)

    assert (await world.get(URL)).json() == [VAR]
    assert (await world.get(f"/noetl{URL[4:]}")).json() == [VAR]
    assert (await world.get(f"{URL}/user_id")).json() == VAR
    assert (await world.client.delete(f"{URL}/a%2Fb%20c")).json() == deleted
    assert (await world.client.delete(URL)).json() == cleared
    key = {"execution_id": EXECUTION_ID}
    assert world.backend.requests("vars.get") == [key | {"var_name": "user_id"}]
    assert world.backend.requests("vars.delete") == [key | {"var_name": "a/b c"}]
    assert world.backend.requests("vars.clear") == [key]


async def test_requests_about_variables_are_refused(
    world: World, subtests: pytest.Subtests
) -> None:
    index = "Invalid URL: Cannot parse value at index 0 with value `x` to a `i64`"
    unknown = "Variable not found: a for execution 1"
    world.backend.answer("vars.get", RpcReply(status=404, error=unknown))
    rows: list[tuple[str, str, Json, int, str]] = [
        ("GET", "/api/vars/x", None, 400, "Invalid URL: Cannot parse `x` to a `i64`"),
        ("GET", "/api/vars/x/a", None, 400, index),
        ("DELETE", "/api/vars/x/a", None, 400, index),
        ("GET", "/api/vars/1/a", None, 404, unknown),
        ("GET", "/api/vars/1/%ff", None, 400, "Invalid URL: Invalid UTF-8 in `var_name`"),
        ("POST", URL, {}, 422, SHAPE + "missing field `variables`"),
        (
            "POST",
            URL,
            {"variables": 5},
            422,
            SHAPE + "variables: invalid type: integer `5`, expected a sequence",
        ),
        (
            "POST",
            URL,
            {"variables": [{"var_name": "a"}]},
            422,
            SHAPE + "variables[0]: missing field `var_value`",
        ),
        (
            "POST",
            URL,
            {"variables": [{"var_name": 1, "var_value": 1}]},
            422,
            SHAPE + "variables[0].var_name: invalid type: integer `1`, expected a string",
        ),
        (
            "POST",
            URL,
            {"variables": [new("a", 1, var_type=None)]},
            422,
            SHAPE + "variables[0].var_type: invalid type: null, expected a string",
        ),
        (
            "POST",
            URL,
            [],
            422,
            SHAPE + "invalid type: sequence, expected struct SetVarsRequest",
        ),
    ]
    for method, path, body, status, text in rows:
        with subtests.test(f"{method} {path} {body}"):
            is_told(await world.client.request(method, path, json=body), status, text)

    assert world.backend.requests("vars.set") == []


async def test_stats_add_up_what_the_projection_counted(world: World) -> None:
    world.backend.answer("counts", {"total_playbooks": 25, "total_workers": 2})
    world.backend.answer(
        "dashboard.counters", {"RUNNING": 1, "COMPLETED": 4, "FAILED": 2, "CANCELLED": 1, "NEW": 1}
    )

    answer = await world.get("/api/dashboard/stats")

    assert answer.text == (
        '{"status":"ok","stats":{"total_executions":9,"successful_executions":4,'
        '"failed_executions":2,"cancelled_executions":1,"running_executions":2,'
        '"total_playbooks":25,"total_workers":2}}'
    )


async def test_stats_without_a_shard_are_no_numbers(world: World) -> None:
    world.backend.answer("counts", {"total_playbooks": 25, "total_workers": 2})
    world.backend.answer("dashboard.counters", RpcReply(status=503, error="starting"))

    answer = await world.get("/api/dashboard/stats")

    is_told(answer, 503, "starting")
    assert answer.headers["retry-after"] == "1"


async def test_widgets_show_the_trend_and_the_newest(world: World) -> None:
    recent = [
        {
            "execution_id": EXECUTION_ID + i,
            "path": "p",
            "status": "RUNNING",
            "started_at": f"2026-06-15T00:00:0{i}Z",
        }
        for i in range(10)
    ]
    days = {"2026-06-15": 3, "2026-06-14": 1}
    world.backend.answer("dashboard.widgets", {"days": days, "recent": recent})

    widgets = (await world.get("/api/dashboard/widgets")).json()["widgets"]
    in_browser = (await world.get("/noetl/dashboard/widgets")).json()["widgets"]

    assert widgets[0] == {
        "id": "execution-trend",
        "type": "chart",
        "title": "Execution Trend (7 days)",
        "config": {"chart_type": "line", "time_range": "7d"},
        "data": [{"date": "2026-06-14", "count": 1}, {"date": "2026-06-15", "count": 3}],
    }
    assert widgets[1] | {"data": []} == {
        "id": "recent-executions",
        "type": "table",
        "title": "Recent Executions",
        "config": {"columns": ["execution_id", "path", "status"]},
        "data": [],
    }
    newest = {"execution_id": EXECUTION_ID + 9, "path": "p", "status": "RUNNING"}
    assert (widgets[1]["data"][0], len(widgets[1]["data"])) == (newest, 10)
    assert in_browser[1]["data"][0] == newest | {"execution_id": str(EXECUTION_ID + 9)}


async def test_dashboard_of_several_shards_is_merged(nats_url: str) -> None:
    """The fake answers for one shard only, so the other one is missed."""
    async with make_world(nats_url, shard_count=2, **IMPATIENT) as world:
        world.backend.answer("counts", {"total_playbooks": 0, "total_workers": 0})
        world.backend.answer("dashboard.counters", {})

        async def is_missed() -> bool:
            answer = await world.get("/api/dashboard/stats")
            assert answer.status_code == 503
            # The catalog may not have answered in time either.
            return answer.json()["error"] == "The projector service did not answer in time"

        await eventually(is_missed)


STATEMENTS: list[tuple[Json, str]] = [
    ({"query": " SELECT 1 ", "schema": "noetl"}, "SELECT 1"),
    (
        {
            "query_base64": base64.b64encode(b"SELECT 2").decode(),
            "query": "SELECT 1",
            "db_schema": "noetl",
        },
        "SELECT 2",
    ),
    ({"procedure": "CALL p()", "schema": "noetl", "query": None}, "CALL p()"),
]


async def test_sql_is_passed_on_and_its_answer_left_alone(
    world: World, subtests: pytest.Subtests
) -> None:
    for body, query in STATEMENTS:
        with subtests.test(str(body)):
            world.backend.asked.clear()
            text = '{"status":"ok","result":[{"n":12345678901234567890123,"x":1.10}]}'
            world.backend.answer("sql.execute", {"text": text})

            answer = await world.post("/api/postgres/execute", body)

            assert (answer.status_code, answer.text) == (200, text)
            assert answer.headers["content-type"] == "application/json"
            assert world.backend.requests("sql.execute") == [
                {
                    "query": query,
                    "schema": "noetl",
                }
            ]


async def test_sql_passes_parameters_and_names_of_databases(world: World) -> None:
    world.backend.answer("sql.execute", {"text": "{}"})
    names = {"database": "d", "credential": "c", "connection_string": "s"}

    await world.post("/noetl/postgres/execute", {"query": "q", "parameters": {"a": 1}} | names)

    (request,) = world.backend.requests("sql.execute")
    assert request == {"query": "q", "parameters": {"a": 1}} | names


async def test_sql_requests_are_refused(world: World, subtests: pytest.Subtests) -> None:
    missing = 'Database error: error returned from database: relation "nope" does not exist'
    world.backend.answer("sql.execute", RpcReply(status=500, error=missing))
    rows: list[tuple[Json, int, str]] = [
        ({}, 422, "Either 'query' or 'procedure' must be provided"),
        ({"query": "SELECT 1 FROM nope"}, 500, missing),
        ({"query": 1}, 422, SHAPE + "query: invalid type: integer `1`, expected a string"),
        ({"query": "q", "schema": "a", "db_schema": "b"}, 422, SHAPE + "duplicate field `schema`"),
        ({"query": "q", "shard": 1}, 422, "There is no shard 1"),
        ({"query_base64": "/w=="}, 422, "Invalid UTF-8 in query: "),
        ({"query_base64": "x"}, 422, "Invalid base64: "),
    ]
    for body, status, text in rows:
        with subtests.test(str(body)):
            answer = await world.post("/api/postgres/execute", body)
            assert answer.status_code == status
            assert answer.json()["error"].startswith(text)
            assert answer.json()["detail"] == answer.json()["error"]


async def test_sql_can_be_switched_off_and_is_asked_once(nats_url: str) -> None:
    async with make_world(nats_url, sql_execute_enabled=False) as world:
        answer = await world.post("/api/postgres/execute", {"query": "SELECT 1"})

        is_told(answer, 403, "POST /api/postgres/execute is switched off at this edge")
        assert world.backend.requests("sql.execute") == []


ALL_TABLES = [
    "catalog",
    "credential",
    "event",
    "keychain",
    "resource",
    "runtime",
    "schedule",
    "transient",
]


SCHEMAS: list[tuple[Json, Json, Json]] = [
    (
        {"exists": True, "tables": [*ALL_TABLES, "view"]},
        {
            "status": "ok",
            "message": "Schema 'noetl' already exists. Run noetlctl db init to reinitialize.",
            "valid": True,
        },
        {
            "status": "ok",
            "message": "Database schema is valid",
            "valid": True,
            "tables": [*ALL_TABLES, "view"],
            "missing": [],
        },
    ),
    (
        {"exists": False, "tables": []},
        {
            "status": "ok",
            "message": "Schema 'noetl' does not exist. Run noetlctl db init to create it.",
            "valid": False,
        },
        {
            "status": "ok",
            "message": "Missing tables: resource, catalog, transient, event, credential,"
            " runtime, schedule, keychain",
            "valid": False,
            "tables": [],
            "missing": [
                "resource",
                "catalog",
                "transient",
                "event",
                "credential",
                "runtime",
                "schedule",
                "keychain",
            ],
        },
    ),
]


async def test_schema_is_looked_at(world: World, subtests: pytest.Subtests) -> None:
    for found, init, validate in SCHEMAS:
        with subtests.test(str(found)):
            world.backend.asked.clear()
            world.backend.answer("schema.tables", found)

            # As the CLI: neither a body nor a content type.
            initialised = await world.client.post("/api/db/init")
            validated = await world.get("/api/db/validate")

            assert (initialised.status_code, initialised.json()) == (200, init)
            assert (validated.status_code, validated.json()) == (200, validate)
            assert list(validated.json()) == list(validate)


async def test_sessions_are_validated_by_a_credential(world: World) -> None:
    body = {
        "status": "ok",
        "valid": True,
        "user": {"user_id": 7, "email": "a@b.c", "display_name": "A", "roles": ["admin"]},
        "expires_at": "2026-06-16 12:00:00+00",
        "error": None,
    }
    world.backend.answer("sessions.validate", body)
    url = "/api/auth/session/validate"

    answer = await world.post(url, {"session_token": " t "})
    await world.post(url, {"session_token": "t", "credential": "c"})
    empty = await world.post(url, {"session_token": "  "})
    absent = await world.post(url, {})

    assert (answer.status_code, answer.json()) == (200, body)
    assert world.backend.requests("sessions.validate") == [
        {"session_token": "t", "credential": "pg_auth"},
        {"session_token": "t", "credential": "c"},
    ]
    is_told(empty, 422, "session_token must not be empty")
    is_told(absent, 422, SHAPE + "missing field `session_token`")
