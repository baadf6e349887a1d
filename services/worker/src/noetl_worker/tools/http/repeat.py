"""The ``retry`` list of the http tool: tries after a failure, pages after a success.

The original worker refuses such a list; it is what Python playbooks write.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from noetl_contract.json import Json, JsonObject

from noetl_worker import jsonb
from noetl_worker.tools.tool import ToolContext, ToolError, ToolResult, Tried, attempt

_TRIES = 3
_PAGES = 100
_STRATEGIES = ("append", "replace", "merge")


@dataclass(frozen=True, slots=True)
class RepeatLimits:
    """Upper bounds of the worker on retries and pages that playbooks ask for."""

    attempts: int
    wait_seconds: float
    pages: int
    body_bytes: int


@dataclass(frozen=True, slots=True)
class Change:
    """Differences between the request for the next page and the last request."""

    url: str | None
    params: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule ``{when, then}``."""

    when: Json
    most: int
    initial_delay: float = 1.0
    max_delay: float = 60.0
    factor: float = 2.0
    jitter: bool = True
    next_call: Mapping[str, Json] | None = None
    """For a rule about pages; None for one about tries."""
    strategy: str = "append"
    path: str = ""
    into: str = "pages"

    @property
    def is_about_pages(self) -> bool:
        """Whether it asks for a next page instead of another try."""
        return self.next_call is not None


def read_rules(retry: Json) -> tuple[Rule, ...] | None:
    """Read ``retry``; None where it is no list, number or ``true``, which have other meanings.

    Raises:
        ToolError: a rule makes no sense.
    """
    if retry is True:
        retry = _TRIES
    if isinstance(retry, int) and not isinstance(retry, bool):
        return (Rule(when="{{ not success }}", most=max(retry, 1)),)
    if not isinstance(retry, list):
        return None
    return tuple(_rule(entry, index) for index, entry in enumerate(retry))


def _rule(entry: Json, index: int) -> Rule:
    where = f"retry[{index}]"
    entry = _map(entry, where)
    then = _map(entry.get("then") or {}, f"{where}.then")
    about_pages = "next_call" in then or "collect" in then
    collect = _map(then.get("collect") or {}, f"{where}.then.collect")
    strategy = collect.get("strategy") or "append"
    if strategy not in _STRATEGIES:
        raise _refused(f"{where}.then.collect.strategy is none of {', '.join(_STRATEGIES)}")
    if about_pages and "when" not in entry:
        raise _refused(f"{where} asks for pages without end: it has no `when`")
    next_call = _map(then.get("next_call") or {}, f"{where}.then.next_call")
    for name in ("params", "headers"):
        _map(next_call.get(name) or {}, f"{where}.then.next_call.{name}")
    return Rule(
        when=entry.get("when", "{{ not success }}"),
        most=max(int(_number(then, "max_attempts", where, _PAGES if about_pages else _TRIES)), 1),
        initial_delay=_number(then, "initial_delay", where, 0.0 if about_pages else 1.0),
        max_delay=_number(then, "max_delay", where, 60.0),
        factor=_number(then, "backoff_multiplier", where, 2.0),
        jitter=then.get("jitter") is not False,
        next_call=next_call if about_pages else None,
        strategy=strategy,
        path=str(collect.get("path") or ""),
        into=str(collect.get("into") or "pages"),
    )


@dataclass(slots=True)
class _Progress:
    """State of a call: tries, pages and gathered data."""

    pages: int = 0
    attempt: int = 1
    room: int = 0
    gathered: Json = field(default_factory=list)

    def add(self, rule: Rule, body: Json) -> None:
        """Gather the data of a page."""
        value = _at(body, rule.path)
        if value is None:
            return
        if rule.strategy == "replace":
            self.gathered = value
        elif rule.strategy == "merge":
            known = self.gathered if isinstance(self.gathered, dict) else {}
            self.gathered = {**known, **value} if isinstance(value, dict) else known
        elif isinstance(value, list):
            self.gathered = [*self.gathered, *value]
        else:
            self.gathered = [*self.gathered, value]


