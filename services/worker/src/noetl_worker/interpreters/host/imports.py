"""Imports that a playbook names beside the script: `libs`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


def add_imports(namespace: dict[str, Any], libs: Any, *, taken: Collection[str]) -> None:
    """Bind the names of `libs`: a list of modules, or aliases of a module or `{from, import}`.

    What can't be imported stays unknown, as if it were not named: the script says so itself where
    it needs it.

    Args:
        namespace: the script's globals.
        libs: as the playbook has it; what is no name in it is passed over.
        taken: names of arguments, which win.
    """
    for alias, module, attribute in _wanted(libs):
        if alias in taken:
            continue
        try:
            found = importlib.import_module(module)
            namespace[alias] = found if attribute is None else getattr(found, attribute)
        except (ImportError, AttributeError, ValueError):
            continue


def _wanted(libs: Any) -> Iterator[tuple[str, str, str | None]]:
    """Yield names with their module, and the name in it."""
    if isinstance(libs, list):
        for module in libs:
            if isinstance(module, str):
                # As `import a.b` does it.
                root = module.partition(".")[0]
                yield root, root, None
    elif isinstance(libs, dict):
        for alias, given in libs.items():
            if isinstance(given, str):
                yield alias, given, None
            elif isinstance(given, dict) and isinstance(given.get("from"), str):
                name = given.get("import")
                if isinstance(name, str):
                    yield alias, given["from"], name
