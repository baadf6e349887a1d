"""The states of a run, and what leads from one to the next."""

import orjson
import pytest
from noetl_worker.commands import command_of, decode_notification
from noetl_worker.transports.fast.run import IllegalTransition, Run, RunState
from worker_control_plane import make_command, make_notification

LEGAL = {
    "fresh": "started lost reported",
    "started": "claimed lost reported",
    "claimed": "lost reported",
    "lost": "lost",
    "reported": "refused",
    "refused": "",
}


@pytest.mark.parametrize("after", RunState)
@pytest.mark.parametrize("before", RunState)
def test_a_run_becomes_what_its_state_allows_and_nothing_else(
    before: RunState, after: RunState
) -> None:
    note = decode_notification(orjson.dumps(make_notification(1, command=make_command())))
    command = command_of(note)
    assert command is not None
    run = Run(command, note, before)

    if after in LEGAL[before].split():
        run.become(after)
        assert run.state is after
    else:
        with pytest.raises(IllegalTransition, match=f"7:start:1: from {before} to {after}"):
            run.become(after)
        assert run.state is before
