"""Build commands: tool configuration, arguments and context of a step, rendered."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from noetl_contract.json import Json

from noetl_engine.commands.needed_results import ALIASES, needed_results
from noetl_engine.commands.rendering import (
    data_for_worker,
    render,
    render_count,
    render_for_worker,
)
from noetl_engine.commands.results_for_worker import with_results_for_worker
from noetl_engine.commands.waits import build_wait
from noetl_engine.errors import EvaluateError
from noetl_engine.playbook.model import (
    LONGEST_SECONDS,
    POOLS_OF_PATHS,
    Loop,
    Pipeline,
    Playbook,
    Step,
    Tool,
    Value,
)
from noetl_engine.playbook.parse.plugins import PLUGIN_KIND
from noetl_engine.playbook.waits import WAIT_KINDS, WaitConfig
from noetl_engine.state.context import Walked, scope_of

TASK_SEQUENCE = "task_sequence"
PLAYBOOK = "playbook"
FRAME_ROWS = "__frame_max_rows"
_NOTHING: Mapping[str, Json] = {}


@dataclass(frozen=True, slots=True)
class LoopElement:
    """The element of a loop that a command works on."""

    loop: Loop
    index: int
    total: int
    element: Json

    def given(self, values: Mapping[str, Json]) -> "LoopElement":
        """Return it with another element, where the input of a restart has one."""
        name = self.loop.iterator
        return replace(self, element=values[name]) if name in values else self

    def variables(self) -> dict[str, Json]:
        """Return the iteration's names, for templates and for a single tool's arguments."""
        return {self.loop.iterator: self.element, "_index": self.index, "_total": self.total}


@dataclass(frozen=True, slots=True)
class BuiltCommand:
    """A command ready to be issued, but for its ids."""

    step: str
    tool_kind: str
    context: Json
    iteration: LoopElement | None = None
    timeout_seconds: int | float | None = None
    cursor: Mapping[str, Json] | None = None
    """Phase, step and frame of a cursor loop's command; the row of a body is added."""
    note: Mapping[str, Json] = field(default_factory=dict)
    wait: WaitConfig | None = None
    """Configuration of a wait, which the engine ends itself: it becomes no command."""

    def meta(self, *, execution_id: int, catalog_id: int, event_id: int, trace: Json) -> Json:
        """Return the ``command.issued`` row's meta; it fixes the command id."""
        command_id = f"{execution_id}:{self.step}:{event_id}"
        iteration = self.iteration
        if iteration is not None:
            command_id += f":i{iteration.index}"
        meta: dict[str, Json] = {
            "command_id": command_id,
            "step": self.step,
            "tool_kind": self.tool_kind,
            "max_attempts": 3,
            "attempt": 1,
            "execution_id": str(execution_id),
            "catalog_id": str(catalog_id),
            "actionable": True,
        }
        if iteration is not None:
            meta["iteration_index"] = iteration.index
            meta["iteration_total"] = iteration.total
            meta["iterator_step"] = self.step
            meta["item_var"] = iteration.loop.iterator
        if self.cursor is not None:
            meta["cursor"] = dict(self.cursor)
        if self.timeout_seconds is not None:
            meta["timeout_seconds"] = self.timeout_seconds
        if trace is not None:
            meta["trace"] = trace
        return meta


def pool_of(playbook: Playbook, execution_pool: str | None) -> str:
    """Return the pool whose workers get the commands of an execution."""
    if execution_pool:
        return execution_pool
    path = playbook.path or ""
    for pool in POOLS_OF_PATHS:
        if path.startswith(f"{pool}/"):
            return pool
    return "shared"


def with_plugins(built: BuiltCommand, plugins: Mapping[str, Json]) -> BuiltCommand:
    """Return a command that brings the versions of plug-ins which its execution keeps."""
    if not plugins or built.tool_kind not in {PLUGIN_KIND, TASK_SEQUENCE}:
        return built
    kept = dict(built.context) if isinstance(built.context, dict) else {}
    return replace(built, context={**kept, "plugins": dict(plugins)})


