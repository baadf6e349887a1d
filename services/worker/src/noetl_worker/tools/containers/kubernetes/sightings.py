"""Sightings of containers in Jobs and Pods."""

from dataclasses import dataclass, replace
from datetime import datetime
from time import time

from lightkube.models.core_v1 import ContainerStatus, PodStatus
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod
from noetl_contract.http.system.internal import JobState

from noetl_worker.tools.containers.backend import Condition, Sighting
from noetl_worker.tools.containers.kubernetes.objects import (
    AWAITED_NOTE,
    OVERDUE_NOTE,
    REPORTED_NOTE,
)
from noetl_worker.tools.containers.plan import EVENT_LABEL, WORKER_LABEL

IMAGE_TROUBLES = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
)
_TROUBLES = IMAGE_TROUBLES | {"CreateContainerConfigError", "CreateContainerError"}
_HOPELESS = frozenset({"InvalidImageName", "ErrImageNeverPull"})
# How much later than its time a Job that goes on is brought to the cluster's mind.
_GRACE_SECONDS = 30.0
_SAID_LENGTH = 500
_LOST = frozenset({"DeletionByTaintManager", "DeletionByPodGC", "TerminationByKubelet"})
# Why a node ends pods by itself: it is short of something, goes down, or needs the room.
_SENT_AWAY = frozenset({"Evicted", "Preempting", "Shutdown", "Terminated"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Facts about a container that its pod shows.

    Attributes:
        waits: reason and text of a container that can't begin.
        idle: why no node has taken the pod yet.
        is_lost: whether its node has gone, or has sent it away.
        said: why its node has sent it away, or has not taken it.
    """

    pod: str | None = None
    node: str | None = None
    exit_code: int | None = None
    word: str | None = None
    text: str | None = None
    waits: tuple[str, str] | None = None
    idle: str | None = None
    is_lost: bool = False
    said: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def patience(self) -> float | None:
        """Seconds that waiting may take; 0 where it can't help, None where nothing is known."""
        return 0.0 if self.waits is not None and self.waits[0] in _HOPELESS else None


def job_sighting(job: Job) -> Sighting | None:
    """Return how a Job is seen."""
    meta = job.metadata
    if meta is None or meta.name is None:
        return None
    notes = meta.annotations or {}
    at = meta.creationTimestamp.timestamp() if meta.creationTimestamp is not None else time()
    condition = Condition.RUNNING
    if REPORTED_NOTE in notes:
        condition = Condition.REPORTED
    elif (end := end_of(job)) is not None:
        condition = Condition.ENDED
        at = end[2] or at
    labels = meta.labels or {}
    event = labels.get(EVENT_LABEL, "")
    return Sighting(
        name=meta.name,
        condition=condition,
        event_id=int(event) if event.isdecimal() else 0,
        worker=labels.get(WORKER_LABEL, ""),
        at=at,
        deadline=_deadline(job) if condition is Condition.RUNNING else None,
        is_awaited=AWAITED_NOTE in notes,
    )


def _deadline(job: Job) -> float | None:
    """Return when a Job that still runs is overdue; None once it is marked as such."""
    seconds = job.spec.activeDeadlineSeconds if job.spec is not None else None
    began = job.status.startTime if job.status is not None else None
    notes = (job.metadata.annotations if job.metadata is not None else None) or {}
    if seconds is None or began is None or OVERDUE_NOTE in notes:
        return None
    return began.timestamp() + seconds + _GRACE_SECONDS


def end_of(job: Job) -> tuple[bool, str, float | None] | None:
    """Return whether a Job has succeeded, the cluster's reason, and when; None while it runs.

    A Job whose failure is settled says so before its pod is gone, and with it the log.
    """
    for one in (job.status.conditions if job.status is not None else None) or []:
        if one.status == "True" and one.type in {"Complete", "Failed", "FailureTarget"}:
            moment = one.lastTransitionTime
            at = None if moment is None else moment.timestamp()
            return one.type == "Complete", one.reason or "", at
    return None


def found_in(pod: Pod) -> Found:
    """Return the facts that a pod shows."""
    status = pod.status or PodStatus()
    name = pod.metadata.name if pod.metadata is not None else None
    node = pod.spec.nodeName if pod.spec is not None else None
    lost = status.reason in {"NodeLost", *_SENT_AWAY} or any(
        one.type == "DisruptionTarget" and one.status == "True" and one.reason in _LOST
        for one in status.conditions or []
    )
    container = next(iter(status.containerStatuses or ()), None)
    said = None
    if status.phase == "Failed" and status.reason not in {None, "NodeLost"}:
        words = (status.reason, (status.message or "").strip())
        said = ": ".join(word for word in words if word)[:_SAID_LENGTH]
    if container is None:
        idle = (
            one.message or one.reason
            for one in status.conditions or []
            if one.type == "PodScheduled" and one.status == "False"
        )
        return Found(pod=name, node=node, idle=next(idle, None), is_lost=lost, said=said)
    return replace(_of_container(container), pod=name, node=node, is_lost=lost, said=said)


def _of_container(container: ContainerStatus) -> Found:
    state = container.state
    if state is not None and state.waiting is not None:
        reason = state.waiting.reason or ""
        waits = (reason, state.waiting.message or reason) if reason in _TROUBLES else None
        return Found(waits=waits)
    if state is None or state.terminated is None:
        return Found()
    ended = state.terminated
    return Found(
        exit_code=ended.exitCode,
        word=ended.reason,
        text=ended.message,
        started_at=ended.startedAt,
        ended_at=ended.finishedAt,
    )


def judged(
    end: tuple[bool, str, float | None], found: Found, trouble: str | None
) -> tuple[JobState, str | None]:
    """Return state and reason of a Job that has ended.

    Args:
        end: as the Job reports it.
        found: the facts that its pod shows.
        trouble: what the pod was last waiting for; None if it has begun.
    """
    succeeded, reason, _ = end
    if succeeded:
        return "succeeded", None
    if found.waits is not None and found.waits[0] in IMAGE_TROUBLES:
        return "failed_image_pull", ": ".join(found.waits)
    if reason == "DeadlineExceeded":
        text = "it was ended when its time was over"
        return "failed_timeout", text if trouble is None else f"{text}, without a begin: {trouble}"
    if found.word == "OOMKilled":
        return "failed_oom", "it used more memory than its limit"
    if found.is_lost or found.pod is None:
        return "failed_node_lost", _loss_text(found)
    return "failed", _exit_text(found) or found.said or reason or None


def _loss_text(found: Found) -> str:
    where = f"its node '{found.node}'" if found.node else "its node"
    if found.said is None:
        return f"{where} or its pod is gone"
    return f"{where} has sent it away: {found.said}"


def _exit_text(found: Found) -> str | None:
    if found.exit_code is None:
        return None
    text = f"exit code {found.exit_code}"
    return f"{text}: {found.text[:_SAID_LENGTH]}" if found.text else text
