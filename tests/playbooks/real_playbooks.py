"""The real playbooks beside the checkout, for tests that may use them when they are there."""

from pathlib import Path

import pytest

DATABASE = "demo_noetl"
"""The database that the playbooks' credentials lead to."""
FOLDER = Path(__file__).parents[3] / "shared" / "playbooks"


def read(name: str) -> str:
    """Return a real playbook's text, or skip the test where the material is not there."""
    path = FOLDER / name
    if not path.exists():
        pytest.skip("the contract material is not beside this checkout")
    return path.read_text()
