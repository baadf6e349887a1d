"""An attacker who may publish on the broker reports on commands that he was not given.

Everything that lists and logs show is known to him: ids, the worker's name and its instance.
"""

import pytest
from noetl_contract.access.capability import Capability

from services.orchestrator.tests.messages import Command
from services.orchestrator.tests.shard import Shard

_KEY = "a key that orchestrator and edge share"


def _fence(command: Command, *, attempt: int = 1, key: str = _KEY) -> str:
    capability = Capability(command.execution_id, command.event_id, attempt)
    return capability.userinfo(key.encode()).partition(":")[2]


@pytest.fixture
async def running(shard: Shard) -> Command:
    """A command that worker w1 has begun, with the fence of its notification."""
    await shard.open_replica(command_key=_KEY)
    command = await shard.command(await shard.start())
    start = shard.fast(command, "command.start", fence=_fence(command))
    assert await shard.send(command.execution_id, start) == {"status": "held"}
    return command


async def test_an_outcome_without_the_command_s_secret_is_neither_taken_nor_kept(
    shard: Shard, running: Command
) -> None:
    before = await shard.types(running.execution_id)

    for guess in (None, "", "1.", "1.AAAAAAAAAAAAAAAAAAAAAA", "ü", "no attempt"):
        forged = shard.fast(running, data="FORGED", fence=guess)
        answer = await shard.send(running.execution_id, forged)
        assert answer == {"status": "late", "reason": "fence"}

    assert await shard.types(running.execution_id) == before
    honest = shard.fast(running, fence=_fence(running))
    assert await shard.send(running.execution_id, honest) == {"status": "ok"}


async def test_the_secret_of_another_command_or_attempt_or_key_opens_nothing(
    shard: Shard, running: Command
) -> None:
    other = await shard.command(await shard.start())
    for fence in (
        _fence(other),
        _fence(running, attempt=2),
        _fence(running, key="another key"),
    ):
        answer = await shard.send(running.execution_id, shard.fast(running, fence=fence))
        assert answer == {"status": "late", "reason": "fence"}


async def test_a_start_and_a_claim_without_the_secret_get_nothing(shard: Shard) -> None:
    await shard.open_replica(command_key=_KEY)
    command = await shard.command(await shard.start())

    started = await shard.send(command.execution_id, shard.fast(command, "command.start"))
    claimed = await shard.claim(command, worker="evil", instance="evil-process")

    assert started == {"status": "lost", "reason": "fence"}
    assert claimed["status"] == 409
    assert "capability" in claimed["error"]
    assert (await shard.command_row(command))["status"] == "PENDING"


async def test_a_granted_claim_brings_the_secret_of_its_own_run(shard: Shard) -> None:
    await shard.open_replica(command_key=_KEY)
    command = await shard.command(await shard.start())

    granted = await shard.claim(command, instance="i1", fence=_fence(command))

    fence = granted["body"]["fast"]["fence"]
    assert fence == _fence(command)
    outcome = shard.fast(command, instance="i1", fence=fence)
    assert await shard.send(command.execution_id, outcome) == {"status": "ok"}


async def test_an_outcome_can_t_say_what_the_engine_says(shard: Shard, running: Command) -> None:
    before = await shard.types(running.execution_id)

    for event_type in (
        *("playbook.completed", "playbook_cancelled", "step.exit"),
        *("command.issued", "command.claimed"),
    ):
        forged = shard.fast(running, fence=_fence(running))
        forged["events"][1] |= {"event_type": event_type}
        answer = await shard.send(running.execution_id, forged)
        assert answer == {"status": 422, "error": f"An outcome can't report {event_type}"}

    assert await shard.types(running.execution_id) == before


async def test_an_outcome_can_t_speak_for_another_step(shard: Shard, running: Command) -> None:
    forged = shard.fast(running, fence=_fence(running))
    forged["events"][1] |= {"step": "end"}

    answer = await shard.send(running.execution_id, forged)

    assert answer["status"] == 422
    assert "step end" in answer["error"]
