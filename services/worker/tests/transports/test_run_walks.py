"""Whatever happens to runs, in whatever order: each begins once, and is reported once at most."""

from collections.abc import Callable
from functools import partial

from hypothesis import Phase, given, note, settings
from hypothesis import strategies as st
from run_world import World
from structlog.testing import capture_logs

numbers = st.integers(0, 1000)


def events(world: World) -> list[Callable[[int], None]]:
    """Return what may happen next, the more likely the more often; a number says to which run."""
    script, found = world.script, [world.deliver, world.deliver_again, world.break_connection]
    found += [world.look]
    if world.timers:
        found += [world.end_pause] * 2
    if script.working:
        found += [world.end_tool] * 2
    if world.sending("start"):
        found += [partial(world.end_start, what=what) for what in ("stored", "duplicate")] * 2
        found += [partial(world.end_start, what=what) for what in ("refused", "unavailable")]
    if world.sending("outcome"):
        found += [world.answer_with_next] * 2
        found += [partial(world.end_outcome, what="stored")] * 2
        found += [partial(world.end_outcome, what=what) for what in ("refused", "unavailable")]
    if script.heard:
        found += [partial(world.answer, status=what) for what in ("ok", "late", "refused", "what?")]
    if script.claiming:
        verdicts = ("own", "own", "again", "refused", "lost")
        found += [partial(world.answer_claim, verdict=verdict) for verdict in verdicts]
    if world.runs.named():
        found += [world.end_run]
    return found


@settings(max_examples=100, phases=[Phase.generate], print_blob=True)
@given(
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
    st.lists(st.tuples(numbers, numbers), min_size=50, max_size=80),
)
def test_walks(
    permits: int,
    gives_up: bool,  # noqa: FBT001
    is_stubborn: bool,  # noqa: FBT001
    steps: list[tuple[int, int]],
) -> None:
    world = World(permits=permits, gives_up=gives_up, is_stubborn=is_stubborn)
    with capture_logs() as lines:
        for choice, index in steps:
            possible = events(world)
            event = possible[choice % len(possible)]
            note(f"{event} {index}")
            event(index)
            world.check()
        world.close()
    assert [line for line in lines if line["event"] == "start_failed"] == []


def test_an_outcome_that_is_refused_twice_is_replaced_once() -> None:
    """By an answer, and then by who sends it."""
    world = World(permits=1, gives_up=False, is_stubborn=False)
    world.deliver()
    world.end_tool(0)
    world.answer(0, "refused")
    world.end_outcome(0, "refused")
    world.close()

    assert world.script.replacements == {(1, 0): 1}


def test_a_start_that_was_answered_is_not_sent_again() -> None:
    """Its acknowledgement was lost, and its answer has come."""
    world = World(permits=1, gives_up=False, is_stubborn=False)
    world.deliver()
    world.end_pause(0)
    world.end_start(0, "unavailable")
    world.answer(0, "ok")
    world.end_pause(0)

    assert world.sending("start") == []
    assert world.delivered[0].answers == ["ack"]
    world.close()
