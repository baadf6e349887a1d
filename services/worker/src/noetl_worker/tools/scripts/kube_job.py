"""A script in a Kubernetes Job: its objects, its end, its output."""

import asyncio
import contextlib
import shlex
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import orjson
from lightkube import AsyncClient
from lightkube.core.exceptions import ApiError
from lightkube.models.batch_v1 import JobSpec, JobStatus
from lightkube.models.core_v1 import (
    ConfigMapVolumeSource,
    Container,
    EnvFromSource,
    PodSpec,
    PodTemplateSpec,
    ResourceRequirements,
    SecretEnvSource,
    Volume,
    VolumeMount,
)
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import ConfigMap, Pod, Secret
from lightkube.types import CascadeType, PatchType
from noetl_contract.json import JsonObject

from noetl_worker.interpreters.run import Listener
from noetl_worker.tools.tool import ToolError

# What lightkube raises: `ApiError` is one of its HTTP client's errors, whose root this is.
CLUSTER_ERRORS: tuple[type[Exception], ...] = (ApiError.__mro__[2], OSError, TimeoutError)
_MOUNT = "/scripts"
_LOG_LINES = 10_000
_LAST_PATIENCE = 5
_CLEANING_SECONDS = 10.0
_LAST_LINES_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """A script with the settings of its job."""

    name: str
    namespace: str
    script: str
    args: JsonObject
    image: str
    pull_policy: str
    dependencies: list[str]
    env: dict[str, str]
    resources: dict[str, dict[str, str]]
    labels: dict[str, str]
    ttl_seconds: int
    backoff_limit: int
    timeout_seconds: int

    def command(self) -> str:
        """Return the line that the container's shell runs."""
        line = f"python {_MOUNT}/script.py {shlex.quote(orjson.dumps(self.args).decode())}"
        if not self.dependencies:
            return line
        return f"pip install {' '.join(map(shlex.quote, self.dependencies))} && {line}"


@dataclass(slots=True)
class JobEnd:
    """End of a job."""

    status: str
    succeeded: int = 0
    failed: int = 0
    pod_name: str | None = None
    output: str | None = None
    exit_code: int | None = None


