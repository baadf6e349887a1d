"""Containers as Jobs: one per command, followed by a watch on Jobs and one on their pods."""

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from time import time
from typing import Any

import orjson
from lightkube import AsyncClient, KubeConfig
from lightkube.core.exceptions import ApiError, ConfigError, LoadResourceError
from lightkube.models.batch_v1 import JobStatus
from lightkube.operators import Operator
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod, Secret
from lightkube.types import CascadeType, PatchType
from noetl_contract.http.system.internal import JobState
from noetl_contract.json import JsonObject

from noetl_worker import metrics
from noetl_worker.tools.containers.backend import (
    BackendError,
    Condition,
    Ending,
    See,
    SeeAll,
    Sighting,
    Started,
)
from noetl_worker.tools.containers.kubernetes.logs import Followers, end_of_lines
from noetl_worker.tools.containers.kubernetes.losses import Loss
from noetl_worker.tools.containers.kubernetes.objects import (
    CALLBACK_KEY,
    COMMAND_NOTE,
    ENV_KEY,
    HIDDEN_NOTE,
    MAIN,
    MASKED_KEY,
    OUTPUT_NOTE,
    OVERDUE_NOTE,
    REPORTED_NOTE,
    STEP_NOTE,
    TTL_NOTE,
    job_of,
    secret_of,
)
from noetl_worker.tools.containers.kubernetes.seen import Seen
from noetl_worker.tools.containers.kubernetes.sightings import (
    IMAGE_TROUBLES,
    Found,
    end_of,
    found_in,
    judged,
)
from noetl_worker.tools.containers.logs import masked
from noetl_worker.tools.containers.plan import (
    EVENT_LABEL,
    EXECUTION_LABEL,
    KIND_LABEL,
    POOL_LABEL,
    WORKER_LABEL,
    Origin,
    Plan,
    label_of,
)

# What lightkube raises: `ApiError` is one of its HTTP client's errors, whose root this is.
CLUSTER_ERRORS: tuple[type[Exception], ...] = (ApiError.__mro__[2], OSError, TimeoutError)
_MOST_LINES = 10_000
# The cluster ends a watch after this; the next one shows the token that is there then.
_WATCH_SECONDS = 600
_NO_CLIENT: tuple[type[Exception], ...] = (
    *CLUSTER_ERRORS, ConfigError, LoadResourceError, ValueError, AssertionError,
)  # fmt: skip
# What a line that is none of the kind awaited makes of the client.
_ILLEGIBLE = (AttributeError, KeyError, TypeError, ValueError)

type Selected = str | Operator[Any] | Iterable[Any] | None
type LoadConfig = Callable[[], KubeConfig]


