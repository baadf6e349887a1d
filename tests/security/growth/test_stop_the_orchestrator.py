"""An execution whose decision never ends: it fails by name, and the others go on."""

from pathlib import Path

import pytest
from noetl_engine.execution import Execution
from noetl_testkit.stack import execute, finish, register, running_stack
from noetl_testkit.waiting import wait_until

from services.orchestrator.tests import gates
from services.orchestrator.tests.shard import Shard

_PLANTED = Path(__file__).parent / "planted_hang"
_PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: {name}, path: growth/{name}}}
workflow:
  - step: start
    tool: {{kind: noop}}
    next:
      arcs:
        - step: {name}
  - step: {name}
    tool: {{kind: noop}}
"""


class Endless(Execution):
    """Never ends the decision on the outcome of a command."""

    victim = 0

    def decide(self, playbook, message, facts):  # type: ignore[no-untyped-def] # noqa: ANN001
        if type(message).__name__ == "CommandOutcomeMessage" and (
            message.execution_id == Endless.victim
        ):
            while True:
                try:
                    while True:
                        pass
                except Exception:  # noqa: BLE001, S112  as a template's filter might
                    continue
        return super().decide(playbook, message, facts)


async def test_a_decision_that_takes_too_much_time_fails_its_execution_alone(shard: Shard) -> None:
    await shard.open_replica(executions=Endless, decision_seconds=0.5)
    victim, other = await shard.start(), await shard.start()
    Endless.victim = victim

    answer = await shard.send(victim, shard.fast(await shard.command(victim)))
    await gates.finish(shard, other)

    assert "0.5 s of processor time (NOETL_DECISION_SECONDS)" in answer["error"]
    state, fine = await shard.state(victim), await shard.state(other)
    assert state is not None
    assert fine is not None
    assert (state["status"], fine["status"]) == ("FAILED", "COMPLETED")
    assert "NOETL_DECISION_SECONDS" in state["error"]
    assert len(await shard.dead_letters()) == 1


@pytest.mark.slow
def test_a_message_that_hangs_every_process_is_put_aside() -> None:
    """The hang is in a call that nothing interrupts, so it costs the process each time."""
    environment = {"PYTHONPATH": str(_PLANTED), "NOETL_HANG_EXIT_SECONDS": "2"}
    stacks = running_stack(environment=environment, is_warm=False)
    with stacks as stack, stack.client() as client:
        for name in ("hang", "fine"):
            register(client, _PLAYBOOK.format(name=name))
        restarts = stack.services()["orchestrator"]["restarts"]

        culprit = execute(client, "growth/hang")
        status = finish(client, culprit)
        others = [execute(client, "growth/fine") for _ in range(3)]

        assert status == "FAILED"
        error = client.get(f"/api/executions/{culprit}/status").json()["error"]
        assert "hung or died whenever it was decided" in error
        assert [finish(client, other) for other in others] == ["COMPLETED"] * 3
        wait_until(stack.is_ready, what="everything runs again")
        # Two for the message; on a busy machine a slow start may look like a hang of 2 s too.
        assert stack.services()["orchestrator"]["restarts"] - restarts <= 8
        log = (stack.data / "logs" / "orchestrator.log").read_text()
        assert "execution_failed_unfolded" in log
