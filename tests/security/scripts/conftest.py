"""These attacks are refused by the kernel, where it has Landlock."""

import sys
from pathlib import Path

import pytest
from noetl_worker.hosting.host.box import landlock_version

sys.path.insert(0, str(Path(__file__).parent))

_NEEDED = 6


@pytest.fixture
def landlock() -> int:
    """Return the version of Landlock; skip without the one that scopes signals."""
    version = landlock_version()
    if version < _NEEDED:
        pytest.skip(f"the kernel has Landlock of version {version}, this needs {_NEEDED}")
    return version
