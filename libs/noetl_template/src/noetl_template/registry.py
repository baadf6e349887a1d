"""Filters and tests by name; an unknown one fails when it is used, not at compile time."""

from collections.abc import Callable
from typing import override

from noetl_template.values import Value


class Registry(dict[str, Callable[..., Value]]):
    """Finds something for every name, so that only *using* an unknown one is an error.

    Jinja's compiler asks with ``get`` and refuses the template on ``None``; the original server
    accepts unknown names in branches that are never taken.
    """

    @override
    def get(self, key: str, default: Value = None, /) -> Callable[..., Value]:
        return super().get(key, _unknown)


def _unknown(*_args: Value) -> None:
    """Never called: generated code looks the name up again and raises by itself."""
