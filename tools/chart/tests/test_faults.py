"""Each check of the chart finds what it is for, and nothing in the chart as it is."""

from collections.abc import Callable

import pytest
from check import CHECKS
from faults import FAULTS, Fault
from manifests import Manifests

# One process renders for all.
pytestmark = pytest.mark.xdist_group("chart")


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_found(fault: Fault, rendered: Callable[[str], Manifests]) -> None:
    manifests = rendered(fault.values)

    assert list(fault.check(manifests)) == []
    found = list(fault.check(fault.planted(manifests)))
    assert any(fault.told in finding for finding in found), found


def test_each_check_has_a_fault() -> None:
    assert {fault.check for fault in FAULTS.values()} == set(CHECKS)
