"""State of Jobs and pods, from the watches on them."""

from collections.abc import Callable
from dataclasses import replace
from time import time

from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod

from noetl_worker.tools.containers.backend import Condition, See, Sighting
from noetl_worker.tools.containers.kubernetes.logs import Followers
from noetl_worker.tools.containers.kubernetes.losses import Loss, loss_of
from noetl_worker.tools.containers.kubernetes.sightings import Found, found_in, job_sighting


class Seen:
    """The Jobs of a pool as last seen, and facts about their pods.

    Args:
        followers: of what pods print.
        node_seconds: how long a node may be silent before its containers count as lost.
    """

    def __init__(self, followers: Followers, *, node_seconds: float) -> None:
        self._followers = followers
        self._node_seconds = node_seconds
        self.jobs: dict[str, Job] = {}
        self.troubles: dict[str, str] = {}
        """Reasons why pods of Jobs wait, as last seen: a Job removes its pod at its deadline."""
        self.losses: dict[str, Loss] = {}
        self._stuck: dict[str, Sighting] = {}
        """Containers that can't begin or go on, by their pods; their Jobs know nothing of it."""

    def sighting_of(self, job: Job) -> Sighting | None:
        """Keep a Job as it is, and return how its container is seen."""
        sighting = job_sighting(job)
        if sighting is None:
            return None
        self.jobs[sighting.name] = job
        if sighting.condition is Condition.RUNNING:
            return self._stuck.get(sighting.name, sighting)
        return sighting

    def on_job(self, see: See) -> Callable[[str, Job], None]:
        """Return the handler of changes of Jobs."""

        def take(change: str, job: Job) -> None:
            sighting = self.sighting_of(job)
            if sighting is None:
                return
            if change == "DELETED":
                self.drop(sighting.name)
                see(Sighting(name=sighting.name, condition=Condition.GONE, at=time()))
            else:
                see(sighting)

        return take

    def on_pod(self, see: See) -> Callable[[str, Pod], None]:
        """Return the handler of changes of pods.

        Pods show whether a container can begin and go on; its end is the Job's to report.
        """

        def take(change: str, pod: Pod) -> None:
            labels = (pod.metadata.labels if pod.metadata is not None else None) or {}
            name = labels.get("job-name") or labels.get("batch.kubernetes.io/job-name", "")
            self._followers.see(name, pod)
            job = self.jobs.get(name)
            running = None if job is None else job_sighting(job)
            if job is None or running is None or running.condition is not Condition.RUNNING:
                return
            loss = self._loss(name, pod, job, is_gone=change == "DELETED")
            if loss is not None:
                see(self._held_up(running, since=loss.at, patience=loss.patience))
            elif change != "DELETED":
                see(self._going_on(running, found_in(pod)))

        return take

    def _loss(self, name: str, pod: Pod, job: Job, *, is_gone: bool) -> Loss | None:
        """Return why a container is lost; a pod in the place of a lost one changes nothing."""
        known = self.losses.get(name)
        if known is not None and known.is_final:
            return known
        loss = loss_of(pod, job, is_gone=is_gone, node_seconds=self._node_seconds)
        if loss is None:
            self.losses.pop(name, None)
        else:
            self.losses[name] = loss
        return loss

    def _going_on(self, running: Sighting, found: Found) -> Sighting:
        trouble = found.idle if found.waits is None else ": ".join(found.waits)
        if trouble is None:
            self.troubles.pop(running.name, None)
        else:
            self.troubles[running.name] = trouble
        if found.waits is None:
            self._stuck.pop(running.name, None)
            return running
        before = self._stuck.get(running.name)
        is_same = before is not None and before.patience == found.patience
        since = before.at if before is not None and is_same else time()
        return self._held_up(running, since=since, patience=found.patience)

    def _held_up(self, running: Sighting, *, since: float, patience: float | None) -> Sighting:
        stuck = replace(running, condition=Condition.STUCK, at=since, patience=patience)
        self._stuck[running.name] = stuck
        return stuck

    def drop(self, name: str) -> None:
        """Forget a Job that is gone."""
        self._followers.end_soon(name)
        self.jobs.pop(name, None)
        self.troubles.pop(name, None)
        self.losses.pop(name, None)
        self._stuck.pop(name, None)
