"""Filters and tests by name; an unknown one fails when it is used, not at compile time."""

from collections.abc import Callable
from typing import override

from noetl_template.values import Value

type Operation = Callable[..., Value]
"""A filter or test: a function of the render context, the value and the arguments."""


class Registry(dict[str, Operation]):
    """Finds something for every name, so that only *using* an unknown one is an error.

    Jinja's compiler asks with ``get`` and refuses the template on ``None``; the original server
    accepts unknown names in branches that are never taken.
    """

    @override
    def get(self, key: str, default: Value = None, /) -> Operation:
        return super().get(key, _unknown)


def _unknown(*_args: Value) -> None:
    """Never called: generated code looks the name up again and raises by itself."""