class KubernetesBackend:
    """The containers of one pool in a cluster.

    Args:
        load_config: address and login of the cluster, read again when a login is refused.
        kind: of the tool whose Jobs they are.
        pool: whose Jobs are followed.
        namespaces: where they may be, the usual one first.
        log_bytes: how much of a container's output is kept.
        node_seconds: how long a node may be silent before its containers count as lost.
        user: number of the user that containers run as; empty: the image's.
    """

    def __init__(
        self,
        load_config: LoadConfig,
        *,
        kind: str,
        pool: str,
        namespaces: tuple[str, ...],
        log_bytes: int,
        node_seconds: float,
        user: str = "",
    ) -> None:
        self._load_config = load_config
        self._kind = kind
        self._labels: dict[str, Selected] = {KIND_LABEL: kind, POOL_LABEL: label_of(pool)}
        self._namespaces = namespaces
        self._log_bytes = log_bytes
        self._node_seconds = node_seconds
        self._user = user
        self.followers = Followers(self._follow_log)
        self._seen = Seen(self.followers, node_seconds=node_seconds)
        self._client: AsyncClient | None = None

    async def close(self) -> None:
        """Close the connections."""
        await self.followers.close()
        await self._hang_up()

    async def _hang_up(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    @asynccontextmanager
    async def _calling(self, operation: str, what: str) -> AsyncIterator[AsyncClient]:
        """Count a call, and name its failure."""
        metrics.CONTAINER_CALLS.labels(operation).inc()
        try:
            if self._client is None:
                self._client = AsyncClient(config=self._load_config(), trust_env=False)
        except _NO_CLIENT as error:
            raise BackendError(f"kube client init failed: {_text(error)}") from error
        try:
            yield self._client
        except ApiError as error:
            status = error.status.code
            if status == 401:
                await self._hang_up()
            raise BackendError(f"{what}: {_text(error)}", status=status) from error
        except CLUSTER_ERRORS as error:
            raise BackendError(f"{what}: {_text(error)}") from error

    async def start(self, plan: Plan) -> Started:
        """Create the Job and then its Secret, which the Job owns; objects that are there stay."""
        space = plan.namespace
        failed = f"Job create failed in namespace '{space}'"
        try:
            async with self._calling("create", failed) as client:
                made = job_of(plan, user=self._user, node_seconds=self._node_seconds)
                job = await client.create(made)
        except BackendError as error:
            if error.status != 409:
                raise
            job = await self._get(plan.name, space)
        uid = (job.metadata.uid if job.metadata is not None else None) or ""
        secret = secret_of(plan, owner_uid=uid)
        try:
            async with self._calling("create", f"Secret of the {failed}") as client:
                await client.create(secret)
        except BackendError as error:
            if error.status != 409:
                await self._delete(plan.name, space)
                raise
        return Started(plan.name, uid, space)

    async def _get(self, name: str, namespace: str) -> Job:
        async with self._calling("inspect", f"the Job '{name}' can't be read") as client:
            return await client.get(Job, name, namespace=namespace)

    async def follow(self, see: See, see_all: SeeAll) -> None:
        """List, and watch from there on."""
        asked_at = time()
        sightings: list[Sighting] = []
        versions = [await self._list(space, sightings) for space in self._namespaces]
        for name in self._seen.jobs.keys() - {one.name for one in sightings}:
            self._seen.drop(name)
        see_all(sightings, asked_at)
        try:
            async with asyncio.TaskGroup() as group:
                for space, version in zip(self._namespaces, versions, strict=True):
                    group.create_task(self._watch(Job, space, version, self._seen.on_job(see)))
                    group.create_task(self._watch(Pod, space, None, self._seen.on_pod(see)))
        except* BackendError as errors:
            raise BackendError(str(errors.exceptions[0])) from errors

    async def found(self) -> list[Sighting]:
        """List the pool's Jobs."""
        sightings: list[Sighting] = []
        for space in self._namespaces:
            await self._list(space, sightings)
        return sightings

    async def _list(self, namespace: str, into: list[Sighting]) -> str:
        """Add the Jobs of a namespace; return the version of the list."""
        async with self._calling("list", f"Jobs in '{namespace}' can't be listed") as client:
            jobs = client.list(Job, namespace=namespace, labels=self._labels)
            async for job in jobs:
                sighting = self._seen.sighting_of(job)
                if sighting is not None:
                    into.append(sighting)
            return jobs.resourceVersion

    async def _watch[T: (Job, Pod)](
        self,
        kind: type[T],
        namespace: str,
        version: str | None,
        take: Callable[[str, T], None],
    ) -> None:
        what = f"the watch on {kind.__name__}s in '{namespace}' has ended"
        async with self._calling("watch", what) as client:
            try:
                async for change, one in client.watch(
                    kind,
                    namespace=namespace,
                    labels=self._labels,
                    server_timeout=_WATCH_SECONDS,
                    resource_version=version,
                ):
                    take(change, one)
            except _ILLEGIBLE as error:
                raise BackendError(f"{what}: {type(error).__name__}") from error
        raise BackendError(what)

    async def ending(self, sighting: Sighting) -> Ending | None:
        """Read the pod, the end of its output, and from the Secret its command."""
        job = self._seen.jobs.get(sighting.name)
        if job is None or job.metadata is None:
            return None
        space = job.metadata.namespace or self._namespaces[0]
        end = end_of(job)
        if end is None and sighting.condition is not Condition.STUCK:
            return None
        found = await self._found(sighting, space)
        name = sighting.name
        verdict = _verdict(end, found, self._seen.losses.get(name), self._seen.troubles.get(name))
        if verdict is None:
            return None
        read = await self._origin(job, name, space)
        if read is None:
            return None
        origin, hidden = read
        await self.followers.end(name)
        status = job.status or JobStatus()
        ending = Ending(
            name=name,
            origin=origin,
            state=verdict[0],
            uid=job.metadata.uid,
            reason=verdict[1],
            pod=found.pod,
            namespace=space,
            succeeded=status.succeeded or 0,
            failed=status.failed or 0,
            is_removed=end is None,
        )
        if end is None:
            return ending
        logs, is_cut = await self._logs(found, space)
        return replace(
            ending,
            exit_code=found.exit_code,
            started_at=found.started_at,
            completed_at=found.ended_at or (end[2] and datetime.fromtimestamp(end[2], UTC)) or None,
            logs=masked(logs, hidden),
            logs_truncated=is_cut,
        )

    async def _found(self, sighting: Sighting, namespace: str) -> Found:
        """Return the facts about the newest pod of a Job; nothing if there is none."""
        labels: dict[str, Selected] = {**self._labels, "job-name": sighting.name}
        newest: Pod | None = None
        async with self._calling("inspect", f"pods of '{sighting.name}'") as client:
            async for pod in client.list(Pod, namespace=namespace, labels=labels):
                if newest is None or _created(pod) >= _created(newest):
                    newest = pod
        return Found() if newest is None else found_in(newest)

    async def _origin(self, job: Job, name: str, namespace: str) -> tuple[Origin, list[str]] | None:
        try:
            async with self._calling("inspect", f"the Secret of '{name}'") as client:
                secret = await client.get(Secret, name, namespace=namespace)
        except BackendError as error:
            if error.status == 404:
                return None  # its start was interrupted; the next run of the command goes on
            raise
        data = {key: b64decode(value).decode() for key, value in (secret.data or {}).items()}
        meta = job.metadata
        notes = (meta.annotations if meta is not None else None) or {}
        labels = (meta.labels if meta is not None else None) or {}
        names = (word for word in notes.get(HIDDEN_NOTE, "").split(",") if word)
        origin = Origin(
            execution_id=int(labels.get(EXECUTION_LABEL, "0")),
            event_id=int(labels.get(EVENT_LABEL, "0")),
            command_id=notes.get(COMMAND_NOTE, ""),
            step=notes.get(STEP_NOTE, ""),
            callback=data.get(CALLBACK_KEY, ""),
            pool=labels.get(POOL_LABEL, ""),
            worker=labels.get(WORKER_LABEL, ""),
            kind=self._kind,
            output_select=orjson.loads(notes.get(OUTPUT_NOTE, "null")),
        )
        hidden = [data.get(f"{ENV_KEY}{word}", "") for word in names]
        return origin, [*hidden, *orjson.loads(data.get(MASKED_KEY, "[]"))]

    async def _logs(self, found: Found, namespace: str) -> tuple[str, bool]:
        if found.pod is None or not self._log_bytes:
            return "", False
        try:
            async with self._calling("logs", f"the log of '{found.pod}'") as client:
                lines = client.log(
                    found.pod, namespace=namespace, container=MAIN, tail_lines=_MOST_LINES
                )
                return await end_of_lines(lines, self._log_bytes)
        except BackendError as error:
            if error.status is None:
                raise
            return f"[the log can't be read: {error}]", False

    async def _follow_log(self, pod: str, namespace: str) -> AsyncIterator[str]:
        async with self._calling("logs", f"the log of '{pod}'") as client:
            async for line in client.log(pod, namespace=namespace, container=MAIN, follow=True):
                yield line

    async def settle(self, ending: Ending) -> Sighting | None:
        """Mark a Job as reported and give it its time to live, in one call."""
        job = self._seen.jobs.get(ending.name)
        if job is None or job.metadata is None:
            return None
        notes = job.metadata.annotations or {}
        change: JsonObject = {
            "metadata": {"annotations": {REPORTED_NOTE: ending.state}},
            "spec": {"ttlSecondsAfterFinished": int(notes.get(TTL_NOTE, "0"))},
        }
        space = job.metadata.namespace or self._namespaces[0]
        if not await self._change(ending.name, space, change):
            return None
        return Sighting(
            name=ending.name, condition=Condition.REPORTED, event_id=ending.origin.event_id
        )

    async def expire(self, name: str) -> None:
        """Bring a Job that is over its time to the cluster's mind, which ends it.

        It does so by itself, but a controller may miss the moment, and looks again only when a
        Job changes.
        """
        job = self._seen.jobs.get(name)
        space = job.metadata.namespace if job is not None and job.metadata is not None else None
        change: JsonObject = {
            "metadata": {"annotations": {OVERDUE_NOTE: datetime.now(UTC).isoformat()}}
        }
        await self._change(name, space or self._namespaces[0], change)

    async def _change(self, name: str, namespace: str, change: JsonObject) -> bool:
        async def patch(client: AsyncClient) -> None:
            await client.patch(Job, name, change, namespace=namespace, patch_type=PatchType.MERGE)

        return await self._unless_gone("patch", name, patch)

    async def remove(self, sighting: Sighting) -> None:
        """Delete a Job with its pods and its Secret."""
        job = self._seen.jobs.get(sighting.name)
        space = job.metadata.namespace if job is not None and job.metadata is not None else None
        await self._delete(sighting.name, space or self._namespaces[0])

    async def discard(self, plan: Plan) -> None:
        """Delete the objects that an interrupted start has left."""
        await self._delete(plan.name, plan.namespace)

    async def _delete(self, name: str, namespace: str) -> None:
        async def delete(client: AsyncClient) -> None:
            await client.delete(Job, name, namespace=namespace, cascade=CascadeType.BACKGROUND)

        await self._unless_gone("delete", name, delete)
        self._seen.drop(name)  # its pods go because of this, and are not lost

    async def _unless_gone(
        self, operation: str, name: str, call: Callable[[AsyncClient], Awaitable[None]]
    ) -> bool:
        try:
            async with self._calling(operation, f"{operation} of the Job '{name}'") as client:
                await call(client)
        except BackendError as error:
            if error.status != 404:
                raise
            return False
        return True


def _verdict(
    end: tuple[bool, str, float | None] | None,
    found: Found,
    loss: Loss | None,
    trouble: str | None,
) -> tuple[JobState, str | None] | None:
    """Return state and reason of a container that has ended, or can't; None while it may go on."""
    if end is not None:
        return judged(end, found, trouble)
    if loss is not None:
        return "failed_node_lost", loss.reason
    if found.waits is None:
        return None
    is_image = found.waits[0] in IMAGE_TROUBLES
    return "failed_image_pull" if is_image else "failed", ": ".join(found.waits)


def _created(pod: Pod) -> float:
    created = pod.metadata.creationTimestamp if pod.metadata is not None else None
    return created.timestamp() if created is not None else 0.0


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
