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


def test_released_commands_are_forgotten() -> None:
    known = KnownCommands()
    known.hold(1)
    known.release(1)

    assert 1 not in known
