"""Makes the oracle importable: the test folders of several packages are no packages."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--templates", type=int, default=1500, help="random templates to compare")


@pytest.fixture(scope="session")
def template_count(request: pytest.FixtureRequest) -> int:
    return request.config.getoption("--templates", default=1500)
