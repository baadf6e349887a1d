"""Policy rules of tasks and single tools."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from noetl_contract.json import Json, JsonObject
from noetl_contract.tools import RETRY_SYNONYMS
from noetl_template import TemplateLimitError, evaluate_rule

from noetl_worker.tools.tool import Failure, ToolContext, ToolError, Tried

_DEFAULT_ATTEMPTS = 3
_DEFAULT_DELAY_SECONDS = 1.0
_DEFAULT_TOOL_RETRIES = 3
_DEFAULT_TOOL_DELAY_SECONDS = 0.5
_DEFAULT_TOOL_MAX_DELAY_SECONDS = 10.0
_WAITING_STATUSES = frozenset({429, 503})


@dataclass(frozen=True, slots=True)
class PolicyLimits:
    """Upper bounds of the worker on retries and runs that playbooks ask for."""

    max_attempts: int = 100
    max_wait_seconds: float = 60.0
    max_runs: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision of the rules after a try."""

    action: str | None = None
    """The word after ``do``; None when no rule matched or the rule has none."""
    target: str | None = None
    wait: float | None = None
    """Seconds before the next try; None when there is none."""
    updates: JsonObject = field(default_factory=dict)
    """Variables that the matched rule sets, under the keys as written."""


def rules_of(policy: Json) -> list[Mapping[str, Json]]:
    """Return the rules of a policy; anything else than a list of maps holds none."""
    rules = policy.get("rules") if isinstance(policy, dict) else None
    return [rule for rule in rules if isinstance(rule, dict)] if isinstance(rules, list) else []


class Attempts:
    """The tries of one task, counted until it succeeds or the pipeline moves on."""

    def __init__(self, *, limits: PolicyLimits, retry: Json = None) -> None:
        self._limits = limits
        self._retry = retry if isinstance(retry, dict) else None
        self.number = 1

    def decide(
        self,
        rules: list[Mapping[str, Json]],
        tried: Tried,
        *,
        context: ToolContext,
        label: str,
    ) -> Decision:
        """Decide by the first matching rule.

        Raises:
            ToolError: a template of its ``set`` is wrong, or one of a rule reaches a limit.
        """
        scope = {
            **context.variables,
            "output": _output(tried),
            "_attempt": self.number,
            "_task": label,
        }
        try:
            block = _matching(rules, scope)
        except TemplateLimitError as error:
            raise ToolError("Template error", str(error)) from error
        if block is None:
            return Decision(wait=self._tool_retry(tried))
        updates: JsonObject = {}
        assignments = block.get("set")
        if isinstance(assignments, dict):
            for key, value in assignments.items():
                updates[key] = context.render(value, extra=scope)
        action = block.get("do")
        target = block.get("to")
        return Decision(
            action=action if isinstance(action, str) else None,
            target=target if isinstance(target, str) else None,
            wait=self._policy_retry(block, tried) if action == "retry" else None,
            updates=updates,
        )

    async def pause(self, seconds: float) -> None:
        """Wait before the next try, and count it."""
        if seconds > 0:
            await asyncio.sleep(seconds)
        self.number += 1

    def _policy_retry(self, block: Mapping[str, Json], tried: Tried) -> float | None:
        allowed = min(
            int(_number(block.get("attempts"), default=_DEFAULT_ATTEMPTS)),
            self._limits.max_attempts,
        )
        if self.number >= allowed:
            return None
        backoff = block.get("backoff")
        if backoff in {"linear", "exponential"}:
            delay = _number(block.get("delay"), default=_DEFAULT_DELAY_SECONDS)
            delay *= self.number if backoff == "linear" else 2.0 ** min(self.number - 1, 62)
        else:
            delay = _number(block.get("delay"), default=0.0)
        failure = tried.failure
        if failure.status in _WAITING_STATUSES and failure.retry_after is not None:
            delay = max(delay, failure.retry_after)
        return min(max(delay, 0.0), self._limits.max_wait_seconds)

    def _tool_retry(self, tried: Tried) -> float | None:
        retry = self._retry
        if retry is None or tried.is_good or not is_retried(retry, tried.failure):
            return None
        if "max_attempts" in retry:
            allowed = int(_number(retry["max_attempts"], default=_DEFAULT_TOOL_RETRIES + 1))
        else:
            allowed = int(_number(retry.get("max_retries"), default=_DEFAULT_TOOL_RETRIES)) + 1
        if self.number >= min(allowed, self._limits.max_attempts):
            return None
        delay = _seconds(retry, "initial_delay", default=_DEFAULT_TOOL_DELAY_SECONDS)
        longest = _seconds(retry, "max_delay", default=_DEFAULT_TOOL_MAX_DELAY_SECONDS)
        factor = _number(retry.get("backoff_multiplier"), default=2.0)
        delay *= factor ** min(self.number - 1, 62)
        return min(max(delay, 0.0), longest, self._limits.max_wait_seconds)


