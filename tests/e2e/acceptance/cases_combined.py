"""Constructs of the language in combination."""

from acceptance_case import ANY, Case

CASES: dict[str, Case] = {
    "task_moves": Case(
        issued=dict.fromkeys(["start", "out_of_sql", "back", "nowhere", "again", "stop", "end"], 1),
        soft_errors=2,
        data={
            "start": {"a": 1, "d": "d"},
            "out_of_sql": {"a": None},
            "back": {"a": {"n": 2}, "b": 3},
            "again.a": 2,
            "end": "3/2/code 5/0",
        },
    ),
    "every_failure": Case(
        issued=dict.fromkeys(
            [
                name + suffix
                for name in ("sql", "script", "request", "child", "word", "config", "each")
                for suffix in ("", "_failed")
            ],
            1,
        )
        | {"start": 1, "each": 4, "end": 1},
        skipped={"wrong"},
        soft_errors=2,
        data={"request_failed": "HTTP_404", "end": "HTTP_404//404/HTTP_404"},
    ),
    "late_templates": Case(
        issued=dict.fromkeys(
            ["start", "first", "second", "single", "piped", "script", "computed", "by_label"], 1
        )
        | {"each": 2, "end": 1},
        data={
            "single": {"rows": [{"n": 5}]},
            "piped.x": {"rows": [{"n": 5}]},
            "piped.y": {"rows": [{"m": 6}]},
            "piped.z": "n=5",
            "script": {"n": 5},
            "computed": {
                "v": 5,
                "w": 5,
                "s": "COMPLETED",
                "seen": {"first": 5, "second": None},
            },
            "by_label.q": {"v": 5, "w": "COMPLETED"},
            "end": [5, "n=5", [5, 6]],
        },
    ),
    "clashing_names": Case(
        issued={"start": 1, "workload": 1, "later": 1, "end": 1},
        data={
            "start": {
                "e": True,
                "p": "acceptance/clashing_names",
                "c": 1,
                "s": 5,
                "q": 1,
                "o": "o",
                "i": "it",
                "inp": 5,
                "a": 6,
                "d": 7,
                "r": 8,
                "v": "v9",
                "w": "mine",
            },
            "later": {
                "p": "acceptance/clashing_names",
                "c": 1,
                "s": "COMPLETED",
                "q": 1,
                "o": "o",
                "i": "it",
                "w": "x",
                "gone": None,
            },
            "end.x": {"a": 1, "i": 1, "s": "end", "q": None},
        },
    ),
    "odd_step_names": Case(
        issued={
            "start": 1,
            "my step/ä:1": 1,
            "fetch-data": 1,
            'it\'s "q" {x}': 2,
            "1st": 1,
            "{{ tpl }}": 1,
            "класс": 1,
            "end": 1,
        },
        data={
            "my step/ä:1": {"n": "my step/ä:1", "_ref": ANY},
            "1st": {"a b": 2, "a-b": 4},
            "{{ tpl }}": "{{ tpl }}",
            "end": "my step/ä:1",
        },
    ),
    "child_outcomes": Case(
        issued=dict.fromkeys(
            ["start", "failed", "unknown", "not_reached", "looped", "large", "piped", "end"], 1
        ),
        data={
            "end": {
                "failed": "FAILED",
                "unknown": "COMPLETED",
                "not_reached": "COMPLETED",
                "looped": 2,
                "large": "noetl://",
                "piped": {"a": 6, "b": 12, "c": True, "d": "started"},
            }
        },
    ),
    "child_parts": Case(
        issued={"start": 1, "total": 1, "large": 1},
        data={"total": {"total": 0}, "large": {"_ref": ANY}},
    ),
    "duckdb_files": Case(
        issued=dict.fromkeys(
            ["start", "make", "as_lists", "write", "read", "too_early", "table", "there", "back"], 1
        ),
        data={
            "make": {"columns": ["id", "name", "x"], "row_count": 3},
            "as_lists": {"rows": [[2, 4.5]], "columns": ["n", "total"]},
            "read.w": {"rows": [{"f": "n0", "n": 2}]},
            "there": {"direction": "duckdb_to_postgres", "rows_transferred": 3},
            "back.move": {"direction": "postgres_to_duckdb", "mode": "replace"},
            "back.look": {"rows": [{"pid": n, "label": f"n{n}"} for n in range(3)]},
        },
        rows={
            "SELECT sum(x) AS total FROM public.moved_{id}": [{"total": 4.5}],
        },
    ),
    "looped_references": Case(
        issued={"start": 2, "get": 2, "end": 1},
        data={"end": {"first": 1, "next": 3, "got": [1, 2], "ref": True}},
    ),
    "facility_cursor": Case(
        issued={"start": 1, "next_facility": 3, "patients": 14, "check": 2, "end": 1},
        data={"end": {"done": 8, "fac": 2, "frames": 2}},
    ),
    "task_auth": Case(
        issued={"start": 1, "end": 1}, data={"end": [False, False, False, False, False, True]}
    ),
    "rule_scopes": Case(
        issued={"start": 1, "end": 1},
        data={
            "start.t2": {
                "a": 2,
                # A rule doesn't see the label of its own task.
                "own": None,
                "c": "success",
                "d": 2,
                "l": [2, 5],
                "o": 2,
                "label": "t1/1",
                "by_data": 2,
                "by_result": 2,
            },
            "start.t3": {"f": 2, "p": 2, "st": 5},
            "end": {
                "a": 2,
                "own": None,
                "c": "success",
                "l": [2, 5],
                "o": {"k": 2},
                "number": 7,
                "nothing": None,
                "label": "t1/1",
                # What a task sets stays in its pipeline.
                "item": None,
                "error": "unknown",
                "plain": 1,
                "flat": 2,
            },
        },
    ),
}
