"""Patterns of LIKE for paths."""

import re
from collections.abc import Iterable

_WILD = re.compile(r"[\\%_]")


def patterns_below(stems: Iterable[str]) -> list[str]:
    """Return LIKE patterns of paths, a slash behind them, that are below one of the stems."""
    return [_WILD.sub(r"\\\g<0>", stem) + "/%" for stem in stems]