def is_retried(retry: Mapping[str, Json], failure: Failure) -> bool:
    """Return whether the conditions of a ``retry`` hold for a failure; without any they do.

    A word of ``retry_on`` is the failure's kind or code, an HTTP status, or `5xx` for all of that
    hundred. One that nobody knows holds never: what must not be repeated is not.
    """
    words, statuses = retry.get("retry_on"), retry.get("retry_on_status")
    if words is None and statuses is None:
        return True
    names = {failure.kind, (failure.code or "").lower()}
    if failure.status is not None:
        names |= {str(failure.status), f"{failure.status // 100}xx"}
    return any(_word(one) in names for one in (*_listed(words), *_listed(statuses)))


def _word(value: Json) -> str:
    word = str(value).strip().lower()
    return RETRY_SYNONYMS.get(word, word)


def _listed(value: Json) -> list[Json]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def write_nested(variables: JsonObject, path: str, value: Json) -> None:
    """Set ``a.b.c``, making objects on the way; dropped where something else is in the way.

    Objects on the way are copied: the original belongs to the command's own variables.
    """
    *parents, name = path.split(".")
    target = variables
    for parent in parents:
        inner = target.get(parent)
        if inner is not None and not isinstance(inner, dict):
            return
        inner = dict(inner) if inner is not None else {}
        target[parent] = inner
        target = inner
    target[name] = value


def _matching(rules: list[Mapping[str, Json]], scope: JsonObject) -> Mapping[str, Json] | None:
    for rule in rules:
        if "when" in rule:
            if not evaluate_rule(rule["when"], scope):
                continue
            block = rule.get("then")
        elif "else" in rule:
            otherwise = rule["else"]
            block = otherwise.get("then") if isinstance(otherwise, dict) else None
        else:
            continue
        return block if isinstance(block, dict) else {}
    return None


def _output(tried: Tried) -> JsonObject:
    result = tried.result
    output: JsonObject = {
        "status": "success" if tried.is_good else "error",
        "data": None if result is None else result.value,
        "error": {"retryable": False} if tried.is_good else _error_of(tried),
    }
    if result is not None and result.http is not None:
        output["http"] = result.http
    elif tried.failure.status is not None:
        output["http"] = {"status": tried.failure.status, "headers": {}}
    if (state := _sqlstate(tried.failure)) is not None:
        output["pg"] = {"code": state, "sqlstate": state}
    return output


def _error_of(tried: Tried) -> JsonObject:
    failure = tried.failure
    error: JsonObject = {
        "kind": failure.kind,
        "retryable": failure.retryable,
        "code": failure.code,
        "message": tried.message,
        "source": "tool",
    }
    if failure.status is not None:
        error["status"] = error["status_code"] = error["http_status"] = failure.status
    if (state := _sqlstate(failure)) is not None:
        error["pg_code"] = state
    if failure.retry_after is not None:
        error["retry_after"] = failure.retry_after
    return error


def _sqlstate(failure: Failure) -> str | None:
    code = failure.code or ""
    return code.removeprefix("PG_") if code.startswith("PG_") else None


def _number(value: Json, *, default: float) -> float:
    if isinstance(value, bool) or value is None:
        return default
    try:
        return float(value)
    except (TypeError, ValueError):
        return default


def _seconds(retry: Mapping[str, Json], name: str, *, default: float) -> float:
    if name in retry:
        return _number(retry[name], default=default)
    if f"{name}_ms" in retry:
        return _number(retry[f"{name}_ms"], default=default * 1000) / 1000
    return default
