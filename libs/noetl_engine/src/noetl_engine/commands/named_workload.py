"""Commands that name a large workload: each would repeat all of it, in the log and on its way."""

from collections.abc import Mapping

from noetl_contract.commands import short_context
from noetl_contract.json import Json, JsonObject

from noetl_engine.inputs import Facts
from noetl_engine.outputs import ShortContext
from noetl_engine.state.memory import Memory
from noetl_engine.state.values import rough_bytes

# The context itself, `ctx`, and `workload` or the results in `steps`.
_COPIES = 3


def name_workload(context: JsonObject, memory: Memory, facts: Facts) -> ShortContext | None:
    """Return a command's context in the form that names the workload; None if it repeats it."""
    size = _named_bytes(memory, facts)
    if not size:
        return None
    position = memory.state.workload
    short = short_context(context, memory.values.rows[position], position=position)
    return None if short is None else ShortContext(short, size)


def carried_bytes(flat: Mapping[str, Json], memory: Memory, facts: Facts) -> int:
    """Return roughly how many bytes each command has of a flat context."""
    own = flat
    if _named_bytes(memory, facts):
        workload = memory.values.rows[memory.state.workload]
        own = {
            name: value
            for name, value in flat.items()
            if value is not workload and not (name in workload and workload[name] is value)
        }
    return _COPIES * rough_bytes(own)


def _named_bytes(memory: Memory, facts: Facts) -> int:
    """Return the bytes of the workload if commands name it; 0 if they repeat it."""
    most = facts.limits.repeated_workload_bytes
    if not most:
        return 0
    size = memory.values.json_bytes(memory.state.workload, above=most)
    return size if size > most else 0