def build_command(
    step: Step,
    flat: Mapping[str, Json],
    iteration: LoopElement | None = None,
    *,
    results: Collection[str] = (),
    walked: Walked | None = None,
    frame: int | None = None,
    given: Mapping[str, Json] = _NOTHING,
) -> BuiltCommand:
    """Render a step's command in a flat context.

    Args:
        step: The step.
        flat: The context.
        iteration: The element it works on, in a loop.
        results: Names in the context that are results of steps and nothing else; those that
            the worker has no use for stay out of the command.
        walked: What is known of the context's values.
        frame: That of a cursor's body.
        given: The input of a restart, which is in place of everything of its names.

    Raises:
        EvaluateError: A template fails.
    """
    if iteration is not None:
        names = (iteration := iteration.given(given)).variables()
        flat = {**flat, **names, "iter": names}
    flat = {**flat, **given} if given else flat
    scope = scope_of(flat)
    tool = step.tool
    if isinstance(tool, Tool) and tool.kind in WAIT_KINDS:
        return _wait(step, tool, scope, iteration)
    own = step.own_templates
    inputs = _inputs(step, scope, given)
    if isinstance(tool, Pipeline):
        if inputs:
            flat = {**flat, **inputs}
            scope = scope_of(flat)
        kind, config = TASK_SEQUENCE, _pipeline_config(tool, scope, own)
    else:
        kind, config = tool.kind, _tool_config(tool, scope, inputs, iteration, step=step)
    context: dict[str, Json] = {
        "tool_config": config,
        "args": dict(step.args),
        "render_context": scope,
    }
    context.update(_kept(step))
    if walked is not None and walked.hold_stored:
        flat = with_results_for_worker(flat, context)
        context["render_context"] = scope_of(flat)
    names_here = {*(iteration.variables() if iteration else ()), *inputs, *given, "iter"}
    results = [name for name in results if name not in names_here]
    needed = needed_results(kind, context, results, own=names_here, walked=walked)
    if len(needed) < len(results) + len(ALIASES):
        context["render_context"] = _carried(flat, set(results) - needed, needed)
    cursor = _body(step, iteration, frame)
    limit, note = _time_limit(step), _note(tool, config)
    return BuiltCommand(step.name, kind, context, iteration, limit, cursor, note)


def _kept(step: Step) -> dict[str, Json]:
    """Return the parts of a step beside its configuration that its command carries."""
    kept: dict[str, Json] = {}
    if isinstance(step.tool, Tool) and step.tool.policy is not None:
        kept["policy"] = step.tool.policy
    if step.keychain:
        kept["keychain"] = list(step.keychain)
        if step.keychain_needed:
            kept["keychain_needed"] = list(step.keychain_needed)
    if step.own_templates and isinstance(step.tool, Pipeline):
        kept["own_templates"] = sorted(step.own_templates)
    if step.output_select:
        kept["output_select"] = list(step.output_select)
    return kept


def _body(step: Step, iteration: LoopElement | None, frame: int | None) -> dict[str, Json] | None:
    """Return which row of a cursor's frame a command works on."""
    if frame is None or iteration is None:
        return None
    return {"phase": "body", "step": step.name, "frame": frame, "row": iteration.index}


def _wait(
    step: Step, tool: Tool, scope: Mapping[str, Json], iteration: LoopElement | None
) -> BuiltCommand:
    wait = build_wait(step, tool, scope)
    return BuiltCommand(step.name, tool.kind, {}, iteration, _time_limit(step), wait=wait)


def _carried(
    flat: Mapping[str, Json], unread: Collection[str], needed: Collection[str]
) -> dict[str, Json]:
    """Return the scope without results that no template reads, and without unneeded aliases."""
    kept = {name: value for name, value in flat.items() if name not in unread}
    envelopes = kept.get("steps")
    if isinstance(envelopes, dict):  # and no variable or element of that name
        has_steps = "steps" in needed
        kept["steps"] = {
            name: value for name, value in envelopes.items() if has_steps and name not in unread
        }
    return scope_of(kept) if "ctx" in needed else {"workload": kept, **kept}


def build_claim(step: Step, flat: Mapping[str, Json], frame: int) -> BuiltCommand:
    """Render the command that claims the rows of a cursor loop's frame.

    Raises:
        EvaluateError: The claim can't be rendered, or the step is no cursor loop any more.
    """
    loop = step.loop
    if loop is None or loop.cursor is None:
        raise EvaluateError(f"step '{step.name}' has no cursor")
    rows: Json = loop.frame.max_rows
    if isinstance(rows, str):
        rows = render_count("max_rows", rows, scope_of(flat))
    scope = scope_of({**flat, FRAME_ROWS: rows})
    config: dict[str, Json] = {
        "command": render_for_worker(loop.cursor.claim, scope, own=step.own_templates)
    }
    if loop.cursor.auth is not None:
        config["auth"] = loop.cursor.auth
    context: Json = {"tool_config": config, "args": {}, "render_context": scope}
    cursor = {"phase": "claim", "step": step.name, "frame": frame}
    return BuiltCommand(
        step.name, loop.cursor.kind, context, timeout_seconds=_time_limit(step), cursor=cursor
    )


