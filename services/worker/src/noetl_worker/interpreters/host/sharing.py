"""Let forks share what they only read: a page that one writes to is copied for it alone.

Most of the time of a script that runs in a fresh fork goes into such copies. Two things write to
pages without changing anything there: the count of references in each object, and the
interpreter, which notes in the code of a function how its first calls went.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
from types import CodeType
from typing import TYPE_CHECKING, Any

from .script import ScriptProcess
from .wire import JOB

if TYPE_CHECKING:
    from .traces import Traces

# So often is a function called before the interpreter has noted what it will.
_REHEARSALS = 12
_FIRST_WITH_ETERNAL_OBJECTS = (3, 12)
_SMALLEST_ETERNAL_COUNT = 1 << 30
_FOURS = (1 << 47) // 4  # of bytes that a process may have


def rehearse(traces: Traces) -> None:
    """Run small scripts here, as forks will run them."""
    main = sys.modules["__main__"]
    jobs, job = os.pipe()
    report = os.open(os.devnull, os.O_WRONLY)
    traces.settle(descriptors_closed=0)
    code = make_eternal.__code__
    for number in range(_REHEARSALS):
        traces.begin()
        text = json.dumps(_rehearsal(number)).encode()
        os.write(job, JOB.pack(True, len(text)) + text)
        ScriptProcess(
            job=jobs, report=report, control=-1, parent=0, largest=0, box=None, traces=traces
        ).serve_one()
        traces.are_found(code)
    for descriptor in (jobs, job, report):
        os.close(descriptor)
    sys.modules["__main__"] = main


def _rehearsal(number: int) -> dict[str, Any]:
    return {
        "code": "result = {'number': number}",
        "name": "<start>",
        "args": {"number": number},
        "execution_id": number,
        "step": "start",
        "server_url": "",
        "env": {},
        "cwd": None,
    }


def make_eternal() -> None:
    """Let no object that is here be counted, or freed, any more.

    The interpreter has such objects since Python 3.12: a count above a bound is left as it is.
    Here all get the count of None. With an interpreter that has none nothing is done.
    """
    is_known = sys.implementation.name == "cpython" and sys.maxsize > _FOURS
    if not is_known or sys.version_info < _FIRST_WITH_ETERNAL_OBJECTS:
        return
    # All memory, by fours of bytes: the count is what an object begins with.
    memory = (ctypes.c_uint32 * _FOURS).from_address(0)
    eternal = memory[id(None) // 4]
    if eternal < _SMALLEST_ETERNAL_COUNT:  # of another build, where something else is there
        return
    for one in gc.get_objects():
        memory[id(one) // 4] = eternal
        # Texts, numbers and code are in no list of the collector.
        waiting = gc.get_referents(one)
        while waiting:
            other = waiting.pop()
            place = id(other) // 4
            if memory[place] == eternal or gc.is_tracked(other):
                continue
            memory[place] = eternal
            waiting.extend(
                other.co_consts if isinstance(other, CodeType) else gc.get_referents(other)
            )
