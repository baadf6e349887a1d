"""Names of a loop's result: `results` and `stats` beside the array that it is."""

from typing import Final

from noetl_template.values import Value

_ENTRY: Final = frozenset({"status", "context", "data"})


def of_loop(entries: list[Value], name: str, undefined: Value) -> Value:
    """Return the data of a loop's iterations in index order, or how many went well.

    The result of a loop has an entry for each iteration, by whose form it is known; the empty one
    has none. Of any other list the names are undefined.
    """
    if not all(isinstance(entry, dict) and entry.keys() == _ENTRY for entry in entries):
        return undefined
    if name == "results":
        return [entry["data"] for entry in entries]
    good = sum(entry["status"] in {"success", "COMPLETED"} for entry in entries)
    return {"total": len(entries), "success": good, "failed": len(entries) - good}
