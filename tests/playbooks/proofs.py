"""Effects that each real playbook must have, beyond being COMPLETED."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import httpx
from mock_hosts import MockHosts
from noetl_contract.json import Json, JsonObject

type Rows = list[JsonObject]


@dataclass(kw_only=True)
class Run:
    """A finished run with everything a proof looks at."""

    execution_id: int
    log: list[JsonObject]
    sql: Callable[[str], Rows]
    client: httpx.Client
    hosts: MockHosts

    def data(self, step: str, task: str | None = None) -> Json:
        """Return the last result of a step; of a pipeline, that of one of its tasks."""
        data = self.results(step)[-1].get("data")
        return data if task is None else data[task]

    def results(self, step: str) -> list[JsonObject]:
        """Return a step's results in order, as its worker reported them."""
        return [
            event["result"]["context"]["result"]["context"]
            for event in self.log
            if event["event_type"] == "call.done" and event["node_name"] == step
        ]

    def errors(self) -> list[str]:
        """Return the texts of failures that the regression runner looks at."""
        contexts = ((event.get("result") or {}).get("context") for event in self.log)
        found = (one.get("error") for one in contexts if isinstance(one, dict))
        return [str(text) for text in found if text]

    def issued(self) -> Counter[str]:
        """Count commands by step."""
        return Counter(
            event["node_name"] for event in self.log if event["event_type"] == "command.issued"
        )

    def entered(self, step: str) -> int:
        """Count the entries of a step."""
        return sum(
            event["event_type"] == "step.enter" and event["node_name"] == step for event in self.log
        )

    def children(self) -> list[JsonObject]:
        """Return the executions that name this one as their parent."""
        listed = self.client.get("/api/executions", params={"limit": 100}).json()
        return [
            execution
            for execution in listed
            if str(execution.get("parent_execution_id")) == str(self.execution_id)
        ]


def _actions(run: Run) -> None:
    doubled = [result["data"] for result in run.results("process_loop")]
    assert len(doubled) == 3, doubled


def _comprehensive(run: Run) -> None:
    issued = run.issued()
    assert issued["process_high"] + issued["process_low"] == 1
    assert issued["summarize"] == issued["end"] == 1


def _workbook(run: Run) -> None:
    issued = run.issued()
    for step in ("hot_path", "hot_task_a", "hot_task_b", "end"):
        assert issued[step] == 1, step
    assert not issued["cold_path"]
    assert not issued["cold_task"]


def _http_to_postgres(run: Run) -> None:
    # The posts themselves: the body of the answer is found under `data`.
    rows = run.sql("SELECT id, title FROM http_to_postgres_simple ORDER BY id")
    assert [(row["id"], row["title"]) for row in rows] == [(n, "it's a title") for n in (1, 2, 3)]


def _jsonb(run: Run) -> None:
    # Three rows and the one of the last script, which says TRUNCATE in its comments only.
    rows = run.sql("SELECT user_id, profile FROM postgres_jsonb_test ORDER BY user_id")
    assert [row["user_id"] for row in rows] == [1, 2, 3, 99]
    assert '"theme": "auto"' in rows[0]["profile"]
    assert '"verified": true' in rows[1]["profile"]


def _fanout(run: Run) -> None:
    assert run.entered("reduce_customer") == 1
    places = [event["node_name"] for event in run.log if event["event_type"] == "command.completed"]
    assert places.index("reduce_customer") > len(places) - 3


def _hello(run: Run) -> None:
    assert run.data("test_step") == {"status": "ok", "data": {"message": "Hello World"}}
    assert "HELLO_WORLD: Hello World" in run.results("test_step")[-1]["stdout"]


def _iterator(run: Run) -> None:
    rows = run.sql(
        "SELECT id, item_name, item_value FROM iterator_save_test"
        f" WHERE execution_id = '{run.execution_id}' ORDER BY item_name"
    )
    assert [(row["item_name"], float(row["item_value"])) for row in rows] == [
        ("item1", 100),
        ("item2", 200),
        ("item3", 300),
    ]
    assert all(row["id"] == f"{run.execution_id}:{row['item_name']}" for row in rows)


def _json_save(run: Run) -> None:
    (row,) = run.sql("SELECT jsonb_typeof(payload) AS kind FROM json_bug_test WHERE id = 1")
    assert row["kind"] == "object"


def _heavy_loop(run: Run) -> None:
    assert max(run.issued().values()) == 100


def _basic_pagination(run: Run) -> None:
    stats = run.data("validate_results")
    assert stats["started"] == stats["completed"] == 5
    assert stats["max_active"] >= 2


def _cursor(run: Run) -> None:
    assert run.issued()["fetch_page"] == 4
    assert run.data("validate_results")["total_events"] == 35


def _errors(run: Run) -> None:
    assert run.hosts.api.requests["GET /api/v1/errors"] >= 1
    assert run.issued()["end"] == 1


def _composition(run: Run) -> None:
    rows = run.sql(
        "SELECT user_name, profile_score, score_category FROM user_profile_results"
        f" WHERE execution_id = '{run.execution_id}' ORDER BY user_name"
    )
    assert [row["user_name"] for row in rows] == ["Alice", "Bob", "Charlie", "Diana"]
    # The original server drops what it should give the children and the result it should take from
    # them (score 0.0, unknown); ours hands both over.
    assert all(row["profile_score"] > 0 and row["score_category"] != "unknown" for row in rows)
    children = run.children()
    assert len(children) == 4
    assert {child["status"] for child in children} == {"COMPLETED"}


