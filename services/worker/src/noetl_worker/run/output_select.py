"""Selection of named parts of a stored result."""

import re

from noetl_contract.json import Json, JsonObject
from noetl_contract.tools import merge_labels

from noetl_worker import jsonb

_LARGEST_SELECTION_BYTES = 8 << 10
_PART = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def select_output(data: Json, paths: Json) -> JsonObject:
    """Return the named parts without missing and null ones, up to 8 KiB."""
    if not isinstance(paths, list) or not paths:
        return {}
    view = flattened(data)
    selected: JsonObject = {}
    room = _LARGEST_SELECTION_BYTES
    for path in paths:
        if not isinstance(path, str):
            continue
        name, value = _look_up(view, path)
        if name is None or value is None:
            continue
        size = len(jsonb.encode({name: value}))
        if size <= room:
            room -= size
            selected[name] = value
    return selected


def flattened(data: Json) -> Json:
    """Return data as templates see it: a pipeline's labels merged to the top."""
    if not isinstance(data, dict) or not data:
        return data
    return {"data": data, **merge_labels(data)}


def _look_up(view: Json, path: str) -> tuple[str | None, Json]:
    name = None
    for key, index in _PART.findall(path):
        if index:
            if not isinstance(view, list) or int(index) >= len(view):
                return None, None
            view = view[int(index)]
        else:
            name = key
            if not isinstance(view, dict) or key not in view:
                return None, None
            view = view[key]
    return name, view
