"""Replicas that KEDA and Kubernetes' autoscaler calculate from the numbers of a ScaledObject.

The same sums: activity above the threshold of activation, replicas by average value with a
tolerance, the largest of several triggers, windows and steps of growth and shrinking. No process is
started here, and no time passes but that of the caller's clock.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from manifests import Document, Pod

TOLERANCE = 0.1
"""Largest distance of the average from its target at which the number stays."""
_SYNC_SECONDS = 15.0
_GROWTH_PODS = 4
_GROWTH_FACTOR = 2
_TARGETS = {"nats-jetstream": "lagThreshold", "metrics-api": "targetValue"}
_ACTIVATIONS = {"nats-jetstream": "activationLagThreshold", "metrics-api": "activationTargetValue"}


@dataclass(frozen=True)
class Trigger:
    """A number that is read, one process's share of it, and the bound above which it wakes."""

    name: str
    target: float
    activation: float = 0.0


@dataclass
class Autoscaler:
    """The state of one autoscaler.

    Attributes:
        least: processes that are always there; 0 is KEDA's alone.
        most: processes at most.
        triggers: what it looks at.
        window: seconds for which the largest recommendation counts before it shrinks.
        step: processes that may go in one period.
        period: seconds of that.
        cooldown: seconds without activity before the last process goes, where `least` is 0.
        sync: seconds of the period in which growth is limited, and between two looks.
    """

    least: int
    most: int
    triggers: tuple[Trigger, ...]
    window: float = 300.0
    step: int = 1
    period: float = 60.0
    cooldown: float = 300.0
    sync: float = _SYNC_SECONDS
    _wanted: list[tuple[float, int]] = field(default_factory=list)
    _changes: list[tuple[float, int]] = field(default_factory=list)
    _active_at: float = -math.inf

    @classmethod
    def of(cls, scaled: Document, *, pod: Pod, faster: float = 1.0) -> Self:
        """Return that of a ScaledObject or a HorizontalPodAutoscaler.

        Args:
            scaled: its manifest.
            pod: what it scales; processor time is counted in parts of what that asks for.
            faster: what all its times are divided by.
        """
        spec = scaled["spec"]
        if scaled["kind"] == "ScaledObject":
            config = spec["advanced"]["horizontalPodAutoscalerConfig"]
            bounds = spec["minReplicaCount"], spec["maxReplicaCount"]
            triggers = [_trigger(one, pod) for one in spec["triggers"]]
        else:
            config, bounds = spec, (spec["minReplicas"], spec["maxReplicas"])
            triggers = [
                _processor_time(one["resource"]["target"]["averageUtilization"], pod)
                for one in spec["metrics"]
            ]
        down = config["behavior"]["scaleDown"]
        (policy,) = down["policies"]
        return cls(
            *bounds,
            triggers=tuple(triggers),
            window=down["stabilizationWindowSeconds"] / faster,
            step=policy["value"],
            period=policy["periodSeconds"] / faster,
            cooldown=spec.get("cooldownPeriod", 0) / faster,
            sync=_SYNC_SECONDS / faster,
        )

    def look(self, values: Mapping[str, float | None], *, current: int, now: float) -> int:
        """Return how many processes there are to be.

        Args:
            values: by trigger; None where it couldn't be read.
            current: processes that there are.
            now: seconds of any clock.
        """
        wanted = self._look(values, current, now)
        if wanted != current:
            self._changes.append((now, wanted - current))
        return wanted

    def _look(self, values: Mapping[str, float | None], current: int, now: float) -> int:
        read = {one: values.get(one.name) for one in self.triggers}
        known = {one: value for one, value in read.items() if value is not None}
        if any(value > one.activation for one, value in known.items()):
            self._active_at = now
        elif self.least == 0 and len(known) == len(read):
            if current and now - self._active_at >= self.cooldown:
                return 0
            return min(current, 1) if current <= 1 else self._replicas(known, read, current, now)
        if current == 0:
            return max(1, self.least) if self._active_at == now else 0
        return self._replicas(known, read, current, now)

    def _replicas(
        self,
        known: Mapping[Trigger, float],
        read: Mapping[Trigger, float | None],
        current: int,
        now: float,
    ) -> int:
        """Return the replicas of Kubernetes' autoscaler, which never goes below one."""
        if not known:
            return current
        wanted = max(_share(one, value, current) for one, value in known.items())
        if len(known) < len(read) and wanted < current:
            return current
        wanted = min(max(wanted, self.least, 1), self.most)
        self._wanted = [one for one in self._wanted if now - one[0] < self.window]
        self._wanted.append((now, wanted))
        if wanted < current:
            wanted = min(current, max(number for _, number in self._wanted))
            before = current - self._changed(now, self.period, shrinking=True)
            return max(wanted, before - self.step)
        before = current - self._changed(now, self.sync, shrinking=False)
        return min(wanted, max(before + _GROWTH_PODS, before * _GROWTH_FACTOR))

    def _changed(self, now: float, seconds: float, *, shrinking: bool) -> int:
        """Return by how much the number has changed in one direction lately."""
        return sum(
            step for at, step in self._changes if now - at < seconds and (step < 0) == shrinking
        )


def _share(trigger: Trigger, value: float, current: int) -> int:
    """Return the processes that a number wants, those there are within the tolerance."""
    if abs(value / (trigger.target * current) - 1) <= TOLERANCE:
        return current
    return math.ceil(value / trigger.target)


def _trigger(trigger: Document, pod: Pod) -> Trigger:
    kind, metadata = trigger["type"], trigger["metadata"]
    if kind == "cpu":
        return _processor_time(float(metadata["value"]), pod)
    target, activation = metadata[_TARGETS[kind]], metadata[_ACTIVATIONS[kind]]
    return Trigger(trigger["name"], float(target), float(activation))


def _processor_time(percent: float, pod: Pod) -> Trigger:
    """Return the number of cores that one process is to use: a part of what it asks for."""
    asked = sum(_cores(one["resources"]["requests"]["cpu"]) for one in pod.spec["containers"])
    return Trigger("cpu", asked * percent / 100)


def _cores(quantity: str) -> float:
    text = str(quantity)
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)
