"""The simulated way to the database gives our stores what asyncpg's pool gives them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from noetl_pg.pool import open_pool
from noetl_pg.settings import PostgresSettings
from noetl_testkit.postgres import Database

from tests.simulation.database_cases import CASES

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def simulated() -> Any:
    """Results of the simulated pool, in a process whose clocks are virtual."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation.database_cases"],
        cwd=_ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", list(CASES))
async def test_the_simulated_pool_does_what_asyncpg_s_does(
    name: str, database: Database, simulated: Any
) -> None:
    async with open_pool(PostgresSettings(**database.settings), name="cases") as pool:
        real = await CASES[name](pool)

    assert json.loads(json.dumps(real)) == simulated[name]
