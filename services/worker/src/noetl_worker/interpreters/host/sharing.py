"""Let forks share pages that they only read: a page that one writes to is copied for it alone.

Most of the time of a script that runs in a fresh fork goes into such copies. Two things write to
pages without changing anything there: the count of references in each object, which
:mod:`noetl_worker.interpreters.host.shortcuts` stops, and the interpreter, which notes in the code
of a function how its first calls went.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from noetl_worker.hosting.host.wire import HEAD
from noetl_worker.interpreters.host.script import ScriptProcess

if TYPE_CHECKING:
    from noetl_worker.interpreters.host.traces import Traces

# So often is a function called before the interpreter has noted what it will.
_REHEARSALS = 12


def rehearse(traces: Traces) -> None:
    """Run small scripts here, as forks will run them."""
    main = sys.modules["__main__"]
    jobs, job = os.pipe()
    report = os.open(os.devnull, os.O_WRONLY)
    traces.settle(descriptors_closed=0)
    code = rehearse.__code__
    for number in range(_REHEARSALS):
        traces.begin()
        text = json.dumps(_rehearsal(number)).encode()
        os.write(job, HEAD.pack(True, len(text)) + text)
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
