"""Makes driver and texts importable: the test folders of several packages are no packages."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "playbook")]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--worlds", type=int, default=60, help="random executions with faults")


@pytest.fixture(scope="session")
def world_count(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--worlds", default=60))
