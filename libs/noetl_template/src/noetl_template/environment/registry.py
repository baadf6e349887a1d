"""A table of filters or tests that lets templates name unknown ones."""

from collections.abc import Callable
from typing import Any, override


class Registry(dict[str, Callable[..., Any]]):
    """Finds something for every name, so that only *using* an unknown one is an error.

    Jinja's compiler asks with ``get`` and refuses the template on ``None``; the reference accepts
    unknown names in branches that are never taken.
    """

    @override
    def get(self, key: str, default: Any = None, /) -> Callable[..., Any]:
        return super().get(key, _unknown)


def _unknown(*_args: Any) -> None:
    """Never called: generated code looks the name up again and raises by itself."""
