import subprocess
import sys

import pytest
from noetl_testkit.waiting import PATIENCE_SECONDS

_PROGRAM = """
import sys, threading
from noetl_common.process.program import ending_at_once

threading.Thread(target=threading.Event().wait).start()
with ending_at_once():
    print("told")
    {end}
"""


@pytest.mark.parametrize(
    ("end", "code", "error"),
    [
        ("sys.exit(3)", 3, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit('bad')", 1, "bad\n"),
    ],
)
def test_a_process_ends_with_its_code_and_output_beside_a_thread_that_hangs(
    end: str, code: int, error: str
) -> None:
    program = [sys.executable, "-c", _PROGRAM.format(end=end)]

    done = subprocess.run(
        program, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (code, "told\n", error)
