"""Fixtures of this package; its modules beside this one are imported by name."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "src")]

from snow_bench import bench, fakesnow, keys, server  # noqa: E402  needs the path

__all__ = ["bench", "fakesnow", "keys", "server"]
