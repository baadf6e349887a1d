"""System calls of scripts: a seccomp filter, for what Landlock has no rules.

Calls that change other processes of the same user, namespaces, or memory that outlives who made
it. They are refused like calls without the right to them, so that programs go on. Our own tables
for two architectures, because the library that would write the filter has to be on the machine.

It is taken on once, by the process from which all scripts are forked, which needs none of these
calls: a start costs nothing more. The kernel remembers which calls are always let through.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_INSTRUCTION: Final = struct.Struct("=HBBI")
_LOAD, _EQUAL, _ANY_BIT, _NOT_LESS, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # places in what the filter is shown
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_REFUSE, _UNKNOWN = _ERROR | errno.EPERM, _ERROR | errno.ENOSYS

_SET_FILTER, _IS_KNOWN, _KEEP_SPECULATION = 1, 2, 4
# Where a process of another kind on x86-64 has its calls.
_X32 = 0x40000000
_NAMESPACES = 0x7E020000
_TIME_NAMESPACE = 0x80

# By machine: the kernel's word for it, the number of `seccomp`, those of the calls.
MACHINES: Final[dict[str, tuple[int, int, dict[str, int]]]] = {
    "x86_64": (0xC000003E, 317, {
        "prlimit64": 302, "setpriority": 141, "ioprio_set": 251, "sched_setaffinity": 203,
        "sched_setscheduler": 144, "sched_setparam": 142, "sched_setattr": 314, "move_pages": 279,
        "clone": 56, "unshare": 272, "setns": 308, "mount": 165, "umount2": 166,
        "pivot_root": 155, "shmget": 29, "shmat": 30, "shmctl": 31, "semget": 64, "semop": 65,
        "semctl": 66, "semtimedop": 220, "msgget": 68, "msgsnd": 69, "msgrcv": 70, "msgctl": 71,
        "mq_open": 240, "add_key": 248, "request_key": 249, "keyctl": 250, "ptrace": 101,
        "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "perf_event_open": 298,
        "bpf": 321, "userfaultfd": 323, "migrate_pages": 256,
    }),
    "aarch64": (0xC00000B7, 277, {
        "prlimit64": 261, "setpriority": 140, "ioprio_set": 30, "sched_setaffinity": 122,
        "sched_setscheduler": 119, "sched_setparam": 118, "sched_setattr": 274, "move_pages": 239,
        "clone": 220, "unshare": 97, "setns": 268, "mount": 40, "umount2": 39,
        "pivot_root": 41, "shmget": 194, "shmat": 196, "shmctl": 195, "semget": 190, "semop": 193,
        "semctl": 191, "semtimedop": 192, "msgget": 186, "msgsnd": 189, "msgrcv": 188,
        "msgctl": 187, "mq_open": 180, "add_key": 217, "request_key": 218, "keyctl": 219,
        "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272,
        "perf_event_open": 241, "bpf": 280, "userfaultfd": 282, "migrate_pages": 238,
    }),
}  # fmt: skip
# Calls that came later have one number everywhere.
COMMON: Final[dict[str, int]] = {
    "clone3": 435, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432,
    "fspick": 433, "pidfd_getfd": 438, "process_madvise": 440, "mount_setattr": 442,
    "process_mrelease": 448,
}  # fmt: skip
# Libraries have another way where the kernel doesn't know them: `clone` shows its flags here.
_NEW_WAYS = ("clone3", "io_uring_setup", "io_uring_enter", "io_uring_register")


def _if_zero(*arguments: int) -> Callable[[int], list[bytes]]:
    """Let a call through whose numbers are 0: the caller itself."""
    return _if(*((_load(one), _EQUAL, 0, True) for one in arguments))


def _if_equal(argument: int, value: int, zero: int) -> Callable[[int], list[bytes]]:
    return _if((_load(argument), _EQUAL, value, True), (_load(zero), _EQUAL, 0, True))


def _unless_any(argument: int, bits: int) -> Callable[[int], list[bytes]]:
    return _if((_load(argument), _ANY_BIT, bits, False))


def _if(*tests: tuple[bytes, int, int, bool]) -> Callable[[int], list[bytes]]:
    """Return the code of a rule: let through if all tests come out as they should."""

    def code(number: int) -> list[bytes]:
        inside: list[bytes] = []
        for index, (load, kind, value, wanted) in enumerate(tests):
            # Over the tests that are left, and what lets through.
            out = 2 * (len(tests) - index - 1) + 1
            yes, no = (0, out) if wanted else (out, 0)
            inside += [load, _INSTRUCTION.pack(kind, yes, no, value)]
        inside += [_result(_ALLOW), _result(_REFUSE)]
        return [_INSTRUCTION.pack(_EQUAL, 0, len(inside), number), *inside]

    return code


def _always(result: int) -> Callable[[int], list[bytes]]:
    return lambda number: [_INSTRUCTION.pack(_EQUAL, 0, 1, number), _result(result)]


def _load(argument: int) -> bytes:
    # Its lower half, which is all that the kernel takes of these.
    return _INSTRUCTION.pack(_LOAD, 0, 0, _ARGUMENTS + 8 * argument)


def _result(value: int) -> bytes:
    return _INSTRUCTION.pack(_RETURN, 0, 0, value)


_CONDITIONS: Final[dict[str, Callable[[int], list[bytes]]]] = {
    "prlimit64": _if_zero(0),
    "sched_setaffinity": _if_zero(0),
    "sched_setscheduler": _if_zero(0),
    "sched_setparam": _if_zero(0),
    "sched_setattr": _if_zero(0),
    "move_pages": _if_zero(0),
    # One process, not a group or all of the user: the caller.
    "setpriority": _if_zero(0, 1),
    "ioprio_set": _if_equal(0, 1, 1),
    "clone": _unless_any(0, _NAMESPACES),
    "unshare": _unless_any(0, _NAMESPACES | _TIME_NAMESPACE),
    **dict.fromkeys(_NEW_WAYS, _always(_UNKNOWN)),
}


def program(machine: str) -> bytes:
    """Return the filter for a machine, as the kernel takes it."""
    architecture, _, table = MACHINES[machine]
    code = [
        _INSTRUCTION.pack(_LOAD, 0, 0, _ARCHITECTURE),
        _INSTRUCTION.pack(_EQUAL, 1, 0, architecture),
        _result(_UNKNOWN),
        _INSTRUCTION.pack(_LOAD, 0, 0, _NUMBER),
    ]
    if machine == "x86_64":
        code += [_INSTRUCTION.pack(_NOT_LESS, 0, 1, _X32), _result(_UNKNOWN)]
    for name, number in {**table, **COMMON}.items():
        code += _CONDITIONS.get(name, _always(_REFUSE))(number)
    return b"".join((*code, _result(_ALLOW)))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def can_filter() -> bool:
    """Return whether the kernel has filters, and we one for this machine."""
    return bool(_seccomp(_IS_KNOWN, 0, ctypes.byref(ctypes.c_uint32(_ERROR))) == 0)


def refuse_calls() -> None:
    """Take on the filter, for this process and all it starts, for good.

    Without filters in the kernel nothing happens. It must have given up new privileges.

    Raises:
        OSError: the kernel has filters and doesn't take this one.
    """
    if not can_filter():
        return
    code = program(os.uname().machine)
    given = ctypes.byref(_Program(len(code) // _INSTRUCTION.size, code))
    # Without the flag older kernels make a filtered process slower; still older ones don't know it.
    if _seccomp(_SET_FILTER, _KEEP_SPECULATION, given) and _seccomp(_SET_FILTER, 0, given):
        code_of_error = ctypes.get_errno()
        raise OSError(code_of_error, os.strerror(code_of_error))


def _seccomp(operation: int, flags: int, argument: Any) -> int:
    known = MACHINES.get(os.uname().machine)
    if known is None:
        return -1
    try:
        libc = ctypes.CDLL(None, use_errno=True)
    except OSError:  # another system
        return -1
    result: int = libc.syscall(known[1], operation, flags, argument)
    return result
