"""Tools: their configuration, results and errors."""

from acceptance_case import ANY, Case, tool_not_found

CASES: dict[str, Case] = {
    "shell_cmds": Case(
        status="FAILED",
        error="Configuration error: Invalid shell config: missing field `command`",
    ),
    "shell_command": Case(
        issued={"start": 1, "broken": 1, "recovered": 1},
        skipped={"end"},
        soft_errors=1,
        data={"recovered": {"said": "oops", "out": "hello world n5\nno newline\n"}},
    ),
    "pg_commands_list": Case(
        status="FAILED",
        error="Configuration error: Invalid postgres config: missing field `query`",
    ),
    "pg_auth_map": Case(status="FAILED", error="malformed tool config"),
    "pg_credential_key": Case(
        issued={"start": 1, "rows_as_lists": 1, "none_found": 1, "write": 1},
        data={
            "start": {"columns": ["one", "moment", "price", "nothing", "list", "day"]},
            "rows_as_lists": {"columns": ["b", "a"], "rows": [[1, 2], [3, 4]]},
            "none_found": {"columns": [], "rows": [], "row_count": 0},
            "write": {"affected_rows": 2},
        },
    ),
    "pg_error": Case(
        status="FAILED",
        issued={"start": 1, "query": 1},
        log=13,
        error='Database error: Query failed: ERROR: relation "public.missing_table_xyz"'
        " does not exist (SQLSTATE 42P01)",
    ),
    "unknown_alias": Case(
        status="FAILED",
        error="Credential alias 'nobody_stored_this' not found in keychain",
    ),
    # The original server looks the alias up only where it stands alone; ours in the object, too.
    "http_auth_object": Case(issued={"start": 1, "end": 1}, data={"end": {"right": True}}),
    "http_auth_alias": Case(
        issued={"start": 1, "piped": 1, "end": 1},
        data={"end": {"single": True, "piped": True}},
    ),
    "http_shapes": Case(
        issued={"start": 1, "form": 1, "text": 1, "not_found": 1, "end": 1},
        soft_errors=1,
        data={
            "start": {
                "body": {
                    "method": "POST",
                    "query": {
                        "fixed": ["1"],
                        "limit": ["3"],
                        "flag": ["true"],
                        "many": ["[1,2]"],
                        "q": ["a b&c"],
                    },
                    "body": '{"limit":3,"extra":{"a":1},"text":"007","empty":null}',
                    "kind": "application/json",
                    "number": "3",
                    "text": "is 3",
                    "right_header": False,
                }
            },
            "end": {"form": "a=1&b=two+words", "text_is": "dict"},
        },
    ),
    "http_down": Case(issued={"start": 1, "rescue": 1}, skipped={"normal"}),
    "kind_snowflake": tool_not_found("snowflake"),
    "kind_container": tool_not_found("container"),
    "kind_script": Case(status="FAILED", error="Failed to create K8s client"),
    # The original server refuses the word; its worker and ours know the tool.
    "kind_mcp": Case(status="FAILED", error="mcp endpoint is required for server 'kubernetes'"),
    "kind_subscription": Case(status="FAILED", error="subscription[nats] requires 'url'"),
    "kind_rhai": tool_not_found("rhai"),
    "kind_secrets": tool_not_found("secrets"),
    "kind_gcs": tool_not_found("gcs"),
    "kind_gateway": tool_not_found("gateway"),
    "kind_iterator": tool_not_found("iterator"),
    "kind_playbooks": tool_not_found("playbooks"),
    "kind_snowflake_transfer": tool_not_found("snowflake_transfer"),
    "nats_tools": Case(
        status="FAILED",
        issued={"start": 1, "read": 1, "store": 1, "publish": 1, "poll": 1, "missing": 1},
        error="Cannot open KV bucket 'no_such_bucket'",
        data={
            "read": {"value": {"n": 5, "list": [1, 2]}, "status": "success"},
            "store.get": {"data": "some text", "size": 9},
            "publish": {"stream": "ACCEPTANCE", "duplicate": False},
            "poll": {"stream": "ACCEPTANCE", "consumer": "reader", "count": ANY},
        },
    ),
}
