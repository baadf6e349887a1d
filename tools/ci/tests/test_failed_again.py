"""Which tests get a second chance."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from failed_again import ids_of, read_failed

TOP = Path(__file__).parents[3]
FILE = "services/a/tests/test_b.py"


def test_groups_are_no_part_of_an_id() -> None:
    assert ids_of(
        [f"{FILE}::test_c[x@y]@{FILE}", f"{FILE}::test_d@group", f"{FILE}::test_e[x@y]"]
    ) == [
        f"{FILE}::test_c[x@y]",
        f"{FILE}::test_d",
        f"{FILE}::test_e[x@y]",
    ]


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ([], "no test is known"),
        ([f"{FILE}::test_{number}" for number in range(4)], "4 tests failed"),
        ([FILE], "could not be read"),
    ],
)
def test_a_run_that_broke_gets_none(names: list[str], reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        ids_of(names)


@pytest.mark.parametrize(
    ("second", "status"),
    [("assert True", 1), ("pytest.exit('enough')", 2), ("os.kill(os.getpid(), 9)", None)],
)
def test_only_a_run_that_reached_its_end_gets_one(
    tmp_path: Path, second: str, status: int | None
) -> None:
    """What a run that broke off has left out may fail as well."""
    shutil.copy(TOP / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_it.py").write_text(
        "import os, pytest\n"
        "def test_first():\n    assert False\n"
        f"def test_second():\n    {second}\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "cacheprovider"]
    subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, timeout=60)
    cache = tmp_path / ".pytest_cache/v"

    if status == 1:
        assert read_failed(cache) == ["test_it.py::test_first"]
    else:
        with pytest.raises(ValueError, match=f"exit status {status}"):
            read_failed(cache)
