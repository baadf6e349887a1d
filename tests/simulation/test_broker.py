"""The simulated broker does what a real one does, as far as our bus can see."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from noetl_bus.broker import connect
from noetl_testkit.bus import nats_settings

from tests.simulation.broker_cases import CASES

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def simulated() -> Any:
    """Results of the simulated broker, in a process whose clocks are virtual."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation.broker_cases"],
        cwd=_ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", list(CASES))
async def test_the_simulated_broker_does_what_a_real_one_does(
    name: str, nats_url: str, simulated: Any
) -> None:
    settings = nats_settings(nats_url)
    async with connect(settings, name="one") as one, connect(settings, name="two") as two:
        real = await CASES[name](one, two)

    assert json.loads(json.dumps(real)) == simulated[name]
