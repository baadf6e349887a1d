"""Whether a script leaves traces in its process.

Only a script that provably touches nothing beyond its own namespace shares its process with
the next one; any doubt costs a fork of two milliseconds and nothing else. The reading of the
text is therefore crude and strict: known modules only, no assignment to attributes of others,
no private names, none of the functions that reach further. What the text cannot show
(threads, files, environment, open descriptors) is looked at after the run.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import importlib
import os
import resource
import sys
import threading
from typing import Any

# Modules without state that a plain call could change.
_HARMLESS = frozenset(
    {
        "__future__", "abc", "base64", "binascii", "bisect", "collections", "copy",
        "dataclasses", "datetime", "decimal", "enum", "fractions", "functools", "hashlib",
        "heapq", "hmac", "html", "io", "itertools", "json", "math", "numbers", "operator",
        "pprint", "random", "re", "secrets", "statistics", "string", "struct", "textwrap",
        "time", "typing", "unicodedata", "uuid", "zlib",
    }
)  # fmt: skip
_ALLOWED_ATTRIBUTES = {
    "os": frozenset({"environ", "getcwd", "getenv", "getpid", "linesep", "path", "sep", "urandom"}),
    "sys": frozenset(
        {"argv", "byteorder", "exit", "getsizeof", "maxsize", "platform", "version",
         "version_info"}
    ),
    "urllib": frozenset({"parse"}),
}  # fmt: skip
_FAR_REACHING = frozenset(
    {
        "__builtins__", "__import__", "breakpoint", "compile", "delattr", "eval", "exec", "getattr",
        "globals", "input", "locals", "open", "setattr", "vars",
    }
)  # fmt: skip
_GROWTH_LIMIT_KB = 64 << 10

__all__ = ["Traces", "load_harmless_modules", "reads_harmless"]


def load_harmless_modules() -> None:
    """Import what scripts import most; a module already there leaves no trace."""
    for name in (*_HARMLESS, "_strptime", "urllib.parse"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def reads_harmless(tree: ast.Module) -> bool:
    """Tell whether the text can reach nothing beyond its own namespace."""
    watched: set[str] = set()  # names bound to modules of which only some attributes may be used
    nodes = list(ast.walk(tree))
    return all(_import_is_harmless(node, watched) for node in nodes) and all(
        _node_is_harmless(node, watched) for node in nodes
    )


def _import_is_harmless(node: ast.AST, watched: set[str]) -> bool:
    if isinstance(node, ast.Import):
        return all(_module_is_harmless(alias, watched) for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        module = node.module or ""
        if node.level or any(alias.name == "*" for alias in node.names):
            return False
        # Not what is inside of packages: some of that can be changed without an attribute.
        if module in _HARMLESS or module in {"collections.abc", "os.path", "urllib.parse"}:
            return True
        allowed = _ALLOWED_ATTRIBUTES.get(module, frozenset())
        return all(alias.name in allowed and alias.name != "environ" for alias in node.names)
    return True


def _module_is_harmless(alias: ast.alias, watched: set[str]) -> bool:
    root = alias.name.partition(".")[0]
    if root in _HARMLESS:
        return True
    if alias.name not in {"os", "os.path", "sys", "urllib.parse"}:
        return False
    if alias.asname is not None:
        return False
    watched.add(root)
    return True


def _node_is_harmless(node: ast.AST, watched: set[str]) -> bool:
    if isinstance(node, ast.Attribute):
        return _attribute_is_harmless(node, watched)
    if isinstance(node, ast.Name):
        renamed = node.id == "self" and not isinstance(node.ctx, ast.Load)
        return node.id not in _FAR_REACHING and not renamed
    if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
        return not isinstance(node.value, ast.Attribute) or _is_own(node.value)
    if isinstance(node, (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)):
        return False
    if isinstance(node, ast.FunctionDef):
        return node.name != "__del__"
    return True


def _attribute_is_harmless(node: ast.Attribute, watched: set[str]) -> bool:
    own = _is_own(node)
    if node.attr.startswith("_") and not own:
        return node.attr in {"__init__", "__name__"} and isinstance(node.ctx, ast.Load)
    if not isinstance(node.ctx, ast.Load):
        return own
    base = node.value
    # `sys` is bound in every script, imported or not.
    if isinstance(base, ast.Name) and (base.id in watched or base.id == "sys"):
        return node.attr in _ALLOWED_ATTRIBUTES[base.id]
    return True


def _is_own(node: ast.Attribute) -> bool:
    return (
        isinstance(node.value, ast.Name)
        and node.value.id == "self"
        and not node.attr.startswith("__")
    )


class Traces:
    """What a process looks like before its first script; compared after each.

    Made by the zygote and shared by its forks: copying so much in each would cost more than
    the fork.
    """

    def __init__(self, *, jobs_limit: int) -> None:
        self._jobs_left = jobs_limit
        self._directory = os.getcwd()  # noqa: PTH109
        self._environment = dict(os.environ)
        self._modules = len(sys.modules)
        self._dicts: list[tuple[dict[str, Any], dict[str, Any]]] = [
            (module.__dict__, dict(module.__dict__))
            for name, module in list(sys.modules.items())
            if name in _HARMLESS or name in {"builtins", "os", "posixpath", "sys"}
        ]
        self._begun = False
        self._streams = (sys.stdout, sys.stderr)
        self._descriptors = 0
        self._size = 0

    def begin(self) -> None:
        """Look at what is this process's own, before the first script that may share it."""
        if self._begun:
            return
        self._begun = True
        self._descriptors = _open_descriptors()
        self._size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        gc.freeze()  # the collection after each script looks at the script's objects only

    def are_found(self) -> bool:
        """Tell whether the last script changed the process."""
        self._jobs_left -= 1
        gc.collect()  # its finalizers run now, not within the next script
        return (
            self._jobs_left <= 0
            or len(sys.modules) != self._modules
            or (sys.stdout, sys.stderr) != self._streams
            or sys.stdout.closed
            or sys.stderr.closed
            or threading.active_count() != 1
            or os.environ != self._environment
            or self._has_children()
            or self._has_files()
            or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > self._size + _GROWTH_LIMIT_KB
            or any(now != before for now, before in self._dicts)
        )

    def _has_files(self) -> bool:
        if os.getcwd() != self._directory or os.listdir("."):  # noqa: PTH109, PTH208
            return True
        return _open_descriptors() != self._descriptors

    @staticmethod
    def _has_children() -> bool:
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        return True


def _open_descriptors() -> int:
    # The faster one of two ways; pathlib costs four times as much.
    return len(os.listdir("/proc/self/fd")) if _HAS_PROC else 0  # noqa: PTH208


_HAS_PROC = os.path.isdir("/proc/self/fd")  # noqa: PTH112
