"""The model of writes and commands with small bounds, and each of its rules left out."""

import pytest
from exploration import explore
from explored import MISSING, SMALL, Case, Missing


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)
def test_every_state_keeps_the_promises(case: Case) -> None:
    found = explore(case.bounds)

    assert not found.broken, "\n".join([found.broken, *found.trace])
    assert found.is_whole


@pytest.mark.parametrize(
    "missing", [one for one in MISSING if not one.is_large], ids=lambda missing: missing.name
)
def test_without_a_rule_a_promise_is_broken(missing: Missing) -> None:
    found = explore(missing.bounds, missing.rules)

    assert missing.broken in found.broken
    assert found.trace
    assert not found.is_whole, "it was found on the way, and the rest was not looked at"


def test_each_rule_is_left_out_once() -> None:
    left_out = {
        name
        for missing in MISSING
        for name, is_there in missing.rules._asdict().items()
        if not is_there
    }

    assert left_out == set(MISSING[0].rules._fields)
