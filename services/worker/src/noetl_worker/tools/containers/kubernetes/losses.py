"""Containers that go on nowhere: their node is silent, or their pod is sent away."""

from dataclasses import dataclass
from datetime import datetime
from time import time
from typing import Final

from lightkube.models.core_v1 import PodStatus
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod

_ENDED: Final = frozenset({"Succeeded", "Failed"})
# A Job ends its pod before it says that its time is over; clocks may differ by so much.
_CLOCK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Loss:
    """Reason for which a container without an end counts as lost.

    Attributes:
        at: since when, Unix seconds.
        patience: seconds that it may take to come back.
        is_final: whether nothing brings it back.
    """

    reason: str
    at: float
    patience: float
    is_final: bool


def loss_of(pod: Pod, job: Job, *, is_gone: bool, node_seconds: float) -> Loss | None:
    """Return why the container of a pod is lost; None if it isn't, or is replaced.

    Args:
        pod: as last seen.
        job: whose pod it is, and which has not ended.
        is_gone: whether the pod is there no more.
        node_seconds: how long a node may be silent.
    """
    status = pod.status or PodStatus()
    meta = pod.metadata
    if status.phase in _ENDED or meta is None or (job.spec is not None and job.spec.backoffLimit):
        return None
    node = (pod.spec.nodeName if pod.spec is not None else None) or ""
    silent_since = _silent_since(status)
    leaves = meta.deletionTimestamp
    if leaves is not None or is_gone:
        asked_at = time()
        if leaves is not None:
            asked_at = leaves.timestamp() - (meta.deletionGracePeriodSeconds or 0)
        if _is_over_its_time(job, asked_at):
            return None
        return Loss(_departure(node, is_silent=silent_since is not None), asked_at, 0.0, True)
    if silent_since is None:
        return None
    moment = silent_since.isoformat(timespec="seconds")
    reason = f"its node '{node}' does not answer since {moment}"
    return Loss(reason, silent_since.timestamp(), node_seconds, False)


def _departure(node: str, *, is_silent: bool) -> str:
    if not node:
        return "its pod was taken away before a node had it"
    if is_silent:
        return f"its node '{node}' does not answer, and its pod was taken away"
    return f"its pod was taken away from node '{node}'"


def _silent_since(status: PodStatus) -> datetime | None:
    """Return since when the cluster reports a pod as not ready that its node reported as ready.

    So it marks the pods of a node that it doesn't hear from.
    """
    containers = status.containerStatuses or []
    runs = any(
        one.ready and one.state is not None and one.state.running is not None for one in containers
    )
    marks = (one for one in status.conditions or [] if one.type == "Ready")
    ready = next(marks, None)
    is_marked = runs and ready is not None and ready.status != "True"
    return ready.lastTransitionTime if is_marked and ready is not None else None


def _is_over_its_time(job: Job, at: float) -> bool:
    seconds = job.spec.activeDeadlineSeconds if job.spec is not None else None
    began = job.status.startTime if job.status is not None else None
    if seconds is None or began is None:
        return False
    return at >= began.timestamp() + seconds - _CLOCK_SECONDS
