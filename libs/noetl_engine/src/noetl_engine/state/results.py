"""Data of stored results as templates see it, and the variables that results set."""

from collections.abc import Mapping

from noetl_contract.json import Json
from noetl_contract.tools import merge_labels

_SCOPE_WORDS = ("ctx.", "iter.", "step.")


def bare_name(key: str) -> str:
    """Return a ``set`` key without its scope word, which carries no meaning on this side."""
    for word in _SCOPE_WORDS:
        if key.startswith(word):
            return key[len(word) :]
    return key


def unwrap(result: Json) -> Json:
    """Return the data of a stored result as templates see it, but for the self copy."""
    if not isinstance(result, dict):
        return result
    context = result.get("context")
    if not isinstance(context, dict):
        return result if context is None else context
    inner = context.get("result")
    inner = inner.get("context") if isinstance(inner, dict) else None
    if isinstance(inner, dict) and "data" in inner:
        return merge_labels(inner["data"])
    if "data" in context:
        return merge_labels(context["data"])
    return context


def with_self_copy(data: Json) -> Json:
    """Add a ``data`` entry with a copy of itself to an object that has none."""
    if isinstance(data, dict) and "data" not in data:
        return {**data, "data": data}
    return data


def tool_data(result: Json) -> Json:
    """Return the tool's own data in a ``call.done`` result, before any flattening."""
    context = result.get("context") if isinstance(result, dict) else None
    inner = context.get("result") if isinstance(context, dict) else None
    inner = inner.get("context") if isinstance(inner, dict) else None
    return inner.get("data") if isinstance(inner, dict) else None


def context_updates(result: Json) -> Mapping[str, Json]:
    """Return the variables that a pipeline's policy rules set for later steps."""
    data = tool_data(result)
    updates = data.get("_context_updates") if isinstance(data, dict) else None
    return updates if isinstance(updates, dict) else {}
