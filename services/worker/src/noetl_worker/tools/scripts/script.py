"""The script tool: run a Python script as a Kubernetes Job."""

import secrets
import shlex
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import orjson
from noetl_common.logging import get_logger
from noetl_contract.json import Json, JsonObject

from noetl_worker.commands import Command
from noetl_worker.redaction import is_sensitive
from noetl_worker.settings import Settings
from noetl_worker.tools.containers.allowed import Allowed
from noetl_worker.tools.containers.backend import Ending
from noetl_worker.tools.containers.callback import Callbacks, body_of
from noetl_worker.tools.containers.kubernetes.backend import KubernetesBackend
from noetl_worker.tools.containers.parked import Parked
from noetl_worker.tools.containers.places import a_cluster
from noetl_worker.tools.containers.plan import SCRIPT, SCRIPT_KIND, Origin, Plan, script_name
from noetl_worker.tools.containers.reading import SECRET_TEMPLATE
from noetl_worker.tools.fields import Fields
from noetl_worker.tools.scripts.source import ScriptSource
from noetl_worker.tools.tool import (
    Failure,
    ReportResult,
    ToolContext,
    ToolError,
    ToolParts,
    ToolResult,
)

_log = get_logger()
_TYPES = ("gcs", "s3", "http", "local", "inline")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
# A Secret holds a mebibyte, metadata included.
_LARGEST_SCRIPT = 1_000_000
_DROPPED = "[earlier output was dropped]\n"
_ARGUMENTS: Final = "NOETL_SCRIPT_ARGS"
_NONE = "Failed to create K8s client: this worker's NOETL_CONTAINER_BACKEND is not `kubernetes`"


class Script(Parked):
    """The script tool.

    A script that is a step of its own is left to the watcher, and its end comes as a callback.
    In a list of tools, or with rules for another try, the run waits for it.

    Args:
        settings: the worker's.
        source: of scripts.
        backend: the cluster; None: there is none, and the tool refuses.
        ends: report ends to the control plane.
    """

    def __init__(
        self,
        settings: Settings,
        source: ScriptSource,
        backend: KubernetesBackend | None,
        ends: "ScriptEnds",
    ) -> None:
        super().__init__(settings, SCRIPT_KIND, backend, ends.report)
        self._cluster = backend
        self._allowed = Allowed(settings, kind=SCRIPT_KIND)
        self._source = source

    async def run(self, config: JsonObject, context: ToolContext) -> ToolResult:
        """Run a job; a failed job is a result, not an error."""
        plan = await self._plan(context.render(config), config, context)
        if self._cluster is None:
            raise ToolError("Configuration error", _NONE)
        started = await self.start(self._cluster, plan)
        if context.listener is not None:
            close = None if plan.is_awaited else context.close_output
            self._cluster.followers.add(plan.name, context.listener, close)
        if plan.is_awaited:
            return result_of(await self.end_of(self._cluster, plan))
        self.leave(plan)
        data: JsonObject = {
            "job_name": started.name,
            "job_uid": started.uid,
            "namespace": started.namespace,
        }
        return ToolResult(data=data, pending_callback=True)

    async def _plan(self, config: JsonObject, raw: JsonObject, context: ToolContext) -> Plan:
        fields = Fields(config, kind="script")
        args = fields.mapping("args", alias="input")
        fields.check_required()
        text = await self._text(Fields(fields.mapping("script"), kind="script"))
        if len(text.encode()) > _LARGEST_SCRIPT:
            message = f"the script has more than {_LARGEST_SCRIPT} bytes"
            raise ToolError("Configuration error", message)
        job = Fields(fields.mapping("job"), kind="script")
        env = {**job.texts("env"), _ARGUMENTS: orjson.dumps(args).decode()}
        origin = replace(self.origin(context), output_select=context.output_select)
        is_awaited = context.is_rendered or not context.may_park
        plan = Plan(
            # What only its run waits for is another Job each time.
            name=script_name(origin.execution_id, origin.event_id)
            + (f"-{secrets.token_hex(4)}" if is_awaited else ""),
            namespace=job.optional_text("namespace") or self._allowed.settings.container_namespace,
            image=job.optional_text("image") or "python:3.11-slim",
            origin=origin,
            command=("/bin/sh", "-c", _command(job.text_list("install_dependencies"))),
            env=env,
            hidden=tuple(name for name in env if is_sensitive(name)),
            masked=tuple(_secrets_in(raw, config)),
            script=text,
            pull_policy=job.choice("image_pull_policy", _PULL_POLICIES, default="IfNotPresent"),
            timeout_seconds=self._allowed.seconds(
                _given(job.optional_unsigned("timeout"), 600), name="job.timeout"
            ),
            ttl_seconds=_given(job.optional_unsigned("ttl_seconds_after_finished"), 300),
            backoff_limit=_given(job.optional_unsigned("backoff_limit"), 3),
            is_awaited=is_awaited,
        )
        return self._allowed_plan(plan, Fields(job.mapping("resources"), kind="script"))

    def _allowed_plan(self, plan: Plan, resources: Fields) -> Plan:
        """Return the plan with its resources, if this worker may run it."""
        self._allowed.image(plan.image)
        self._allowed.namespace(plan.namespace)
        limits = resources.texts("limits")
        requests = self._allowed.requests(resources.texts("requests"), limits)
        return replace(plan, requests=requests, limits=self._allowed.limits(limits))

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


