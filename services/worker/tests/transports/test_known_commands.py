"""The memory of commands."""

from noetl_worker.transports.known_commands import KnownCommands


def test_finished_commands_are_remembered_for_ten_minutes() -> None:
    now = [0.0]
    known = KnownCommands(clock=lambda: now[0])
    known.hold(1)
    known.finish(1)
    now[0] = 599.0
    known.finish(2)
    now[0] = 601.0
    known.finish(3)

    remembered_then = [one for one in (1, 2, 3) if one in known]
    now[0] = 1300.0
    known.finish(4)

    assert remembered_then == [1, 2, 3]
    assert [one for one in (1, 2, 3, 4) if one in known] == [3, 4]


def test_released_commands_are_forgotten_unless_they_are_held_again() -> None:
    known = KnownCommands()
    known.hold(1)
    known.finish(1)
    known.release(1)
    was_known = 1 in known
    known.hold(1)
    known.release(1)

    assert not was_known
    assert 1 in known


def test_a_command_that_came_again_stays_held_by_its_second_holder() -> None:
    known, first, second = KnownCommands(), object(), object()
    known.hold(1, first)
    known.finish(1)
    known.release(1)  # its outcome was late
    known.hold(1, second)
    known.let_go(1, first)
    was_held = 1 in known
    known.let_go(1, second)

    assert was_held
    assert 1 not in known
