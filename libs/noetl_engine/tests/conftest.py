"""Makes the driver importable: the test folders of several packages are no packages."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--graphs", type=int, default=600, help="random graphs of each kind")


@pytest.fixture(scope="session")
def graph_count(request: pytest.FixtureRequest) -> int:
    return request.config.getoption("--graphs", default=600)