class ScriptEnds:
    """Callbacks that bring the result of a script's step, as its own run would have.

    Args:
        callbacks: to the control plane.
        report_result: makes the reported form of a result.
    """

    def __init__(self, callbacks: Callbacks, report_result: ReportResult) -> None:
        self._callbacks = callbacks
        self._report_result = report_result

    async def report(self, ending: Ending) -> bool:
        """Report an end; False when it has to be reported again."""
        result = result_of(ending)
        more: JsonObject
        try:
            reported = await self._report_result(_command_of(ending.origin), result)
        except ToolError as error:
            _log.warning("result_not_reported", job=ending.name, error=str(error))
            if error.failure.retryable:
                return False
            # Refused for good: the step fails with the reason, as one does whose run stores it.
            more = {"result": {"status": result.status}, "error": str(error)}
        else:
            more = {"result": reported}
        body = body_of(replace(ending, logs=None)) | more
        return await self._callbacks.send(ending, body)


def result_of(ending: Ending) -> ToolResult:
    """Return the result of a script whose Job has ended."""
    is_good = ending.state == "succeeded"
    is_late = ending.state == "failed_timeout"
    failed = "timeout" if is_late else "failed"
    data: JsonObject = {
        "status": "completed" if is_good else failed,
        "terminal_state": ending.state,
        "job_name": ending.name,
        "namespace": ending.namespace,
        "succeeded": ending.succeeded,
        "failed": ending.failed,
    }
    seconds = None
    if ending.started_at is not None and ending.completed_at is not None:
        seconds = max(0.0, (ending.completed_at - ending.started_at).total_seconds())
        data["execution_time"] = round(seconds, 3)
    more: JsonObject = {
        "pod_name": ending.pod,
        "output": f"{_DROPPED}{ending.logs}" if ending.logs_truncated else ending.logs,
        "exit_code": ending.exit_code,
        "reason": ending.reason,
    }
    data |= {name: value for name, value in more.items() if value is not None}
    error = f"Job failed with {ending.failed} failures"
    if ending.state != "failed" and ending.reason is not None:
        error = f"{error}: {ending.state}: {ending.reason}"
    is_gone = ending.state == "failed_node_lost"
    kind = "timeout" if is_late else "unknown"
    return ToolResult(
        status="success" if is_good else "error",
        data=data,
        error=None if is_good else error,
        duration_ms=None if seconds is None else int(seconds * 1000),
        failure=None if is_good else Failure(kind=kind, retryable=is_late or is_gone),
    )


def _command(dependencies: list[str]) -> str:
    """Return the line that the container's shell runs."""
    line = f'python {SCRIPT} "${_ARGUMENTS}"'
    if not dependencies:
        return line
    return f"pip install {' '.join(map(shlex.quote, dependencies))} && {line}"


def _command_of(origin: Origin) -> Command:
    return Command(
        execution_id=origin.execution_id,
        event_id=origin.event_id,
        command_id=origin.command_id,
        step=origin.step,
        server_url=origin.callback,
        action=SCRIPT_KIND,
        context={"output_select": origin.output_select},
        shard=origin.shard,
    )


def _secrets_in(raw: Json, rendered: Json) -> Iterator[str]:
    """Yield the texts of a configuration that the keychain has brought."""
    if isinstance(raw, str):
        if SECRET_TEMPLATE.search(raw) is not None:
            yield from _texts_in(rendered)
    elif isinstance(raw, dict) and isinstance(rendered, dict):
        for name, value in raw.items():
            yield from _secrets_in(value, rendered.get(name))
    elif isinstance(raw, list) and isinstance(rendered, list):
        for one, other in zip(raw, rendered, strict=False):
            yield from _secrets_in(one, other)


def _texts_in(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts_in(inner)


def _given(value: int | None, default: int) -> int:
    return default if value is None else value


def create(parts: ToolParts) -> Script:
    """Make the tool; once per worker."""
    settings = parts.settings
    backend = None
    if settings.container_backend == "kubernetes":
        most_output = settings.worker_python_output_bytes
        backend = a_cluster(settings, kind=SCRIPT_KIND, log_bytes=most_output)
    ends = ScriptEnds(Callbacks(parts.edge), parts.report_result)
    return Script(settings, ScriptSource.of(parts), backend, ends)
