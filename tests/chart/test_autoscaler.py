"""The sums of KEDA and of Kubernetes' autoscaler."""

from collections.abc import Callable

import pytest
from autoscaler import Autoscaler, Trigger
from manifests import Manifests, name_of, scaler_targets

LAG = Trigger("lag", 10)


def _looks(scaler: Autoscaler, values: list[float | None], current: int = 1) -> list[int]:
    """Look every 15 seconds."""
    numbers = []
    for at, value in enumerate(values):
        current = scaler.look({"lag": value}, current=current, now=at * 15.0)
        numbers.append(current)
    return numbers


@pytest.mark.parametrize(
    ("value", "current", "wanted"),
    [
        (484, 6, 6),
        (10.9, 1, 1),
        (11.1, 1, 2),
        (31, 4, 4),
        (None, 3, 3),
    ],
)
def test_one_look(value: float | None, current: int, wanted: int) -> None:
    scaler = Autoscaler(1, 6, (LAG,))

    assert scaler.look({"lag": value}, current=current, now=0) == wanted


def test_it_grows_by_four_or_twice_in_a_period() -> None:
    assert _looks(Autoscaler(1, 50, (LAG,)), [484] * 5) == [5, 10, 20, 40, 49]


def test_it_shrinks_by_one_a_minute_after_the_window() -> None:
    numbers = _looks(Autoscaler(1, 6, (LAG,)), [60, 60, *[5.0] * 40])

    assert numbers[:22] == [5, *[6] * 20, 5]
    assert numbers[22:30] == [5, 5, 5, 4, 4, 4, 4, 3]
    assert numbers[-1] == 1


def test_of_none_one_is_woken_by_a_single_command_and_not_by_a_threshold_of_one() -> None:
    never = Autoscaler(0, 6, (Trigger("lag", 10, activation=1),))

    assert _looks(Autoscaler(0, 6, (LAG,)), [0, 1, 1], current=0) == [0, 1, 1]
    assert _looks(never, [0, 1, 1], current=0) == [0, 0, 0]


def test_the_last_goes_when_nothing_came_for_the_cooldown() -> None:
    numbers = _looks(Autoscaler(0, 6, (LAG,)), [1, *[0.0] * 21], current=0)

    assert numbers == [*[1] * 20, 0, 0]


def test_the_largest_of_several_counts_and_one_that_is_silent_keeps_it_from_shrinking() -> None:
    scaler = Autoscaler(1, 6, (LAG, Trigger("demand", 4)))

    assert scaler.look({"lag": 11, "demand": 12}, current=1, now=0) == 3
    assert scaler.look({"lag": 1, "demand": None}, current=3, now=1000) == 3
    assert scaler.look({"lag": 50, "demand": None}, current=3, now=1015) == 5


def test_a_part_of_what_a_pod_asks_for_is_a_number_of_cores(
    rendered: Callable[[str], Manifests],
) -> None:
    manifests = rendered("keda_off")
    pods = {name_of(pod.owner): pod for pod in manifests.pods()}
    ((scaled, target),) = (
        one for one in scaler_targets(manifests) if one[1] == "noetl-api-gateway"
    )

    scaler = Autoscaler.of(scaled, pod=pods[target], faster=30)

    assert (scaler.least, scaler.most, scaler.window) == (2, 6, 10)
    assert scaler.triggers == (Trigger("cpu", pytest.approx(0.175)),)
    assert scaler.look({"cpu": 0.6}, current=2, now=0) == 4


def test_an_orchestrator_follows_what_waits_and_processor_time(
    rendered: Callable[[str], Manifests],
) -> None:
    manifests = rendered("defaults")
    pods = {name_of(pod.owner): pod for pod in manifests.pods()}
    ((scaled, target),) = (
        one for one in scaler_targets(manifests) if one[1] == "noetl-orchestrator-s0"
    )

    scaler = Autoscaler.of(scaled, pod=pods[target])

    assert scaler.triggers == (Trigger("cpu", 0.5), Trigger("lag", 500))
    assert scaler.look({"cpu": 0.1, "lag": 1100}, current=1, now=0) == 3
    assert scaler.look({"cpu": 1.9, "lag": 0}, current=3, now=60) == 4