def _time_limit(step: Step) -> int | float | None:
    seconds = step.timeout_seconds
    return int(seconds) if seconds is not None and float(seconds).is_integer() else seconds


def _note(tool: Tool | Pipeline, config: Json) -> dict[str, Json]:
    """Return facts about a command that later decisions need without its context."""
    note: dict[str, Json] = {}
    tools = [tool] if isinstance(tool, Tool) else [task.tool for task in tool.tasks]
    if any(one.kind == PLAYBOOK and one.config.get("return_step") is not None for one in tools):
        note["awaits"] = True
    wanted = _longest_run(config) if isinstance(config, dict) else None
    if isinstance(wanted, int | float) and not isinstance(wanted, bool) and wanted > 0:
        note["patience"] = min(float(wanted), LONGEST_SECONDS)
    return note


def _longest_run(config: Mapping[str, Json]) -> Json:
    """Return the seconds that the work of a step may take, in the words of its tool."""
    job = config.get("job")
    if config.get("timeout_seconds") is None and isinstance(job, dict):
        return job.get("timeout")
    return config.get("timeout_seconds")


def _inputs(step: Step, scope: Mapping[str, Json], given: Mapping[str, Json]) -> dict[str, Json]:
    """Return a step's inputs: a pipeline's are variables, those of a single tool configuration.

    Those that are given are not rendered.
    """
    if not step.input:
        return {}
    written = {name: value for name, value in step.input.items() if name not in given}
    inputs: dict[str, Json] = {name: given[name] for name in step.input if name in given}
    if isinstance(step.tool, Pipeline):
        inputs |= render(written, scope)
    else:
        inputs |= render_for_worker(written, scope, own=step.own_templates, left=step.left)
    return inputs


def _pipeline_config(
    pipeline: Pipeline, scope: Mapping[str, Json], own: frozenset[str]
) -> list[Json]:
    rendered = partial(render_for_worker, scope=scope, own=own, renders=2)
    return [
        {task.label: {**rendered(dict(task.rendered), left=task.left), **task.verbatim}}
        for task in pipeline.tasks
    ]


def _tool_config(
    tool: Tool,
    scope: Mapping[str, Json],
    inputs: Mapping[str, Json],
    iteration: LoopElement | None,
    *,
    step: Step,
) -> Json:
    own = step.own_templates
    rendered = partial(render_for_worker, scope=scope, own=own, left=step.left)
    config: dict[str, Json] = rendered(_without_rules(tool))
    if isinstance(tool.config.get("auth"), dict) and not step.keychain:
        # The worker takes it out before it renders the rest, unless it may name the keychain.
        config["auth"] = render(tool.config["auth"], scope)
    if isinstance(tool.config.get("retry"), list):
        config["retry"] = tool.config["retry"]
    args: Json = rendered(tool.args) if tool.has_args else None
    if inputs and (args is None or isinstance(args, dict)):
        args = {**inputs, **(args or {})}
    if iteration is not None:
        if args is None:
            # A playbook takes its arguments before its payload, and would never see that.
            payload = config.get("payload") if tool.kind == PLAYBOOK else None
            args = dict(payload) if isinstance(payload, dict) else {}
        if isinstance(args, dict):
            args = {**args, **data_for_worker(iteration.variables(), own=own)}
    if tool.has_args or args is not None:
        config["args"] = args
    return config


def _without_rules(tool: Tool) -> dict[str, Value]:
    """Return the configuration without policy and list of ``retry`` rules, which travel unrendered.

    Their templates speak of the tool's output, so rendering them here could only fail.
    """
    config = dict(tool.config)
    if isinstance(config.get("retry"), list):
        del config["retry"]
    spec = config.get("spec")
    if tool.policy is not None and isinstance(spec, dict):
        rest = {key: value for key, value in spec.items() if key != "policy"}
        if rest:
            config["spec"] = rest
        else:
            del config["spec"]
    return config
