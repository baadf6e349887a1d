"""A pipeline: tasks one after the other, each seeing the results before it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter

from noetl_contract.json import Json, JsonObject

from noetl_worker.run.empty_templates import empty_templates
from noetl_worker.run.policy import (
    Attempts,
    Decision,
    PolicyLimits,
    rules_of,
    write_nested,
)
from noetl_worker.tools.errors import NeverBegan
from noetl_worker.tools.tool import (
    AUTH_TYPES,
    Failure,
    Tool,
    ToolContext,
    ToolError,
    ToolParts,
    ToolResult,
    Tried,
    attempt,
)

_OWN_KEYS = frozenset({"kind", "set", "spec"})
_BACK = frozenset({"previous", "prev"})


@dataclass(frozen=True, slots=True)
class _Task:
    index: int
    label: str
    kind: str
    spec: JsonObject

    @property
    def name(self) -> str:
        """The label, or the place of a task without one."""
        return self.label or f"task[{self.index}]"

    @property
    def rules(self) -> list[Mapping[str, Json]]:
        spec = self.spec.get("spec")
        return rules_of(spec.get("policy")) if isinstance(spec, dict) else []


@dataclass(slots=True)
class _Progress:
    """State of a running pipeline."""

    variables: JsonObject
    results: JsonObject = field(default_factory=dict)
    updates: JsonObject = field(default_factory=dict)
    stdout: str | None = None
    stderr: str | None = None
    exit_code: int | None = None

    def record(self, label: str, tried: Tried) -> None:
        result = tried.result
        data = None if result is None else result.value
        self.results[label] = data
        if isinstance(data, dict) and "data" not in data:
            # `{{ label.x }}` and `{{ label.data.x }}` are the same.
            self.variables[label] = {**data, "data": data}
        else:
            self.variables[label] = data
        if result is not None:
            self.stdout, self.stderr = result.stdout, result.stderr
            self.exit_code = result.exit_code

    def apply(self, updates: Mapping[str, Json]) -> None:
        for path, value in updates.items():
            write_nested(self.variables, path, value)
            self.updates[path] = value


class TaskSequence:
    """The task_sequence tool."""

    def __init__(self, limits: PolicyLimits) -> None:
        self._limits = limits

    async def run(self, config: JsonObject, context: ToolContext) -> ToolResult:
        """Run the tasks in order, or as their policies say."""
        started = perf_counter()
        tasks = _tasks_of(config)
        progress = _Progress(variables=dict(context.variables))
        result = await self._run_all(tasks, progress, context)
        result.stdout, result.stderr = progress.stdout, progress.stderr
        result.duration_ms = int((perf_counter() - started) * 1000)
        return result

    async def _run_all(
        self, tasks: list[_Task], progress: _Progress, context: ToolContext
    ) -> ToolResult:
        index = 0
        runs = 0
        attempts = Attempts(limits=self._limits, retry=_retry_of(tasks, 0))
        while index < len(tasks):
            runs += 1
            if runs > self._limits.max_runs:
                raise ToolError(
                    "Execution failed",
                    f"task_sequence: more than {self._limits.max_runs} task runs",
                )
            task = tasks[index]
            try:
                tried, decision = await self._try(task, attempts, progress, context)
            except ToolError as error:
                raise error.in_task(task.name) from error
            progress.apply(decision.updates)
            if decision.wait is not None:
                await attempts.pause(decision.wait)
                continue
            ended = _ending(task, tried, decision, progress, context)
            if ended is not None:
                return ended
            target = _next_index(task, decision, tasks)
            if target is None:
                message = (
                    f"task_sequence: jump target '{decision.target}' from "
                    f"task[{task.index}] '{task.label}' not found"
                )
                return _stopped(task, progress, error=message, exit_code=1)
            index = target
            attempts = Attempts(limits=self._limits, retry=_retry_of(tasks, index))
        return _success(progress)

    async def _try(
        self, task: _Task, attempts: Attempts, progress: _Progress, context: ToolContext
    ) -> tuple[Tried, Decision]:
        variables = dict(progress.variables)
        inner = context.with_variables(variables, timeout=None, auth=None)
        spec = task.spec
        place = "input" if "input" in spec else "args"
        given = spec.get(place)
        rules = {"retry": spec["retry"]} if isinstance(spec.get("retry"), list) else {}
        written = {key: value for key, value in spec.items() if key not in _OWN_KEYS | rules.keys()}
        # For its configuration only: neither `set` nor rules see the keychain.
        full = inner
        if context.credentials is not None:
            full = await context.credentials.with_keychain(task.kind, [written], inner)
        if isinstance(given, dict):
            seen = {key: full.render_task(value) for key, value in given.items()}
            variables.update(seen)
        config = full.render_task(written)
        if isinstance(given, dict):
            # An input may have the name of a label and hide it from the second rendering.
            again = config[place]
            config[place] = {k: v if (v := again.get(k)) is not None else seen[k] for k in seen}
        # They speak of answers that are not there yet.
        config.update(rules)
        auth = config.get("auth")
        if isinstance(auth, dict) and auth.get("type") in AUTH_TYPES:
            # Any other object is a key the tool doesn't know: nothing is lifted here.
            inner.auth = auth
            del config["auth"]
        rendered = inner.with_variables(variables, is_rendered=True)
        tried = await attempt(context.toolbox.run(task.kind, config, rendered))
        if not isinstance(tried.error, NeverBegan):
            context.may_move = False
        progress.record(task.label, tried)
        if tried.result is not None:
            self._assign(task, tried.result, inner, progress)
        decision = attempts.decide(task.rules, tried, context=inner, label=task.label)
        return tried, decision

    @staticmethod
    def _assign(task: _Task, result: ToolResult, context: ToolContext, progress: _Progress) -> None:
        assignments = task.spec.get("set")
        if isinstance(assignments, dict):
            for path, expression in assignments.items():
                value = context.render(expression, extra={"output": result.value})
                write_nested(progress.variables, path, value)


def _ending(
    task: _Task, tried: Tried, decision: Decision, progress: _Progress, context: ToolContext
) -> ToolResult | None:
    """Return the pipeline's result if this try ends it.

    Raises:
        ToolError: the task raised, and no rule softened that.
    """
    if decision.action == "break":
        return _success(progress)
    softened = decision.action in {"continue", "jump"}
    if tried.error is not None:
        if softened:
            return None
        empty = empty_templates(task.spec, context.with_variables(progress.variables))
        more = f" (rendered to nothing: {', '.join(empty)})" if empty else ""
        raise tried.error.in_task(task.name, more=more)
    if decision.action == "fail":
        message = f"policy rule triggered fail for task[{task.index}] '{task.label}'"
        return _stopped(task, progress, error=message, exit_code=1)
    result = tried.result
    if result is not None and result.status == "error" and not softened:
        message = result.error or f"task_sequence task[{task.index}] failed"
        return _stopped(
            task, progress, error=message, exit_code=result.exit_code, failure=result.failure
        )
    return None


def _next_index(task: _Task, decision: Decision, tasks: list[_Task]) -> int | None:
    if decision.action != "jump":
        return task.index + 1
    if decision.target in _BACK:
        return task.index - 1 if task.index > 0 else None
    return next((other.index for other in tasks if other.label == decision.target), None)


def _success(progress: _Progress) -> ToolResult:
    data = dict(progress.results)
    if progress.updates:
        data["_context_updates"] = dict(progress.updates)
    return ToolResult(data=data, exit_code=progress.exit_code)


def _stopped(
    task: _Task,
    progress: _Progress,
    *,
    error: str,
    exit_code: int | None,
    failure: Failure | None = None,
) -> ToolResult:
    data: JsonObject = {"labeled_results": dict(progress.results), "failed_task": task.index}
    if progress.updates:
        data["_context_updates"] = dict(progress.updates)
    return ToolResult(
        status="error",
        data=data,
        error=error,
        exit_code=exit_code,
        failure=failure or Failure(),
        task=task.name,
    )


def _tasks_of(config: JsonObject) -> list[_Task]:
    entries = config.get("tool_config", config.get("tasks"))
    if not isinstance(entries, list):
        raise _refused("`tool_config` is not a list of tasks")
    tasks: list[_Task] = []
    for index, entry in enumerate(entries):
        count = len(entry) if isinstance(entry, dict) else 0
        if count != 1:
            raise _refused(f"task[{index}] must have exactly one labeled entry (got {count})")
        label, spec = next(iter(entry.items()))
        if not isinstance(spec, dict):
            raise _refused(f"task '{label}' spec must be a JSON object")
        kind = spec.get("kind")
        if not isinstance(kind, str):
            raise _refused(f"task '{label}' missing required 'kind' field")
        tasks.append(_Task(index, label, kind, spec))
    return tasks


def _refused(message: str) -> ToolError:
    return ToolError("Configuration error", f"task_sequence: {message}")


def _retry_of(tasks: list[_Task], index: int) -> Json:
    return tasks[index].spec.get("retry") if index < len(tasks) else None


def create(parts: ToolParts) -> Tool:
    """Make the tool."""
    settings = parts.settings
    return TaskSequence(
        PolicyLimits(
            max_attempts=settings.worker_retry_max_attempts,
            max_wait_seconds=settings.worker_retry_max_wait_seconds,
            max_runs=settings.task_sequence_max_iterations,
        )
    )
