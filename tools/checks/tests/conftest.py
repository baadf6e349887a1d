"""A checkout to plant faults in."""

from collections.abc import Callable
from pathlib import Path

import pytest

type Plant = Callable[[str, str], None]


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """Return a function that writes a file of the checkout ``tmp_path``."""

    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write
