"""Reading ``loop``."""

from typing import Final

from noetl_engine.playbook.model import Cursor, Frame, Loop, LoopMode
from noetl_engine.playbook.parse.reader import Reader
from noetl_engine.playbook.yaml import Node, Scalar

_MODES: Final = tuple(mode.value for mode in LoopMode)
_FRAME_NUMBERS: Final = ("max_seconds", "lease_seconds", "heartbeat_seconds", "max_bytes")


def read_loop(reader: Reader) -> Loop:
    """Read the ``loop`` of a step."""
    collection = reader.text("in")
    iterator = reader.required_text("iterator", instead="?")
    mode, max_in_flight, frame = LoopMode.SEQUENTIAL, None, Frame()
    spec = reader.mapping("spec")
    if spec is not None:
        mode = LoopMode(spec.word("mode", _MODES) or LoopMode.SEQUENTIAL)
        max_in_flight = _count(spec, "max_in_flight")
        frame = _frame(spec)
    return Loop(
        iterator=iterator,
        mode=mode,
        collection=collection,
        max_in_flight=max_in_flight,
        cursor=_cursor(reader),
        frame=frame,
    )


def _count(spec: Reader, key: str) -> int | str | None:
    """Return a number, or a template that is rendered while the loop runs."""
    node = spec.present(key)
    if isinstance(node, Scalar) and isinstance(node.value, str):
        if is_template(node):
            return node.value
        spec.refuse_type(node, "i32", key)
        return None
    return spec.int32(key)


def is_template(node: Node | None) -> bool:
    """Return whether a value is a text with template syntax."""
    text = node.value if isinstance(node, Scalar) else None
    return isinstance(text, str) and ("{{" in text or "{%" in text)


def _frame(spec: Reader) -> Frame:
    frame = spec.mapping("frame")
    if frame is None:
        return Frame()
    for key in _FRAME_NUMBERS:
        if not is_template(frame.present(key)):
            frame.float64(key)
    frame.text("process")
    return Frame(
        max_rows=_at_least_one(_count(frame, "max_rows")),
        row_concurrency=_at_least_one(_count(frame, "row_concurrency")),
    )


def _at_least_one(count: int | str | None) -> int | str:
    return count if isinstance(count, str) else max(1, count or 1)


def _cursor(reader: Reader) -> Cursor | None:
    cursor = reader.mapping("cursor")
    if cursor is None:
        return None
    return Cursor(
        # A missing claim is refused by validation, which says it better.
        claim=cursor.text("claim") or "",
        kind=cursor.text("kind") or "postgres",
        auth=cursor.text("auth"),
    )
