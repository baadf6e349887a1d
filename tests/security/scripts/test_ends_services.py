"""A script limits, slows down or moves the processes of the stack, or leaves memory behind.

All that these calls ask for is the same user, which the local stack's services have.
"""

import httpx
import pytest
from noetl_testkit.stack import Stack
from noetl_testkit.waiting import PATIENCE_SECONDS
from noetl_worker.hosting.host.calls import can_filter
from steps import pids, python_step, result_of

pytestmark = pytest.mark.skipif(not can_filter(), reason="the kernel has no filters")

_ALL = """
import os, resource
def tried(what, *given):
    try:
        what(*given)
        return "done"
    except OSError as error:
        return type(error).__name__
everybody = [*pids, os.getppid()]
for pid in list(everybody):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("PPid") and int(line.split()[1]) > 1:
            everybody.append(int(line.split()[1]))
result = {}
for pid in everybody:
    # As they are, so that nothing comes of it where it is not refused.
    affinity, nice = os.sched_getaffinity(pid), os.getpriority(os.PRIO_PROCESS, pid)
    result[str(pid)] = sorted({
        tried(resource.prlimit, pid, resource.RLIMIT_CPU),
        tried(resource.prlimit, pid, resource.RLIMIT_CPU, (-1, -1)),
        tried(os.setpriority, os.PRIO_PROCESS, pid, nice),
        tried(os.setpriority, os.PRIO_PGRP, os.getpgid(pid), nice),
        tried(os.sched_setaffinity, pid, affinity),
        tried(os.sched_setscheduler, pid, os.SCHED_OTHER, os.sched_param(0)),
        tried(os.sched_setparam, pid, os.sched_param(0)),
    })
"""
_MEMORY = """
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
made = {"memory": libc.shmget(0, 1 << 20, 0o1600), "semaphores": libc.semget(0, 1, 0o1600),
        "messages": libc.msgget(0, 0o1600)}
for name, remove in (("memory", libc.shmctl), ("messages", libc.msgctl)):
    if made[name] >= 0:
        remove(made[name], 0, None)
if made["semaphores"] >= 0:
    libc.semctl(made["semaphores"], 0, 0)
result = made
"""


def test_limits_and_priorities_of_services_stay(nats_stack: Stack) -> None:
    found = nats_stack_result(nats_stack, "limits", _ALL, pids=list(pids(nats_stack).values()))

    assert len(found) > len(pids(nats_stack))
    assert {name for names in found.values() for name in names} == {"PermissionError"}


def test_no_memory_of_the_kernel_s_is_left(nats_stack: Stack) -> None:
    found = nats_stack_result(nats_stack, "memory", _MEMORY)

    assert found == {"memory": -1, "semaphores": -1, "messages": -1}


def test_the_worker_tells_that_calls_are_refused(nats_stack: Stack) -> None:
    port = nats_stack.services()["worker"]["port"]
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_SECONDS).text

    assert 'noetl_worker_script_isolation{feature="calls"} 1.0' in text


def nats_stack_result(stack: Stack, name: str, code: str, **arguments: object) -> dict[str, object]:
    path = f"security/scripts/{name}"
    with stack.client() as client:
        return dict(result_of(client, path, python_step(path, code, **arguments)))