class Repeat:
    """One call with its rules."""

    def __init__(self, rules: tuple[Rule, ...], context: ToolContext, limits: RepeatLimits) -> None:
        self._rules = rules
        self._context = context
        self._limits = limits
        self._paging = next((rule for rule in rules if rule.is_about_pages), None)

    async def run[Call](
        self,
        call: Call,
        send: Callable[[Call], Awaitable[ToolResult]],
        following: Callable[[Call, Change], Call],
    ) -> ToolResult:
        """Send until no rule wants more.

        Raises:
            ToolError: the last try raised, or a rule's template is wrong.
        """
        progress = _Progress(room=self._limits.body_bytes)
        while True:
            tried = await attempt(send(call))
            result = tried.result
            if tried.error is not None and not tried.error.failure.retryable:
                raise tried.error
            scope = self._scope(tried, progress)
            rule = self._matching(scope, is_good=tried.is_good)
            if rule is not None and not rule.is_about_pages:
                if progress.attempt < min(rule.most, self._limits.attempts):
                    await self._pause(rule, progress.attempt, result)
                    progress.attempt += 1
                    continue
                rule = None
            if tried.is_good and result is not None and self._paging is not None:
                self._gather(self._paging, result, progress)
            if rule is None or progress.pages >= min(rule.most, self._limits.pages):
                break
            scope = {**scope, rule.into: progress.gathered}
            await self._pause(rule, 1, result)
            call = following(call, self._change(rule, scope))
            progress.attempt = 1
        if result is None:
            raise tried.error or ToolError("Execution failed", "no result")
        return result if self._paging is None else _gathered(self._paging, result, progress)

    def _gather(self, rule: Rule, result: ToolResult, progress: _Progress) -> None:
        progress.pages += 1
        body = result.data["body"]
        progress.room -= len(result.stdout or "") or len(jsonb.encode(body))
        if progress.room < 0:
            raise ToolError(
                "HTTP error",
                f"the pages have together more than {self._limits.body_bytes} bytes",
            )
        progress.add(rule, body)

    def _scope(self, tried: Tried, progress: _Progress) -> JsonObject:
        body = None if tried.result is None else tried.result.data["body"]
        failure = tried.failure
        failed = {"status": failure.status, "message": tried.message, "type": failure.kind}
        scope = {
            "response": body,
            "page": body,
            "attempt": progress.attempt,
            "success": tried.is_good,
            "error": None if tried.is_good else failed,
            "_retry": {"index": progress.pages + 1, "count": progress.attempt},
        }
        if self._paging is not None:
            scope[self._paging.into] = progress.gathered
        return scope

    def _matching(self, scope: JsonObject, *, is_good: bool) -> Rule | None:
        for rule in self._rules:
            # There is no page after a failure.
            if (is_good or not rule.is_about_pages) and self._context.holds(rule.when, extra=scope):
                return rule
        return None

    def _change(self, rule: Rule, scope: JsonObject) -> Change:
        rendered = self._context.render(dict(rule.next_call or {}), extra=scope)
        url = rendered.get("url")
        return Change(
            url=url if isinstance(url, str) and url else None,
            params=texts(rendered.get("params")),
            headers=texts(rendered.get("headers")),
        )

    async def _pause(self, rule: Rule, number: int, result: ToolResult | None) -> None:
        delay = min(rule.initial_delay * rule.factor ** min(number - 1, 62), rule.max_delay)
        if rule.jitter:
            delay *= random.uniform(0.5, 1.5)  # noqa: S311  nothing to be guessed
        failure = result.failure if result is not None else None
        if failure is not None and failure.retry_after is not None:
            delay = max(delay, failure.retry_after)
        if delay > 0:
            await asyncio.sleep(min(delay, self._limits.wait_seconds))


def _gathered(rule: Rule, last: ToolResult, progress: _Progress) -> ToolResult:
    """Return the result of a call in pages: the gathered data instead of a body."""
    last.data = {
        "status_code": last.data["status_code"],
        "headers": last.data["headers"],
        "data": progress.gathered,
        "meta": {"iterations": progress.pages, "collect_strategy": rule.strategy},
    }
    last.stdout = None
    return last


def _at(body: Json, path: str) -> Json:
    for name in filter(None, path.split(".")):
        if isinstance(body, dict):
            body = body.get(name)
        elif isinstance(body, list) and name.isdecimal() and int(name) < len(body):
            body = body[int(name)]
        else:
            return None
    return body


def texts(values: Json) -> dict[str, str]:
    """Coerce a map's values to text; null is dropped, and anything else holds none."""
    if not isinstance(values, dict):
        return {}
    return {
        name: value if isinstance(value, str) else jsonb.encode(value).decode()
        for name, value in values.items()
        if value is not None
    }


def _map(value: Json, where: str) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise _refused(f"{where} is not a map")
    return value


def _number(values: Mapping[str, Json], name: str, where: str, default: float) -> float:
    value = values.get(name, default)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise _refused(f"{where}.then.{name} is no number") from None


def _refused(message: str) -> ToolError:
    return ToolError("Configuration error", f"Invalid http config: {message}")