@dataclass(slots=True)
class KubeJob:
    """The objects of one plan in a cluster."""

    client: AsyncClient
    plan: JobPlan
    poll_seconds: float
    most_output: int
    listener: Listener | None = None
    _made: list[tuple[type[ConfigMap] | type[Secret], str]] = field(default_factory=list)
    _has_job: bool = False

    async def run(self) -> JobEnd:
        """Create everything, wait for the end, read the output, tidy up.

        Raises:
            ToolError: the cluster refused, or can't be reached any more.
        """
        try:
            await self._create()
            async with self._listening():
                end = await self._wait()
            with contextlib.suppress(*CLUSTER_ERRORS):
                await self._read_output(end)
        except BaseException:
            # No caller waits for it any more.
            await self._tidy(with_job=True)
            raise
        await self._tidy(with_job=end.status == "timeout")
        return end

    async def _create(self) -> None:
        plan = self.plan
        script = ConfigMap(
            metadata=self._meta(f"{plan.name}-script"), data={"script.py": plan.script}
        )
        # Noted first: a call that was given up may have had its effect.
        self._made.append((ConfigMap, f"{plan.name}-script"))
        await self._make("ConfigMap", lambda: self.client.create(script))
        if plan.env:
            secret = Secret(metadata=self._meta(f"{plan.name}-env"), stringData=plan.env)
            self._made.append((Secret, f"{plan.name}-env"))
            await self._make("Secret", lambda: self.client.create(secret))
        self._has_job = True
        job = await self._make("Job", lambda: self.client.create(self._job()))
        # A worker may be allowed to create and not to change; we remove them ourselves anyway.
        with contextlib.suppress(*CLUSTER_ERRORS):
            await self._own(job)

    async def _make(self, what: str, make: Callable[[], Any]) -> Any:
        try:
            return await make()
        except CLUSTER_ERRORS as error:
            raise ToolError(
                "Configuration error", f"Failed to create K8s {what}: {_text(error)}"
            ) from error

    async def _own(self, job: Job) -> None:
        """Let the cluster remove what belongs to the job when we can't."""
        uid = job.metadata.uid if job.metadata is not None else None
        owner = OwnerReference(
            apiVersion="batch/v1", kind="Job", name=self.plan.name, uid=uid or ""
        )
        change = {"metadata": {"ownerReferences": [owner.to_dict()]}}
        for kind, name in self._made:
            await self.client.patch(
                kind, name, change, namespace=self.plan.namespace, patch_type=PatchType.MERGE
            )

    async def _wait(self) -> JobEnd:
        plan = self.plan
        deadline = monotonic() + plan.timeout_seconds
        silent = 0
        while True:
            try:
                job = await self.client.get(Job, plan.name, namespace=plan.namespace)
            except CLUSTER_ERRORS as error:
                silent += 1
                if silent >= _LAST_PATIENCE:
                    message = f"script: the job '{plan.name}' can't be followed: {_text(error)}"
                    raise ToolError("Execution failed", message) from error
            else:
                silent = 0
                end = _end_of(job.status or JobStatus())
                if end is not None:
                    return end
                if monotonic() >= deadline:
                    status = job.status or JobStatus()
                    return JobEnd("timeout", status.succeeded or 0, status.failed or 0)
            await asyncio.sleep(self.poll_seconds)

    @contextlib.asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        """Hand over what the job prints during the block, and for a moment what is left then."""
        if self.listener is None:
            yield
            return
        over = asyncio.Event()
        task = asyncio.create_task(self._listen(self.listener, over))
        try:
            yield
            over.set()
            await asyncio.wait({task}, timeout=_LAST_LINES_SECONDS)
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def _listen(self, listener: Listener, over: asyncio.Event) -> None:
        """Follow the log of each pod of the job, one after the other; both streams are one here."""
        heard: set[str] = set()
        while True:
            is_last = over.is_set()
            # Not there yet, or not to be had: this is for looking on.
            with contextlib.suppress(*CLUSTER_ERRORS):
                pod = await self._newest_pod()
                name = pod.metadata.name if pod is not None and pod.metadata is not None else None
                if name is not None and name not in heard:
                    log = self.client.log(name, namespace=self.plan.namespace, follow=True)
                    async for line in log:
                        heard.add(name)
                        listener("stdout", line.encode())
            if is_last:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.poll_seconds):
                    await over.wait()

    async def _newest_pod(self) -> Pod | None:
        newest: Pod | None = None
        pods = self.client.list(
            Pod, namespace=self.plan.namespace, labels={"job-name": self.plan.name}
        )
        async for pod in pods:
            if newest is None or _created(pod) >= _created(newest):
                newest = pod
        return newest

    async def _read_output(self, end: JobEnd) -> None:
        plan = self.plan
        newest = await self._newest_pod()
        if newest is None or newest.metadata is None or newest.metadata.name is None:
            return
        end.pod_name = newest.metadata.name
        for status in (newest.status.containerStatuses or []) if newest.status else []:
            if status.state is not None and status.state.terminated is not None:
                end.exit_code = status.state.terminated.exitCode
        text = []
        room = self.most_output
        async for line in self.client.log(
            end.pod_name, namespace=plan.namespace, tail_lines=_LOG_LINES
        ):
            text.append(line[:room])
            room -= len(text[-1])
            if room <= 0:
                text.append("\n[more output was dropped]")
                break
        end.output = "".join(text)

    async def _tidy(self, *, with_job: bool) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLEANING_SECONDS):
                for kind, name in self._made:
                    with contextlib.suppress(*CLUSTER_ERRORS):
                        await self.client.delete(kind, name, namespace=self.plan.namespace)
                if with_job and self._has_job:
                    with contextlib.suppress(*CLUSTER_ERRORS):
                        await self.client.delete(
                            Job,
                            self.plan.name,
                            namespace=self.plan.namespace,
                            cascade=CascadeType.BACKGROUND,
                        )

    def _meta(self, name: str) -> ObjectMeta:
        return ObjectMeta(name=name, namespace=self.plan.namespace, labels=self.plan.labels)

    def _job(self) -> Job:
        plan = self.plan
        env = [EnvFromSource(secretRef=SecretEnvSource(name=f"{plan.name}-env"))]
        container = Container(
            name="script",
            image=plan.image,
            imagePullPolicy=plan.pull_policy,
            command=["/bin/sh", "-c", plan.command()],
            envFrom=env if plan.env else None,
            resources=ResourceRequirements(
                requests=plan.resources.get("requests"), limits=plan.resources.get("limits")
            ),
            volumeMounts=[VolumeMount(name="script", mountPath=_MOUNT, readOnly=True)],
        )
        pod = PodTemplateSpec(
            metadata=ObjectMeta(labels=plan.labels),
            spec=PodSpec(
                containers=[container],
                restartPolicy="Never",
                volumes=[
                    Volume(
                        name="script",
                        configMap=ConfigMapVolumeSource(name=f"{plan.name}-script"),
                    )
                ],
            ),
        )
        return Job(
            metadata=self._meta(plan.name),
            spec=JobSpec(
                template=pod,
                backoffLimit=plan.backoff_limit,
                ttlSecondsAfterFinished=plan.ttl_seconds,
                # The cluster ends it even when this worker is gone.
                activeDeadlineSeconds=plan.timeout_seconds,
            ),
        )


def _end_of(status: JobStatus) -> JobEnd | None:
    succeeded, failed = status.succeeded or 0, status.failed or 0
    for condition in status.conditions or []:
        if condition.status != "True":
            continue
        if condition.type == "Complete":
            return JobEnd("completed", succeeded, failed)
        if condition.type == "Failed":
            late = condition.reason == "DeadlineExceeded"
            return JobEnd("timeout" if late else "failed", succeeded, failed)
    return JobEnd("completed", succeeded, failed) if succeeded else None


def _created(pod: Pod) -> str:
    created = pod.metadata.creationTimestamp if pod.metadata is not None else None
    return created.isoformat() if created is not None else ""


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
