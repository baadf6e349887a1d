"""L8: a worker that dies between `call.done` and `command.completed` costs no second run."""

from pathlib import Path

import pytest
from noetl_testkit.stack import Stack
from recorded import kill_many

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("over_http", [True, False], ids=["contract's HTTP", "messages"])
def test_l8_a_killed_worker_s_result_counts(
    nats_stack: Stack, tmp_path: Path, *, over_http: bool
) -> None:
    found = kill_many(nats_stack, tmp_path / "runs", over_http=over_http, kills=4)

    assert (found.kills, found.statuses) == (4, {"COMPLETED": 2})
    assert found.runs.total() == len(found.runs) == 4
