"""Any playbook that fails anywhere, restarted, comes to the end that it would have come to."""

import random
import zlib
from typing import Any

from engine_driver import Run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from noetl_engine.errors import StartRefused
from noetl_engine.inputs import Limits
from noetl_engine.outputs import NewCommand
from noetl_engine.playbook import parse_playbook
from noetl_engine.playbook.model import Playbook
from random_playbooks import playbooks

ENDS = frozenset({"command.completed", "command.failed"})
MAX_COMMANDS = 150
LIMITS = Limits(rounds_per_decision=40, commands_per_decision=3)

type Key = tuple[str, int, int, str, int]
"""What a command is for: step, visit, iteration, phase and frame of a cursor."""


class Player:
    """Works on a run; a command's result depends on its place in the playbook alone."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.keys: dict[int, Key] = {}
        self.done: list[Key] = []

    def open(self) -> dict[Key, NewCommand]:
        steps = self.run.execution.state.steps
        for command in self.run.open:
            if command.event_id not in self.keys:
                cursor = command.meta.get("cursor") or {}
                index = command.iteration_index
                self.keys[command.event_id] = (
                    command.step,
                    steps[command.step].runs,
                    -1 if index is None else index,
                    cursor.get("phase", ""),
                    cursor.get("frame", -1),
                )
        return {self.keys[command.event_id]: command for command in self.run.open}

    def work(self, key: Key, *, fails: bool = False) -> None:
        command = self.open()[key]
        self.run.open.remove(command)
        _, visit, _, phase, frame = key
        data: dict[str, Any] = {"n": visit}
        if phase == "claim":
            data = {"rows": [{"id": number} for number in range(2 if frame < 2 else 0)]}
        elif zlib.crc32(repr(key).encode()) % 5 == 0:
            data["_context_updates"] = {"ctx.a": visit, "iter.x": visit}
        self.run.finish(command, self.run.outcome_events(command, fails=fails, data=data))
        self.done.append(key)

    def finish(self, *, later: tuple[str, int] | None = None) -> None:
        """Work on all there is, in an order that doesn't depend on the past."""
        while not self.run.ended and len(self.done) < MAX_COMMANDS:
            keys = sorted(key for key in self.open() if key[:2] != later)
            if not keys:
                return
            self.work(keys[0])


def results_of(run: Run) -> Any:
    """Status, results and variables, without the ids of commands."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items() if key != "command_id"}
        return [plain(inner) for inner in value] if isinstance(value, list) else value

    contexts = run.execution._memory.contexts
    for name, step in run.execution.state.steps.items():
        ref = step.result
        if ref is not None and ref.kind == "loop":
            assert ref.first in run.execution._memory.values.loops, name
    state = run.execution.state
    phases = {name: step.phase for name, step in state.steps.items()}
    return run.ended, phases, plain(dict(contexts.flat()))


def begin(playbook: Playbook) -> Run | None:
    try:
        return Run(playbook, limits=LIMITS).start()
    except StartRefused:
        return None


def broken(playbook: Playbook, dice: random.Random) -> Player | None:
    """Return a run with a failed command that its playbook doesn't handle, None when none fails."""
    run = begin(playbook)
    if run is None:
        return None
    player = Player(run)
    fails_at = dice.randrange(6)
    while run.open and not run.ended and len(player.done) < MAX_COMMANDS:
        key = dice.choice(sorted(player.open()))
        is_last = len(player.open()) == 1
        fails = not run.execution.state.failed and (len(player.done) >= fails_at or is_last)
        player.work(key, fails=fails and dice.random() < 0.8)
    return player if run.ended else None


def slow(playbook: Playbook, order: list[Key], late: set[Key]) -> Player:
    """The same in a run that never fails: the failed command there is merely the last to end."""
    run = begin(playbook)
    assert run is not None
    player = Player(run)
    for key in order:
        if key not in late and key in player.open() and not run.ended:
            player.work(key)
    player.finish()
    return player


def check(playbook: Playbook, seed: int) -> bool:
    dice = random.Random(seed)  # noqa: S311 - reproducible
    origin = broken(playbook, dice)
    if origin is None:
        return False
    state = origin.run.execution.state
    how: dict[str, Any] = {}
    again: set[tuple[str, int]] = {(name, state.steps[name].runs) for name in state.failed}
    if not again or dice.random() < 0.4:
        ran = sorted(name for name, step in state.steps.items() if step.runs)
        how["from_step"] = dice.choice(ran)
        again.add((how["from_step"], state.steps[how["from_step"]].runs))
    whole = how.get("from_step")
    ends = zip(origin.done, ends_of(origin.run), strict=True)
    broke = {key for key, row in ends if row == "command.failed"}
    failed = {key for key in broke if key[:2] in again}
    if broke - failed:
        return False  # a failure that was cared for: no run without failures is the same
    late = failed | {key for key in origin.done if key[0] == whole and key[:2] in again}
    origin.run.reload = lambda _turn: seed % 2 == 0
    restarted = Player(origin.run.restart(**how))
    restarted.finish()
    control = slow(playbook, origin.done, late)
    if len(control.done) >= MAX_COMMANDS:
        return False
    story = f"{how} {late}\n{origin.run.story}\n{restarted.run.story}\n{control.run.story}"
    assert results_of(restarted.run) == results_of(control.run), story
    taken = len(taken_over(origin, restarted))
    # Nothing that was done is done again: what it has and what it did are the work of one run.
    assert taken + len(restarted.done) == len(control.done), story
    assert not set(restarted.done) & taken_over(origin, restarted), story
    return bool(failed)


def taken_over(origin: Player, restarted: Player) -> set[Key]:
    """Return the runs that the restarted execution took over from its origin."""
    ended = [row for row in origin.run.rows if row.event_type in ENDS]
    by_event = {
        row.event_id: key
        for key, row in zip(
            origin.done, [row for row in ended if "command" in (row.note or {})], strict=True
        )
    }
    copied = [row for row in restarted.run.rows if row.event_type in ENDS]
    told = [row.meta["restored_from"] for row in copied if "restored_from" in (row.meta or {})]
    return {by_event[int(one["event_id"])] for one in told}


def ends_of(run: Run) -> list[str]:
    return [
        row.event_type
        for row in run.rows
        if row.event_type in ENDS and "command" in (row.note or {})
    ]


def test_random_failures_restarted_at_random_steps(world_count: int) -> None:
    checked: set[tuple[str, int]] = set()

    @settings(max_examples=3 * world_count, suppress_health_check=list(HealthCheck))
    @given(playbooks(), st.integers(0, 2**32))
    def one(text: str, seed: int) -> None:
        if (text, seed) not in checked and check(parse_playbook(text), seed):
            checked.add((text, seed))

    one()
    assert len(checked) >= 50, len(checked)
