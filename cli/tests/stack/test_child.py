"""A process under supervision: hanging, slow to end, or ill."""

import asyncio
import sys
import time
from pathlib import Path

import pytest
from noetl.stack.child import Ailment, Child, ChildSpec, ChildState, Pace
from noetl_testkit.waiting import eventually


async def test_a_process_that_hangs_is_killed_and_started_again(tmp_path: Path) -> None:
    alive = True

    async def is_ready(_: int) -> bool:
        return True

    async def is_alive(_: int) -> bool:
        return alive

    spec = ChildSpec(
        name="sleeper",
        command=lambda: [sys.executable, "-c", "import time; time.sleep(600)"],
        log=tmp_path / "sleeper.log",
        port=0,
        is_ready=is_ready,
        is_alive=is_alive,
    )
    pace = Pace(watch_poll_seconds=0.02, hang_patience_seconds=0.2)
    child = Child(spec, lambda _: None, pace)
    async with asyncio.TaskGroup() as group:
        group.create_task(child.run())
        await eventually(lambda: child.state is ChildState.READY)
        first, alive = child.pid, False
        await eventually(lambda: child.restarts > 0)
        alive = True
        await eventually(lambda: child.state is ChildState.READY)
        second = child.pid
        await child.stop()

    assert first != second
    assert child.state is ChildState.STOPPED


async def test_a_process_that_does_not_drain_is_killed_after_the_grace(tmp_path: Path) -> None:
    async def is_ready(_: int) -> bool:
        return "deaf" in (tmp_path / "deaf.log").read_text()

    code = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"  # noqa: E501 -- one program
    spec = ChildSpec(
        name="deaf",
        command=lambda: [sys.executable, "-c", code],
        log=tmp_path / "deaf.log",
        port=0,
        is_ready=is_ready,
        stop_grace_seconds=0.2,
    )
    child = Child(spec, lambda _: None)
    async with asyncio.TaskGroup() as group:
        group.create_task(child.run())
        await eventually(lambda: child.state is ChildState.READY)
        began = time.monotonic()
        await child.stop()

    assert time.monotonic() - began >= 0.2
    assert child.restarts == 0


@pytest.mark.parametrize("helps", [True, False])
async def test_a_process_that_answers_and_is_ill_is_started_again_where_that_helps(
    tmp_path: Path, *, helps: bool
) -> None:
    ill: int | None = None
    looks = 0

    async def is_ready(_: int) -> bool:
        return True

    async def ailment(pid: int) -> Ailment | None:
        nonlocal looks
        looks += 1
        return Ailment("it stores nothing", restart_helps=helps) if pid == ill else None

    spec = ChildSpec(
        name="sleeper",
        command=lambda: [sys.executable, "-c", "import time; time.sleep(600)"],
        log=tmp_path / "sleeper.log",
        port=0,
        is_ready=is_ready,
        ailment=ailment,
    )
    child = Child(spec, lambda _: None, Pace(watch_poll_seconds=0.02, examine_seconds=0.02))
    async with asyncio.TaskGroup() as group:
        group.create_task(child.run())
        await eventually(lambda: child.state is ChildState.READY)
        first = ill = child.pid
        if helps:
            await eventually(lambda: child.pid not in {first, None}, what="it is started again")
            await eventually(lambda: child.state is ChildState.READY)
        else:
            await eventually(lambda: child.trouble == "it stores nothing", what="it is told")
            seen = looks
            await eventually(lambda: looks > seen + 5, what="it is looked at again")
            assert (child.pid, child.restarts, child.state) == (first, 0, ChildState.NOT_READY)
            ill = None
            await eventually(lambda: child.state is ChildState.READY, what="it is well again")
        await child.stop()
