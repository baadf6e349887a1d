"""Some hundred random requests to all routes; `make access-fuzz` sends thousands."""

import fuzz_routes
import pytest
from noetl_testkit.stack import running_stack


@pytest.mark.slow
async def test_random_callers_break_nothing() -> None:
    with running_stack(environment=fuzz_routes.ENVIRONMENT) as stack:
        found = await fuzz_routes.fuzz(stack, cases=800, seed=7)
        restarts = {name: one["restarts"] for name, one in stack.services().items()}

    assert not found.failures
    assert not any(restarts.values())
    assert found.statuses[200] > 30
    assert found.statuses[403] > 30
    assert found.statuses[421] > 10
