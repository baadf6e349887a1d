"""Modules that each service would have loaded, and the metrics that it wouldn't have."""

import builtins
import importlib
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, Self

from noetl_common import metrics

_OURS = "noetl"


class Loading:
    """Records the imports and the metrics of modules, for the length of a block.

    A process with several services loaded has the metrics of all of them; each fork keeps those
    of the modules that it would have loaded itself.
    """

    def __init__(self) -> None:
        self._imports: defaultdict[str, set[str]] = defaultdict(set)
        self._makers: defaultdict[str, set[str]] = defaultdict(set)
        self._real: dict[str, Callable[..., Any]] = {}
        self._real_import = builtins.__import__

    def __enter__(self) -> Self:
        builtins.__import__ = self._noted_import
        for kind in ("counter", "gauge", "histogram"):
            self._real[kind] = getattr(metrics, kind)
            setattr(metrics, kind, self._noting(self._real[kind]))
        return self

    def __exit__(self, *_: object) -> None:
        builtins.__import__ = self._real_import
        for kind, real in self._real.items():
            setattr(metrics, kind, real)

    def load(self, module: str, *, by: str = "") -> None:
        """Load a module now, which another one would load only when it runs."""
        importlib.import_module(module)
        self._imports[by].add(module)

    def keep(self, module: str) -> None:
        """Forget the metrics that a process of this module wouldn't have."""
        reached: set[str] = set()
        following = [module]
        while following:
            name = following.pop()
            if name not in reached:
                reached.add(name)
                following += self._imports[name]
        registry = vars(metrics)["REGISTRY"]
        for name, makers in self._makers.items():
            found = registry._names_to_collectors.get(name)  # noqa: SLF001 -- as in metrics
            if found is not None and not makers & reached:
                registry.unregister(found)

    def _noted_import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002 -- so named by Python
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        found = self._real_import(name, globals, locals, fromlist or (), level)
        by = str((globals or {}).get("__name__", ""))
        if by.startswith(_OURS) and name.startswith(_OURS):
            self._imports[by].update(_modules(name, fromlist or ()))
        return found

    def _noting(self, make: Callable[..., Any]) -> Callable[..., Any]:
        def making(name: str, *arguments: Any, **options: Any) -> object:
            self._makers[name].add(sys._getframe(1).f_globals["__name__"])  # noqa: SLF001
            return make(name, *arguments, **options)

        return making


def _modules(name: str, fromlist: Iterable[str]) -> Iterable[str]:
    """Yield a module with its packages, and the names in it that are modules."""
    parts = name.split(".")
    yield from (".".join(parts[:length]) for length in range(1, len(parts) + 1))
    yield from (full for one in fromlist if (full := f"{name}.{one}") in sys.modules)
