"""One kill of each process under load; the long version is ``make chaos``."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.e2e
@pytest.mark.timeout(400)
def test_nothing_is_lost_when_every_process_is_killed_once() -> None:
    script = Path(__file__).with_name("chaos.py")

    done = subprocess.run(
        [sys.executable, str(script), "--rounds", "1", "--pause", "2"],
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
