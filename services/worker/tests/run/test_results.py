"""The reported form of results and errors."""

import datetime as dt
import math
import re
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from noetl_contract.json import JsonObject
from noetl_contract.tools.results import with_bodies_repeated
from noetl_worker import jsonb
from noetl_worker.commands import Command, command_of, decode_notification
from noetl_worker.control_plane.result_stores import INLINE_LIMIT_BYTES, StoredResult
from noetl_worker.interpreters.host.results import NotJson
from noetl_worker.run.output_select import select_output
from noetl_worker.run.reports import cut_error
from noetl_worker.run.results import reported_result
from noetl_worker.tools.tool import ToolError, ToolResult
from worker_control_plane import make_command, make_notification


def test_selected_output() -> None:
    data = {
        "one": {"rows": [{"id": 1}, {"id": 2}], "big": "x" * 9000},
        "two": {"rows": "later", "none": None},
    }

    selected = select_output(
        data, ["one.rows[1].id", "rows", "none", "big", "two.missing", "one.rows[9]", 5]
    )

    assert selected == {"id": 2, "rows": "later"}
    assert select_output("text", ["a"]) == {}
    assert select_output(data, "one") == {}


@dataclass
class Row:
    price: float


def shown(reported: JsonObject) -> JsonObject:
    """Return a reported result as its reader gets it."""
    found: JsonObject = orjson.loads(jsonb.encode(reported))
    return found


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"mean": math.nan}, "result.mean is NaN"),
        (
            {"fetch": {"rows": [{"price": 1.5}, {"price": -math.inf}]}},
            "fetch.rows[1].price is -Inf",
        ),
        ({"pair": (1, math.nan)}, "result.pair[1] is NaN"),
        ([Row(1.0), Row(math.inf)], "result[1].price is Infinity"),
        ({"o": object()}, "result.o is a object"),
        ({"rows": [0.5] * 5000, "mean": math.nan}, "result.mean is NaN"),
    ],
)
async def test_a_result_that_is_no_json_is_refused_with_its_path(data: Any, path: str) -> None:
    command = Command(7, 9, "7:s:9", "s", "", "python", {})

    with pytest.raises(NotJson, match=re.escape(path)):
        await reported_result(command, ToolResult(data=data), KeepingStore())


async def test_what_has_a_text_in_json_is_that() -> None:
    command = Command(7, 9, "7:s:9", "s", "", "python", {})
    data = {"at": dt.date(2026, 1, 2), "row": Row(1.5), "set": {2, 1}, "pair": (1, None)}

    reported = await reported_result(command, ToolResult(data=data), KeepingStore())

    assert shown(reported)["context"]["data"] == {
        "at": "2026-01-02", "row": {"price": 1.5}, "set": [1, 2], "pair": [1, None],
    }  # fmt: skip


class KeepingStore:
    inline_limit = INLINE_LIMIT_BYTES

    def __init__(self) -> None:
        self.documents: list[bytes] = []

    async def put(self, _command: Any, document: bytes) -> StoredResult:
        self.documents.append(document)
        return StoredResult(ref="noetl://execution/7/result/start/1", store="db", scope="execution")


def some_command() -> Command:
    note = decode_notification(orjson.dumps(make_notification(1, command=make_command())))
    command = command_of(note)
    assert command is not None
    return command


async def test_a_large_answer_is_stored_once() -> None:
    rows = [{"id": number, "name": "x" * 90} for number in range(2000)]
    answer = {"status_code": 200, "headers": {}, "body": {"rows": rows}, "data": {"rows": rows}}
    text = orjson.dumps({"rows": rows}, option=orjson.OPT_INDENT_2).decode()
    store = KeepingStore()

    result = ToolResult(data=answer, stdout=text, exit_code=0)
    await reported_result(some_command(), result, store)

    (document,) = store.documents
    assert len(document) < 1.1 * len(orjson.dumps(rows))
    whole = orjson.loads(with_bodies_repeated(document))
    assert whole["data"] == answer
    assert orjson.loads(whole["stdout"]) == {"rows": rows}


async def test_variables_that_rules_set_stay_beside_the_reference_of_a_large_result() -> None:
    data = {"task": "x" * 200_000, "_context_updates": {"ctx.size": 3}}

    reported = await reported_result(some_command(), ToolResult(data=data), KeepingStore())

    assert shown(reported)["context"]["data"] == {
        "_ref": "noetl://execution/7/result/start/1",
        "_context_updates": {"ctx.size": 3},
    }


async def test_variables_too_large_for_an_event_fail_their_step() -> None:
    data = {"task": "x" * 200_000, "_context_updates": {"ctx.a": 1, "ctx.rows": "x" * 60_000}}

    with pytest.raises(ToolError, match=r"variables that step 'start' sets .*: ctx.a, ctx.rows$"):
        await reported_result(some_command(), ToolResult(data=data), KeepingStore())


async def test_the_limit_of_inline_results_is_exact() -> None:
    command, store = some_command(), KeepingStore()
    frame = len(b'{"status":"success","data":""}')

    inline = await reported_result(
        command, ToolResult(data="x" * (INLINE_LIMIT_BYTES - frame)), store
    )
    stored = await reported_result(
        command, ToolResult(data="x" * (INLINE_LIMIT_BYTES - frame + 1)), store
    )

    assert "context" in shown(inline)
    assert shown(stored)["context"] == {"data": {"_ref": "noetl://execution/7/result/start/1"}}
    assert [len(document) for document in store.documents] == [INLINE_LIMIT_BYTES + 1]


def test_errors_are_cut_between_characters() -> None:
    cut = cut_error("é" * 100_000)

    assert len(cut.encode()) <= (64 << 10) + 3
    assert set(cut) == {"é", "…"}
    assert cut_error("short") == "short"