def _scorer(run: Run) -> None:
    assert {"profile_score", "score_category"} <= set(run.data("finalize_result"))


def _schema(run: Run) -> None:
    tables = run.sql("SELECT table_name FROM information_schema.tables"
                     " WHERE table_schema = 'noetl_test' ORDER BY 1")  # fmt: skip
    names = {row["table_name"] for row in tables}
    assert {"regression_results", "regression_summary", "expected_results"} <= names


def _duckdb(run: Run) -> None:
    assert run.data("retry")["rows"] == [{"answer": 42, "status": "success"}]


def _simple_retry(run: Run) -> None:
    # The first call of a page fails; ours does the retry that the playbook asks for.
    assert run.hosts.api.requests["GET /api/v1/flaky"] >= 4
    assert all(
        run.results(step)[-1]["data"]["status_code"] == 200
        for step in ("boolean_retry", "integer_retry", "full_config_retry")
    )


def _implicit_end(run: Run) -> None:
    assert len(run.log) == 13
    assert not run.issued()["end"]


def _tables(run: Run) -> None:
    tables = run.sql("SELECT table_name FROM information_schema.tables WHERE table_schema='public'")
    names = {row["table_name"] for row in tables}
    assert {"simple_test_flat", "simple_test_nested", "test_summary"} <= names


def _all_storage(run: Run) -> None:
    for table in ("simple_test_flat", "simple_test_nested"):
        mine = f"SELECT count(*) AS n FROM {table} WHERE test_execution = '{run.execution_id}'"
        assert run.sql(mine) == [{"n": 1}], table
    assert run.sql("SELECT count(*) AS n FROM test_summary") != [{"n": 0}]


def _simple_save(run: Run) -> None:
    mine = f"WHERE test_execution = '{run.execution_id}'"
    assert run.sql(f"SELECT test_value::int AS n FROM simple_test_flat {mine}") == [{"n": 42}]
    assert run.sql(
        f"SELECT test_data ->> 'nested_indicator' AS n FROM simple_test_nested {mine}"
    ) == [{"n": "true"}]


def _simple_python(run: Run) -> None:
    assert run.data("start")["message"] == "Hello from NoETL"


def _args(run: Run) -> None:
    assert "300" in str(run.data("use_vars"))


def _end_action(run: Run) -> None:
    done = run.data("end", "cleanup")["data"]
    assert done == {"cleaned_up": True, "table": "temp_session_12345"}


def _large_result(run: Run) -> None:
    verdict = run.data("check_extraction", "verify")
    assert verdict["externalized"] is True
    # `output_select` is ignored by the original server (status null, self-check negative) and
    # honoured here.
    assert verdict["status"] == "ok"
    assert verdict["count"] == 500


def _output_select(run: Run) -> None:
    assert run.data("verify_extracted_fields", "verify")["was_externalized"] is True
    assert run.data("summary", "summarize")["test_result"] == "PASSED"


def _transient(run: Run) -> None:
    assert run.data("verify_updates", "verify_task")["all_checks_passed"] is True


def _vars_api(run: Run) -> None:
    seen = run.data("verify_vars_accessible", "verify_task")
    assert (seen["user_id"], seen["username"], seen["score"]) == (999, "api_tester", 85)


PROOFS: dict[str, Callable[[Run], None]] = {
    "hello_world/hello_world.yaml": _hello,
    "simple_python.yaml": _simple_python,
    "comprehensive_test.yaml": _comprehensive,
    "fanout_reduce/fanout_reduce_phase6.yaml": _fanout,
    "root_scripts/test_implicit_end_routing.yaml": _implicit_end,
    "actions_test.yaml": _actions,
    "load_test/heavy_loop_aggregation/heavy_loop_aggregation.yaml": _heavy_loop,
    "vars_test/test_transient.yaml": _transient,
    "vars_test/test_vars_api.yaml": _vars_api,
    "test_args_passing.yaml": _args,
    "test_end_with_action.yaml": _end_action,
    "control_flow_workbook/control_flow_workbook.yaml": _workbook,
    "test_large_result_extraction.yaml": _large_result,
    "test_output_select.yaml": _output_select,
    "retry_test/duckdb_retry_query.yaml": _duckdb,
    "retry_test/retry_simple_config.yaml": _simple_retry,
    "pagination/basic/test_pagination_basic.yaml": _basic_pagination,
    "pagination/cursor/test_pagination_cursor.yaml": _cursor,
    "pagination/pipeline/test_pipeline_error_handling.yaml": _errors,
    "data_transfer/http_to_postgres_simple/http_to_postgres_simple.yaml": _http_to_postgres,
    "data_transfer/postgres_jsonb_test/postgres_jsonb_test.yaml": _jsonb,
    "iterator_save_test/iterator_save_test.yaml": _iterator,
    "json_serialization_save/json_serialization_save.yaml": _json_save,
    "playbook_composition/user_profile_scorer.yaml": _scorer,
    "playbook_composition/playbook_composition.yaml": _composition,
    "regression_test/create_test_schema.yaml": _schema,
    "save_storage_test/create_tables.yaml": _tables,
    "save_storage_test/save_all_storage_types.yaml": _all_storage,
    "save_storage_test/save_simple_test.yaml": _simple_save,
}
"""In this order: a playbook that another one starts stands before it."""
