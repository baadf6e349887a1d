"""The breaker of requests."""

from noetl_bus.writes.breaker import Breaker


def test_one_request_tries_it_after_one_was_not_answered() -> None:
    now = 100.0
    breaker = Breaker(lambda: now)

    assert [breaker.admits() for _ in range(3)] == [True, True, True]
    for _ in range(3):
        breaker.note(is_answered=False)
    assert not breaker.admits()
    now += 1.5
    assert [breaker.admits(), breaker.admits()] == [True, False]
    breaker.note(is_answered=None)
    assert breaker.admits()
    breaker.note(is_answered=False)
    now += 1.5
    assert not breaker.admits()
    now += 1.0
    assert breaker.admits()
    breaker.note(is_answered=True)
    assert [breaker.admits(), breaker.admits()] == [True, True]
