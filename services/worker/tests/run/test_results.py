"""The reported form of results and errors."""

from typing import Any

import orjson
from noetl_worker.commands import command_of, decode_notification
from noetl_worker.control_plane.result_stores import INLINE_LIMIT_BYTES
from noetl_worker.run.output_select import select_output
from noetl_worker.run.reports import cut_error
from noetl_worker.run.results import reported_result
from noetl_worker.tools.tool import ToolResult
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


class KeepingStore:
    inline_limit = INLINE_LIMIT_BYTES

    def __init__(self) -> None:
        self.documents: list[bytes] = []

    async def put(self, _command: Any, document: bytes) -> None:
        self.documents.append(document)


async def test_the_limit_of_inline_results_is_exact() -> None:
    note = decode_notification(orjson.dumps(make_notification(1, command=make_command())))
    command = command_of(note)
    assert command is not None
    store = KeepingStore()
    frame = len(b'{"status":"success","data":""}')

    inline = await reported_result(
        command, ToolResult(data="x" * (INLINE_LIMIT_BYTES - frame)), store
    )
    stored = await reported_result(
        command, ToolResult(data="x" * (INLINE_LIMIT_BYTES - frame + 1)), store
    )

    assert "context" in orjson.loads(orjson.dumps(inline))
    assert stored == {"status": "success"}
    assert [len(document) for document in store.documents] == [INLINE_LIMIT_BYTES + 1]


def test_errors_are_cut_between_characters() -> None:
    cut = cut_error("é" * 100_000)

    assert len(cut.encode()) <= (64 << 10) + 3
    assert set(cut) == {"é", "…"}
    assert cut_error("short") == "short"
