"""Confinement of scripts: the kernel's Landlock, and fewer capabilities.

The rules are made once per zygote and taken on by each script process with one call, so a start
costs next to nothing. Without Landlock, or with an older one, what is missing is left out.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import struct
import sys
from typing import Any

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH, _NET_PORT = 1, 2
_PATH_RULE = struct.Struct("=Qi")
_PORT_RULE = struct.Struct("=QQ")

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_CHANGES = ((1 << 13) - 1) & ~_READ  # what the first version knows
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_BIND, _CONNECT = 1, 1 << 1
_SCOPES = 1 | 1 << 1  # abstract sockets, signals

_FILES_FROM, _REFER_FROM, _TRUNCATE_FROM, _NETWORK_FROM, _SCOPES_FROM = 1, 2, 3, 4, 6

_PR_SET_NO_NEW_PRIVS = 38
_PR_CAPBSET_DROP = 24
_CAPABILITY_VERSION = 0x20080522
_LAST_CAPABILITY = 40
# Of root's: owners and modes of files, signals, other users, low ports. Raw sockets would
# see what passes between the services of this machine, with their passwords.
_KEPT_CAPABILITIES = frozenset((0, 1, 3, 4, 5, 6, 7, 10))

SYSTEM_PATHS = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/etc", "/proc", "/sys")
# Files that programs read by names in /etc, where these are links.
_LINKED = ("/etc/resolv.conf", "/etc/hosts", "/etc/localtime", "/etc/ssl/certs")
_DEVICES = (
    "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx",
    "/dev/pts",
)  # fmt: skip


def _find_libc() -> Any:
    try:
        return ctypes.CDLL(None, use_errno=True)
    except OSError:  # another system
        return None


_libc = _find_libc()


def landlock_version() -> int:
    """Return the version of the kernel's Landlock; 0: there is none."""
    if _libc is None or not sys.platform.startswith("linux"):
        return 0
    version: int = _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_FLAG)
    return max(version, 0)


def features(version: int, *, limits_network: bool) -> dict[str, bool]:
    """Return the rules that a version of Landlock enforces, by name."""
    return {
        "files": version >= _FILES_FROM,
        "neighbours": version >= _FILES_FROM,
        "network": version >= _NETWORK_FROM and limits_network,
        "signals": version >= _SCOPES_FROM,
    }


class Box:
    """The rules of the scripts of one zygote.

    Args:
        own: their directory, where they may do anything.
        read: further paths to read.
        write: further paths to change.
        ports: TCP ports to connect to or to listen at; None: all.
    """

    def __init__(
        self, own: str, *, read: list[str], write: list[str], ports: list[int] | None
    ) -> None:
        self._rules = -1
        self._handled = 0
        version = landlock_version()
        if not version:
            return
        handled = _READ | _CHANGES  # all that this version knows of
        if version >= _REFER_FROM:
            handled |= _REFER
        if version >= _TRUNCATE_FROM:
            handled |= _TRUNCATE
        self._handled = handled
        network = _BIND | _CONNECT if version >= _NETWORK_FROM and ports is not None else 0
        self._rules = _create(
            handled,
            network=network if version >= _NETWORK_FROM else None,
            scopes=_SCOPES if version >= _SCOPES_FROM else None,
        )
        for path in readable_paths(read):
            self._allow(path, _READ)
        for path in (*_DEVICES, *write, own):
            self._allow(path, handled)
        for port in ports or () if network else ():
            _call(_ADD_RULE, self._rules, _NET_PORT, _PORT_RULE.pack(network, port), 0)

    def allow_exactly(self, path: str) -> None:
        """Let a directory be changed, unless a link on the way leads elsewhere by now.

        Args:
            path: absolute and without links when it was looked at.
        """
        if self._rules >= 0:
            self._allow(path, self._handled, is_exact=True)

    def close_in(self) -> None:
        """Take on the rules, for this process and all it starts, for good."""
        if self._rules >= 0:
            _call(_RESTRICT_SELF, self._rules, 0)
            os.close(self._rules)

    @property
    def descriptors(self) -> int:
        """Number of open files that `close_in` closes."""
        return int(self._rules >= 0)

    def _allow(self, path: str, access: int, *, is_exact: bool = False) -> None:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return  # nothing there to allow
        try:
            if is_exact and os.readlink(f"/proc/self/fd/{place}") != path:  # noqa: PTH115  the host avoids pathlib
                return
            if not stat.S_ISDIR(os.fstat(place).st_mode):
                access &= _OF_FILES
            _call(_ADD_RULE, self._rules, _PATH_BENEATH, _PATH_RULE.pack(access, place), 0)
        finally:
            os.close(place)


def readable_paths(extra: list[str]) -> list[str]:
    """Return the paths that every script may read: system, this interpreter, programs of `PATH`."""
    found = dict.fromkeys((*SYSTEM_PATHS, *extra))
    found.update(dict.fromkeys((sys.prefix, sys.base_prefix, sys.exec_prefix)))
    found.update(dict.fromkeys(path for path in sys.path if os.path.isabs(path)))  # noqa: PTH117  the host avoids pathlib
    found.update(
        dict.fromkeys(
            path
            for path in os.environ.get("PATH", "").split(os.pathsep)
            if os.path.isabs(path)  # noqa: PTH117  as above
        )
    )
    found.update(dict.fromkeys(os.path.realpath(path) for path in _LINKED))
    found.pop("/", None)
    return list(found)


def give_up_privileges() -> None:
    """Keep no right to gain privileges, and of root's capabilities those for files and users."""
    if _libc is None:
        return
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.geteuid() != 0 or not sys.platform.startswith("linux"):
        return
    kept = [0, 0]
    for number in range(_LAST_CAPABILITY + 1):
        if number in _KEPT_CAPABILITIES:
            kept[number // 32] |= 1 << number % 32
        else:
            _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    held = _held_capabilities()
    words = [word & held >> 32 * index & 0xFFFFFFFF for index, word in enumerate(kept)]
    data = b"".join(struct.pack("=III", word, word, 0) for word in words)
    _libc.capset(header, data)


def _held_capabilities() -> int:
    with contextlib.suppress(OSError), open("/proc/self/status", "rb") as file:  # noqa: PTH123  as above
        for line in file:
            if line.startswith(b"CapPrm:"):
                return int(line.split()[1], 16)
    return 0


def _create(files: int, *, network: int | None, scopes: int | None) -> int:
    words = [files]
    if network is not None:
        words.append(network)
    if scopes is not None:
        words.append(scopes)
    attributes = struct.pack(f"={len(words)}Q", *words)
    return _call(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)


def _call(number: int, *arguments: object) -> int:
    result: int = _libc.syscall(number, *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
