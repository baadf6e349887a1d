"""Which tests get a second chance."""

import re

import pytest
from failed_again import ids_of

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
