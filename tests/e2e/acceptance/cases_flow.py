"""Order of values and steps: loops, rules, scopes, children."""

from acceptance_case import Case

CASES: dict[str, Case] = {
    "jump_pages": Case(
        # A real worker turns one page; ours goes on as the rule says, and has to find an end.
        issued={"start": 1, "fetch_all": 2, "end": 1},
        data={"end": {"counts": [35, 35]}},
    ),
    "batch_children": Case(
        issued={"start": 1, "run": 2, "fire": 1, "end": 1},
        data={"end": {"scores": [30, 8], "async": True}},
    ),
    "many_children": Case(
        issued={"start": 10, "end": 1}, data={"end": {"sum": 450}}, children=("COMPLETED",) * 10
    ),
    "child_middle": Case(issued={"start": 1, "end": 1}, data={"end": {"score": 0}}),
    "step_set_loop": Case(
        issued={"start": 2, "end": 1},
        data={"end": {"count": 2, "firsts": [1], "seen": [1, 2], "last": [1, 2]}},
    ),
    "variable_scopes": Case(
        issued={"start": 1, "read": 1},
        data={
            # On a worker, `step` is the name of the step, which no rule overwrites.
            "start.second": {"value": 10, "local": 10, "note": None},
            "read": {
                "value": 10,
                "also": 10,
                "note": "from first",
                "bare": None,
                "local": "unset",
                "total": 11,
                "seed": 99,
                "workload_seed": 1,
                "region": "eu",
                "by_steps": "COMPLETED",
            },
        },
    ),
    "weather_loop": Case(
        issued={"start": 1, "city_loop": 2, "alert": 1, "end": 1},
        data={"alert": {"scores": [200, 200], "cities": "list"}},
    ),
    "mixed_tools": Case(
        issued={
            "start": 1,
            "shell_part": 1,
            "shell_more": 1,
            "duck_part": 1,
            "py_loop": 3,
            "join": 1,
        },
        skipped={"http_part"},
        data={"join": {"sh": "done again", "duck": 42, "py": [10, 20, 30]}},
    ),
    "policy_texts": Case(
        issued={"start": 1, "handle": 1, "end": 1},
        soft_errors=1,
        data={"handle": "server_error/HTTP_503/503"},
    ),
    "python_edges": Case(
        issued=dict.fromkeys(
            [
                "start",
                "keys",
                "late_return",
                "unicode_text",
                "braces",
                "big_output",
                "end",
            ],
            1,
        ),
        data={
            "start": {"printed": "json"},
            "keys": {"1": "one", "none": None, "nested": {"2": [3]}, "tuple": [1, 2]},
            "late_return": {"x": 10, "size": 3, "missing": 7, "context": None},
            "unicode_text": "größe 🚀",
            "braces": {"percent": "Ada of 5%", "nested": {"a": {"b": {}}}, "text": "   'Ada'"},
            "end": {"big": True},
        },
    ),
    "dict_like_names": Case(
        issued={"start": 1, "each": 2, "piped": 1, "end": 1},
        data={
            "each": {"n": 1, "id": 2, "items": [1, 2]},
            "piped.look": {
                "items": [5, 6],
                "keys": ["k"],
                "values": 9,
                "missing": None,
                "missing_too": False,
                "copy": "cupgk",
                "length": 2,
                "index": 2,
                "first": 5,
            },
            "end": {"rows": [{"n": 2, "k": "k", "v": 5}]},
        },
    ),
    "sql_files": Case(
        status="FAILED",
        error="procedure pg_catalog.nothing_like_this() does not exist (SQLSTATE 42883)",
        data={
            "start": {"affected_rows": 1},
            # A comment before the SELECT hides it.
            "query": {"affected_rows": 1},
            "only_select": {
                "rows": [
                    {"n": 1, "average": "1.00000000000000000000", "total": 1, "s": 1, "seen": True}
                ]
            },
            "truncated": {"rows": [{"left_over": 0}]},
        },
    ),
    "quoted_sql_from_python": Case(
        issued={"start": 1, "run": 1, "by_template": 1},
        data={
            step: {"rows": [{"id": n, "name": f"O'Neil {n}"} for n in range(3)]}
            for step in ("run", "by_template")
        },
    ),
    "guard_texts": Case(
        issued=dict.fromkeys(["start", "a", "d", "f", "h", "i", "j"], 1),
        skipped={"b", "c", "e", "g", "k"},
    ),
    "guard_breaks": Case(
        status="FAILED", issued={"start": 1}, log=7, error="Orchestrator evaluate failed: "
    ),
    "now_in_config": Case(status="FAILED", error="unknown function: now is unknown"),
    "reenter_join": Case(
        issued={"start": 1, "head": 3, "a": 3, "b": 1, "join": 3, "end": 1}, data={"end": 3}
    ),
    "cursor_in_cycle": Case(issued={"start": 1, "fill": 2, "drain": 10, "end": 1}, data={"end": 2}),
    "outputs": Case(
        status="FAILED",
        issued={"start": 1, "use": 1, "fetch": 1, "bad": 1},
        error="Configuration error: Invalid artifact config: invalid type: null, expected a string",
        data={"use": {"count": 3, "next": 2, "id": 7, "whole": [{"id": 7}], "ref": "noetl://"}},
    ),
    "args_step": Case(
        issued={"start": 1, "both": 1},
        data={"start": {"n": 4, "text": "n=4", "all": ["n", "text"]}, "both": ["m"]},
    ),
    "keyed_results": Case(
        issued={"start": 1, "piped": 1, "end": 1},
        data={
            "end": {
                "x": 1,
                "shared": "b",
                "ax": 1,
                "dx": 2,
                "px": 1,
                "py": 2,
                "deep": 5,
                "pd": {"deep": 5},
            }
        },
    ),
    "yaml_scalars": Case(
        issued={"start": 1},
        data={
            "start": {
                "a": "yes",
                "b": "No",
                "c": "ON",
                "d": True,
                "e": None,
                "f": "1_000",
                "g": 12,
                "h": 31,
                "i": 0.5,
                "j": 1000.0,
                "k": "12:30:45",
                "l": "2026-06-15T10:00:00Z",
                "m": "5",
                "o": ["y", "n"],
            }
        },
    ),
}
