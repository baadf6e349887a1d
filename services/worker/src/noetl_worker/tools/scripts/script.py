"""The script tool: run a Python script as a Kubernetes Job and wait for it."""

import re
import secrets
from collections.abc import Callable
from time import perf_counter

from lightkube import AsyncClient, KubeConfig
from lightkube.core.exceptions import ConfigError, LoadResourceError
from noetl_contract.json import JsonObject

from noetl_worker.tools.fields import Fields
from noetl_worker.tools.scripts.kube_job import CLUSTER_ERRORS, JobEnd, JobPlan, KubeJob
from noetl_worker.tools.scripts.source import ScriptSource
from noetl_worker.tools.tool import Failure, Tool, ToolContext, ToolError, ToolParts, ToolResult

_TYPES = ("gcs", "s3", "http", "local", "inline")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_POLL_SECONDS = 2.0
# A ConfigMap holds a mebibyte, metadata included.
_LARGEST_SCRIPT = 1_000_000

# An incomplete configuration is an assertion of lightkube.
_NO_CLIENT: tuple[type[Exception], ...] = (
    *CLUSTER_ERRORS, ConfigError, LoadResourceError, ValueError, AssertionError,
)  # fmt: skip

type LoadConfig = Callable[[], KubeConfig]


class Script:
    """The script tool."""

    def __init__(
        self,
        source: ScriptSource,
        *,
        most_output: int,
        load_config: LoadConfig = KubeConfig.from_env,
        poll_seconds: float = _POLL_SECONDS,
    ) -> None:
        self._source = source
        self._most_output = most_output
        self._load_config = load_config
        self._poll_seconds = poll_seconds

    async def run(self, config: JsonObject, context: ToolContext) -> ToolResult:
        """Run a job; a failed job is a result, not an error."""
        started = perf_counter()
        plan = await self._plan(context.render(config), context)
        try:
            client = AsyncClient(config=self._load_config(), trust_env=False)
        except _NO_CLIENT as error:
            raise ToolError(
                "Configuration error", f"Failed to create K8s client: {error}"
            ) from error
        async with client:
            end = await KubeJob(
                client,
                plan,
                poll_seconds=self._poll_seconds,
                most_output=self._most_output,
                listener=context.listener,
            ).run()
        return _result(plan, end, seconds=perf_counter() - started)

    async def _plan(self, config: JsonObject, context: ToolContext) -> JobPlan:
        fields = Fields(config, kind="script")
        args = fields.mapping("args", alias="input")
        fields.check_required()
        text = await self._text(Fields(fields.mapping("script"), kind="script"))
        if len(text.encode()) > _LARGEST_SCRIPT:
            message = f"the script has more than {_LARGEST_SCRIPT} bytes"
            raise ToolError("Configuration error", message)
        job = Fields(fields.mapping("job"), kind="script")
        resources = Fields(job.mapping("resources"), kind="script")
        return JobPlan(
            name=f"noetl-script-{context.execution_id}-{secrets.token_hex(4)}",
            namespace=job.optional_text("namespace") or "noetl",
            script=text,
            args=args,
            image=job.optional_text("image") or "python:3.11-slim",
            pull_policy=job.choice("image_pull_policy", _PULL_POLICIES, default="IfNotPresent"),
            dependencies=job.text_list("install_dependencies"),
            env=job.texts("env"),
            resources={name: resources.texts(name) for name in ("requests", "limits")},
            labels=_labels(context),
            ttl_seconds=_given(job.optional_unsigned("ttl_seconds_after_finished"), 300),
            backoff_limit=_given(job.optional_unsigned("backoff_limit"), 3),
            timeout_seconds=max(_given(job.optional_unsigned("timeout"), 600), 1),
        )

    async def _text(self, script: Fields) -> str:
        kind = script.text("type")
        if kind not in _TYPES:
            script.choice("type", _TYPES, default="inline")
        if kind in {"gcs", "s3"}:
            raise ToolError(
                "Configuration error",
                f"script type '{kind}' is not supported: use type http with a signed URL",
            )
        if kind == "http":
            return await self._source.download(script.text("uri"))
        content = script.optional_text("content")
        if content is None:
            raise ToolError("Configuration error", f"script type '{kind}' requires `content`")
        return content


def _given(value: int | None, default: int) -> int:
    return default if value is None else value


def _labels(context: ToolContext) -> dict[str, str]:
    # A label is of these characters, at most 63, and ends like it begins.
    step = re.sub(r"[^0-9A-Za-z._-]", "-", context.step)[:63].strip("-._")
    return {
        "noetl.execution-id": str(context.execution_id),
        "noetl.step-name": step,
        "noetl.tool-kind": "script",
    }


def _result(plan: JobPlan, end: JobEnd, *, seconds: float) -> ToolResult:
    data: JsonObject = {
        "status": end.status,
        "job_name": plan.name,
        "namespace": plan.namespace,
        "execution_time": round(seconds, 3),
        "succeeded": end.succeeded,
        "failed": end.failed,
    }
    for name in ("pod_name", "output", "exit_code"):
        value = getattr(end, name)
        if value is not None:
            data[name] = value
    good = end.status == "completed"
    late = end.status == "timeout"
    return ToolResult(
        status="success" if good else "error",
        data=data,
        error=None if good else f"Job failed with {end.failed} failures",
        duration_ms=int(seconds * 1000),
        failure=None if good else Failure(kind="timeout" if late else "unknown", retryable=late),
    )


def create(parts: ToolParts) -> Tool:
    """Make the tool."""
    most_output = parts.settings.worker_python_output_bytes
    return Script(ScriptSource.of(parts), most_output=most_output)
