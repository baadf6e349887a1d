"""A single tool with its policy and its ``retry``."""

from dataclasses import replace

from noetl_contract.json import Json, JsonObject

from noetl_worker.run.policy import Attempts, PolicyLimits, rules_of
from noetl_worker.tools.errors import NeverBegan
from noetl_worker.tools.tool import Toolbox, ToolContext, ToolError, ToolResult, attempt

_SOFTENED = frozenset({"continue", "break", "jump"})
"""Actions after which the step goes on with any result of its tool."""


async def run_single(
    toolbox: Toolbox,
    kind: str,
    config: JsonObject,
    context: ToolContext,
    *,
    policy: Json,
    retry: JsonObject | None,
    limits: PolicyLimits,
) -> ToolResult:
    """Run a tool, again as often as its policy and its ``retry`` say.

    Raises:
        ToolError: it raised, and nothing softened that.
    """
    rules = rules_of(policy)
    if not rules and not retry:
        return await toolbox.run(kind, config, context)
    attempts = Attempts(limits=limits, retry=retry)
    context = replace(context, may_park=False)
    updates: JsonObject = {}
    while True:
        tried = await attempt(toolbox.run(kind, config, context))
        if not isinstance(tried.error, NeverBegan):
            context.may_move = False
        decision = attempts.decide(rules, tried, context=context, label=context.step)
        updates.update(decision.updates)
        if decision.wait is not None:
            await attempts.pause(decision.wait)
            continue
        break
    result = tried.result
    if result is not None:
        if decision.action == "fail" and result.status != "error":
            result.status = "error"
            result.error = f"policy rule triggered fail for '{context.step}'"
        result.is_handled = decision.action in _SOFTENED and result.status != "success"
    elif decision.action in _SOFTENED:
        # A raised error becomes a soft one: the step completes with its text.
        result = ToolResult(status="error", error=str(tried.error), failure=tried.failure)
        result.is_handled = True
    else:
        raise tried.error if tried.error is not None else ToolError("Execution failed", "no result")
    if updates:
        data = result.value
        # Something else than an object keeps the name templates know it by.
        base = data if isinstance(data, dict) else {"data": data}
        result.data = {**base, "_context_updates": updates}
    return result
