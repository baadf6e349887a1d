"""Features of the language, and playbooks that it refuses."""

from acceptance_case import ANY, Case

CASES: dict[str, Case] = {
    "root_extras": Case(issued={"start": 1, "second": 1}, data={"start": {"message": "hello"}}),
    "cond_arcs": Case(issued={"start": 1, "small": 1}),
    "templated_flight": Case(
        issued={"start": 1, "work": 6, "end": 1}, data={"end": {"count": 6, "most": ANY}}
    ),
    "cursor_frames": Case(
        issued={"start": 1, "drain": 9, "check": 1},
        data={"check": {"rows": [{"status": "done", "n": 5}]}},
        rows={
            "SELECT id, done_by FROM work_queue WHERE run = '{id}' AND id = 4": [
                {"id": 4, "done_by": "square 16"}
            ]
        },
    ),
    "keychain_forms": Case(
        issued={"start": 1}, data={"start.look": {"missing": None, "fallback": "none"}}
    ),
    "nested_workload": Case(
        issued={"start": 1, "piped": 1},
        data={
            "start": {
                "url": "http://h/path",
                "zip": "007",
                "ratio": "1.50",
                "keep": "007.",
                "day": "2026-06-15",
                "sixty": "1:30",
                "octal": "010",
                "numbers": [1, 2],
                "missing": None,
                "text": "[1, 2] of them",
                "run": "str",
                "is_on": "yes",
            },
            "piped.look": {
                "zip": "007",
                "ratio": "1.50",
                "missing": None,
                "empty": ANY,
                "run": "int",
            },
        },
    ),
    "cursor_templated_frame": Case(issued={"start": 1, "drain": 1}),
    "regions_etl": Case(
        issued={"start": 1, "load": 3, "report": 1, "end": 1},
        data={
            "end": {
                "stats": {"total": 3, "success": 3, "failed": 0},
                "regions": [
                    {"region": "north", "codes": 3, "last": "002"},
                    {"region": "o'east", "codes": 3, "last": "002"},
                    {"region": "south", "codes": 3, "last": "002"},
                ],
            }
        },
    ),
    "sibling_reads": Case(
        issued={"start": 1},
        data={
            "start.fetch": {"status_code": 200},
            "start.query": {"rows": [{"five": 5}]},
            "start.late": {"page": "3"},
        },
    ),
    "overrides": Case(
        issued={"start": 1},
        payload={"limits": {"a": 5}, "name": "given", "extra": [1]},
        data={"start": {"limits": {"a": 5}, "name": "given", "kept": True, "extra": [1]}},
    ),
    "json_in_sql": Case(
        issued={"start": 1, "save": 1, "again": 1, "end": 1},
        rows={
            "SELECT id, payload->>'text' AS t, payload->'list'->>2 AS n FROM json_in_sql"
            " WHERE id = 1": [{"id": 1, "t": 'it\'s "quoted" \\ here', "n": None}]
        },
        data={"end": {"row_count": 2}},
    ),
    "loop_values": Case(
        issued={
            "start": 1,
            "over_map": 2,
            "over_text": 3,
            "over_json": 2,
            "over_number": 3,
            "over_word": 1,
            "end": 1,
        },
        data={
            "end": {
                "all": [
                    ["a1", "b2"],
                    ["red", "green", "blue"],
                    [11, 21],
                    ["0 of 3", "1 of 3", "2 of 3"],
                    ["items"],
                ],
                "nothing": [],
            }
        },
    ),
    "loop_over_nothing": Case(
        status="FAILED", error="Loop expression did not evaluate to an iterable"
    ),
    "loop_of_loops": Case(
        issued={"start": 1, "round": 2, "fetch_all": 4, "end": 1},
        data={"end": {"codes": [200, 200], "users": [11, 12]}},
    ),
    "soft_python": Case(
        issued={"start": 1, "end": 1},
        soft_errors=1,
        data={"end": {"said": "before", "status": "error"}},
    ),
    "python_forms": Case(
        issued=dict.fromkeys(["start", "returning", "printing", "odd", "listed", "end"], 1),
        data={
            "start": {"text": "Hello Ada", "rest": {"extra": 5}},
            "returning": {"big": True, "step": "returning", "types": ["int", "dict"]},
            "printing": {"stdout": "only text\n"},
            "odd": {"day": "2026-01-02", "price": "1.50", "braces": "2", "dict": {"a": {"b": 1}}},
            "end": {"second": "two", "third": 3, "text": None, "printed": "only text\n"},
        },
    ),
    "event_names": Case(issued={"start": 1, "work": 2, "fails": 1, "end": 1}, data={"end": 2}),
    "no_match": Case(issued={"start": 1}, skipped={"other", "end"}, log=9),
    "fanout_conditions": Case(
        issued={"start": 1, "customers": 1, "orders": 1, "reduce": 1},
        skipped={"refunds"},
        data={"reduce": {"total": 5}},
    ),
    "traveller": Case(
        issued={"start": 1, "translate": 1, "hotels": 1, "render_error": 1, "end": 1},
        data={"end": {"text": "nothing found for hotels in Rome"}},
    ),
    "optional_steps": Case(
        issued={"start": 1, "a": 1, "b_opt": 1, "b": 1, "end": 1}, skipped={"a_opt", "c"}
    ),
    "legacy_next": Case(
        issued={"start": 1, "one": 1, "two": 1, "three": 1, "four": 1},
        skipped={"never"},
        data={"four": 5},
    ),
    "set_everywhere": Case(
        issued={"start": 1, "hop": 1, "end": 1},
        data={
            "end": {
                "n": 14,
                "plain": 14,
                "bare": 5,
                "broken": None,
                "keep": {"list": [1, None], "flag": True},
                "http": 4,
                "dotted": None,
            }
        },
    ),
    "time_limit": Case(issued={"start": 1, "limited": 1, "end": 1}, soft_errors=1),
    "workbook_tasks": Case(
        status="FAILED", issued={"start": 1, "end": 1}, error="Tool not found: workbook"
    ),
    "end_works": Case(issued={"start": 1, "end": 1}, data={"end.cleanup": {"cleaned": 2}}),
    "many_iterations": Case(
        issued={"start": 1, "each": 60, "end": 1}, data={"end": {"sum": 1770, "last": 59}}
    ),
}

REFUSED: dict[str, tuple[int, str]] = {
    "keychain_map": (400, "keychain: invalid type: map, expected a sequence"),
    "keychain_auth_map": (400, "keychain[0].auth: invalid type: map, expected a string"),
    "start_loop_map": (422, "start step loop.in must resolve to a JSON array, got: object"),
    "kind_agent": (400, "data did not match any variant of untagged enum ToolDefinition"),
    "refused_no_start": (422, "Workflow must have a step named 'start'"),
    "refused_no_tool": (400, "workflow[0]: missing field `tool`"),
    "refused_unknown_target": (422, "Step 'start' references unknown step 'end' in next.arcs"),
    "refused_case_block": (422, "'case' blocks are not allowed"),
    "refused_twice": (422, "Duplicate step name: start"),
    "refused_number_header": (400, "untagged enum ToolDefinition"),
}
