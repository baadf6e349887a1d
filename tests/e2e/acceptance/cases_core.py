"""The shapes of the core set."""

from acceptance_case import ANY, Case

CASES: dict[str, Case] = {
    "auth_gate": Case(
        issued={"start": 1, "end": 1},
        data={"end": {"closed": True, "error": "no id text given"}},
        skipped={"user_info"},
    ),
    "chunk_worker": Case(
        issued={"start": 1, "load_chunk": 1, "plan": 1, "summarize": 1},
        data={"summarize": {"batch_count": 0, "chunk": "1-3", "status": "chunk done"}},
        skipped={"process"},
    ),
    "chunk_parent": Case(
        issued={"start": 1, "plan": 1, "run_chunks": 2, "count": 1, "end": 1},
        data={"end": {"saved": 6, "parts": [3, 3]}},
        children=("COMPLETED", "COMPLETED"),
        rows={
            "SELECT count(*) AS n, sum((body->>'square')::int) AS s FROM heavy.results"
            " WHERE execution_id = '{id}'": [{"n": 6, "s": 91}]
        },
    ),
    "lease_shape": Case(
        issued={"start": 1, "context_one": 1, "context_two": 1, "claim": 1, "summarize": 1},
        data={"summarize": {"keys": ["data", "name", "padding"], "ran": 0}},
        skipped={"run_batches"},
        children=(),
    ),
    "bulk_upsert": Case(
        issued={"start": 1, "upsert": 1, "end": 1},
        data={
            "upsert": {"rows": [{"upserted_count": 50}], "row_count": 1},
            "end": {"upserted": 50},
        },
        rows={"SELECT count(*) AS n FROM bulk_results": [{"n": 50}]},
    ),
    "cities": Case(
        issued={"start": 1, "fetch_all": 3, "check": 1, "end": 1},
        data={"end": {"cities": ["London", "Paris", "Sao Paulo"]}},
        rows={
            "SELECT DISTINCT temperature, http_status FROM city_weather"
            " WHERE execution_id = '{id}'": [{"temperature": 0.0, "http_status": 200}]
        },
    ),
    "sql_blocks": Case(
        issued={"start": 1, "copy": 1, "end": 1},
        data={"end": {"rows": [{"kind": "key", "n": 4}, {"kind": "post", "n": 4}]}},
    ),
    "transfer_http": Case(
        issued={"start": 1, "move": 1, "end": 1},
        data={"end": {"moved": 100, "direction": "http_to_postgres"}},
        rows={"SELECT count(*) AS n, max(post_id) AS m FROM moved_posts": [{"n": 100, "m": 100}]},
    ),
    "duckdb_tables": Case(
        issued={"start": 1, "types": 1, "empty": 1, "end": 1},
        data={
            "end.consume": {"names": ["Alice", "Charlie"], "same": True, "count": 2},
            "types": {
                "rows": [
                    {
                        "big": "1",
                        "price": "1.50",
                        "numbers": [1, 2],
                        "pair": {"a": 1},
                        "day": 2,
                        "nothing": None,
                        "yes": True,
                    }
                ]
            },
            "empty": {"columns": ["one"], "rows": [], "row_count": 0},
        },
    ),
    "widgets": Case(
        issued={"start": 1, "end": 1},
        data={"start": {"widget_count": 9}, "end": {"type": "stack"}},
    ),
    "health_step_input": Case(
        issued={"start": 1, "process": 1, "verify": 1, "piped": 1},
        data={
            "process": {"code": 200, "direct": 200},
            "verify": {"verification": "passed", "mark": "from the tool"},
            "piped.look": {"word": "passed"},
        },
    ),
    "id_token_quotes": Case(
        issued={"start": 1, "call_keychain": 1, "call_plain": 1, "save": 1, "compare": 1, "end": 1},
        skipped={"on_error"},
        data={"end": {"methods": ["keychain", "plain", "none"], "notes": "it's; quoted"}},
        rows={
            "SELECT count(*) AS n FROM id_token_results WHERE execution_id = '{id}'": [{"n": 3}],
        },
    ),
    "looped_start": Case(
        issued={"start": 5, "sum_up": 1, "greet": 3, "verify": 1, "end": 1},
        log=62,
        data={
            "sum_up": {"count": 5, "total": 55},
            "verify": {"count": 3, "first": "1/3 Alice", "total": 55},
        },
    ),
    "self_loop_pages": Case(
        issued={"start": 1, "fetch": 2, "end": 1},
        data={"end": {"count": 20, "last": 20, "page": 3}},
    ),
    "offset_pages": Case(
        issued={"start": 1, "fetch_users": 4, "merge": 4, "validate": 1},
        data={"validate": {"total_users": 35, "distinct": 35}},
    ),
    "heavy_page": Case(
        issued={"start": 1, "start_again": 1, "report": 1},
        data={
            "report": {
                "keys": [
                    "body",
                    "count",
                    "data",
                    "fetch",
                    "headers",
                    "more",
                    "shrink",
                    "status_code",
                ],
                "is_reference": True,
            }
        },
    ),
    "missing_libs": Case(
        issued={"start": 1, "end": 1},
        soft_errors=1,
        data={"end": {"status": "error", "said": True}},
    ),
    "catalog_kinds": Case(
        issued={"start": 1, "end": 1}, data={"end.read": {"kinds": ["playbook"], "total": ANY}}
    ),
    "bulk_without_driver": Case(status="FAILED", error="malformed tool config"),
    "http_stop_rule": Case(
        issued={"start": 1, "flaky": 1, "end": 1},
        soft_errors=1,
        data={"end": {"first": 404, "second": 200}},
    ),
    "pg_retry": Case(issued={"start": 1, "end": 1}, data={"start": {"rows": [{"test_value": 1}]}}),
    "retry_rule": Case(
        issued={"start": 1, "piped": 1, "gives_up": 1, "end": 1},
        soft_errors=1,
        data={"end": {"single": 3, "piped": 2, "gave_up": 2}},
    ),
    "retry_map": Case(
        issued={"start": 1, "piped": 1},
        soft_errors=0,
        data={"start": {"tries": 3}, "piped.work": {"tries": 2}},
    ),
    "retry_bool": Case(status="FAILED", issued={"start": 1}, error="malformed tool config"),
    "retry_int": Case(status="FAILED", issued={"start": 1}, error="malformed tool config"),
    # The list is the older server's form; a superset of ours for the kind http.
    "retry_list": Case(issued={"start": 1}, soft_errors=0, data={"start": {"status_code": 200}}),
    "inline_script": Case(
        issued={"start": 1, "from_file": 1, "end": 1},
        soft_errors=1,
        data={"start": {"status": "success", "message": "It came from the workload", "who": "Ada"}},
    ),
    "simple_loop_objects": Case(
        issued={"start": 1, "double": 3, "end": 1}, data={"end": {"doubled": [20, 40, 60]}}
    ),
    "delegation": Case(
        issued={"start": 1, "table": 1, "save": 1, "analyse": 1, "end": 1},
        data={"end": {"async": True, "status": "started", "code": 200}},
        rows={
            "SELECT value, ran FROM delegated WHERE test_id = '{id}'": [
                {"value": 321, "ran": "delegation"}
            ]
        },
        children=("COMPLETED",),
    ),
    "child_score": Case(
        issued={"start": 1, "finalize": 1},
        data={"finalize": {"profile_score": 10, "label": "nobody"}},
    ),
    "child_fails": Case(status="FAILED", error="there_is_no_such_table"),
    "composition": Case(
        issued={"start": 1, "each": 2, "failing": 1, "end": 1},
        data={
            "end": {
                "first": 20,
                "label": "Ada",
                "failed": "FAILED",
                "texts": ["Ada=40", "Bob=50"],
            }
        },
        children=("COMPLETED", "COMPLETED", "COMPLETED", "FAILED"),
    ),
    "child_missing": Case(status="FAILED", error="HTTP error: Failed to start child playbook: 404"),
    "edge_strings": Case(
        issued={"start": 1, "save": 1, "end": 1},
        data={
            "end": {
                "rows": [
                    {
                        "text_value": 'O\'Brien said "no"\nnew line\ttab \\ backslash;'
                        " DROP TABLE students; --Zoë — 日本語 🚀",
                        "json_value": {
                            "zero": 0,
                            "negative": -5,
                            "decimal": 3.14159,
                            "big": 9007199254740993,
                        },
                        "number_value": "3.14159",
                        "flag": True,
                        "empty_value": "",
                    }
                ]
            }
        },
    ),
    "loop_isolation": Case(
        issued={"start": 1, "users_loop": 2, "products_loop": 2, "verify": 1},
        data={
            "verify": {
                "names": ["Ada", "Bob"],
                "same": True,
                "skus": ["A-1", "B-2"],
                "last_user": "Bob",
                "leaked": "nothing",
            }
        },
    ),
    "start_action": Case(
        issued={"start": 1, "process": 1, "end": 1},
        log=20,
        data={"end": {"from_start": 42, "absent": "fallback", "doubled": 84}},
    ),
    "storage_tiers": Case(
        issued=dict.fromkeys(
            ["start", "small", "medium", "large", "load_small", "load_medium", "load_large", "end"],
            1,
        ),
        data={
            "end": {
                "small": ["blob", "data", "tier"],
                "medium": "medium",
                "large": "noetl://",
                "size": 2048 * 1024,
            },
        },
    ),
    "rules_wrong_path": Case(
        issued={"start": 1, "use": 1},
        data={"use.look": {"absent": None, "email": "alice@example.com"}},
    ),
    "rules_else_direct": Case(
        issued={"start": 1, "end": 1}, soft_errors=0, data={"end": {"never": "unset"}}
    ),
    "pipeline_moves": Case(
        issued={"start": 1, "stop": 1, "end": 1},
        soft_errors=1,
        data={"end": {"round": 3, "failed": 0, "second": False, "fifth": False}},
    ),
    "single_moves": Case(
        issued={"start": 1, "end": 1}, soft_errors=1, data={"end": {"code": "42P01"}}
    ),
}
