"""Run a command to its outcome, independent of the transport."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from time import perf_counter
from traceback import format_exception

from noetl_common.logging import get_logger
from noetl_common.telemetry.tracing import inside, tracing
from noetl_contract.http.secret_values import secret_values
from noetl_contract.json import Json, JsonObject

from noetl_worker import metrics
from noetl_worker.commands import Command, secret_in
from noetl_worker.control_plane.result_stores import ResultStore
from noetl_worker.credentials.known_secrets import KnownSecrets
from noetl_worker.credentials.resolver import CommandCredentials
from noetl_worker.credentials.source import CredentialSource
from noetl_worker.interpreters.host.results import NotJson
from noetl_worker.output.outputs import Outputs
from noetl_worker.output.run_output import RunOutput
from noetl_worker.redaction import NestedTooDeeply, mask, spellings_of
from noetl_worker.run.policy import PolicyLimits
from noetl_worker.run.reports import Outcome
from noetl_worker.run.results import LONGEST_TAIL, reported_result
from noetl_worker.run.single import run_single
from noetl_worker.tools.errors import NeverBegan
from noetl_worker.tools.tool import AUTH_TYPES, Toolbox, ToolContext, ToolError, timed_out

_MALFORMED = "malformed tool config (pre-dispatch deserialization)"
# A run and a hold of nobody for each worker that could not begin it: three of them, then it fails.
_MOST_MOVED = 4
# Kinds for which an inserted `args` would be an error.
_WITHOUT_ARGS = frozenset({"container"})

_log = get_logger()
_seconds_of = cache(metrics.RUN_SECONDS.labels)


class _Malformed(Exception):
    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{_MALFORMED}: {key}: {problem}")


@dataclass(frozen=True, slots=True)
class _Lifted:
    """A tool's configuration without the parts that apply to the run as a whole."""

    config: JsonObject
    timeout: int | None
    retry: JsonObject | None
    auth: JsonObject | None


class Runner:
    """Run commands; holds the parts that all commands share."""

    def __init__(
        self,
        *,
        toolbox: Toolbox,
        worker_id: str,
        secrets: Mapping[str, str],
        secret_hosts: Mapping[str, tuple[str, ...]] | None = None,
        credentials: CredentialSource,
        limits: PolicyLimits,
        outputs: Outputs,
    ) -> None:
        self._toolbox = toolbox
        self._worker_id = worker_id
        self._secret_hosts = secret_hosts or {}
        self._secrets = secrets
        self._credentials = credentials
        self._known = KnownSecrets(always=secrets.values())
        self._limits = limits
        self._outputs = outputs

    async def run(self, command: Command, store: ResultStore) -> Outcome:
        """Run the tool and return the outcome to report; never raises but for cancellation."""
        metrics.RUNNING.inc()
        started = perf_counter()
        try:
            outcome = await self._traced(command, store)
        finally:
            seconds = perf_counter() - started
            metrics.RUNNING.dec()
            _seconds_of(command.action).observe(seconds)
        # Without its text: that is in the log of the execution, and may quote what it was given.
        if outcome.never_began:
            _log.warning("command_given_back", command_id=command.command_id, kind=command.action)
        elif outcome.has_failed:
            _log.info("command_failed", kind=command.action, seconds=round(seconds, 3))
        else:
            _log.debug("command_ended", kind=command.action, seconds=round(seconds, 3))
        return outcome

    async def _traced(self, command: Command, store: ResultStore) -> Outcome:
        if tracing() is None:
            return await self._bounded(command, store)
        with inside(f"run {command.action}") as span:
            outcome = await self._bounded(command, store)
            if span is not None and outcome.has_failed and not outcome.never_began:
                span.fail("the tool failed")
            return outcome

    async def _bounded(self, command: Command, store: ResultStore) -> Outcome:
        output = self._output_of(command)
        outcome: Outcome | None = None
        try:
            outcome = await self._timed(command, store, output)
        finally:
            if outcome is None or outcome.job is None:
                # Before the end is reported, so that readers get its lines first.
                await self._outputs.close(output)
        if outcome.error is not None and output.has_lines:
            return replace(outcome, printed=output.tails(LONGEST_TAIL))
        return outcome

    async def _timed(self, command: Command, store: ResultStore, output: RunOutput) -> Outcome:
        seconds = command.timeout_seconds
        if seconds is None:
            return await self._outcome(command, store, output)
        try:
            async with asyncio.timeout(seconds):
                return await self._outcome(command, store, output)
        except TimeoutError:
            return self._raised(command, timed_out(seconds))

    def _output_of(self, command: Command) -> RunOutput:
        given: list[tuple[str, ...]] = []

        def hidden() -> tuple[str, ...]:
            if not given:
                # It doesn't change; of credentials more may come to be known.
                given.append(secret_values(command.context.get("render_context")))
            return *given[0], *self._secrets_of(command)

        return self._outputs.of(command, hidden)

    async def _outcome(self, command: Command, store: ResultStore, output: RunOutput) -> Outcome:
        try:
            lifted = _lift(command)
            credentials = CommandCredentials(
                self._credentials,
                self._known,
                execution_id=command.execution_id,
                server_url=command.server_url,
                keychain=_texts_of(command, "keychain"),
                needed=_texts_of(command, "keychain_needed"),
            )
            await credentials.prepare(command.action, lifted.config)
            result = await run_single(
                self._toolbox,
                command.action,
                lifted.config,
                self._context(command, lifted, credentials, output),
                policy=command.context.get("policy"),
                retry=lifted.retry,
                limits=self._limits,
            )
            secrets = self._secrets_of(command)
            reported = await reported_result(command, result, store, secrets=secrets)
        except ToolError as error:
            return self._raised(
                command,
                str(error),
                task=error.task,
                never_began=isinstance(error, NeverBegan),
            )
        except _Malformed as error:
            return self._raised(command, str(error))
        except NotJson as error:
            return self._raised(command, f"Result error: {error}")
        except NestedTooDeeply as error:
            return self._raised(command, f"Execution failed: {error}")
        except Exception as error:  # noqa: BLE001  a tool may be foreign code; its command fails
            # Not as an exception: a library's text may quote what it was given.
            trace = "".join(format_exception(error))
            _log.error(
                "tool_broken",
                kind=command.action,
                command_id=command.command_id,
                exception=mask(trace, self._hidden_in_errors(command)),
            )
            return self._raised(command, f"Execution failed: {type(error).__name__}: {error}")
        job = result.value if result.pending_callback else None
        return Outcome(
            status=result.status,
            result=reported,
            is_handled=result.is_handled,
            job=job if isinstance(job, dict) else None,
        )

    def _raised(
        self, command: Command, text: str, *, task: str | None = None, never_began: bool = False
    ) -> Outcome:
        if not never_began:
            metrics.RUN_ERRORS.labels(command.action).inc()
        error = mask(text, self._hidden_in_errors(command))
        return Outcome(error=error, task=task, never_began=never_began)

    def _hidden_in_errors(self, command: Command) -> tuple[str, ...]:
        """Return the texts to mask in errors and logs.

        Results may hold secrets of the workload: later steps need them.
        """
        values = command.context.get("render_context")
        return (*secret_values(values), *self._secrets_of(command))

    def _secrets_of(self, command: Command) -> tuple[str, ...]:
        """Return the texts to mask in a command's output."""
        known = self._known.of(command.execution_id)
        own = secret_in(command.server_url)
        login = f"{command.execution_id}.{command.event_id}:{own}"
        return (*spellings_of(login, own), *known) if own else known

    def _context(
        self,
        command: Command,
        lifted: _Lifted,
        credentials: CommandCredentials,
        output: RunOutput,
    ) -> ToolContext:
        render_context = command.context.get("render_context")
        variables = dict(render_context) if isinstance(render_context, dict) else {}
        variables.setdefault("action", command.action)
        variables.setdefault("node_name", command.step)
        variables["execution_id"] = command.execution_id
        variables["step"] = command.step
        variables["server_url"] = command.server_url
        variables["worker_id"] = self._worker_id
        variables["command_id"] = command.command_id
        plugins = command.context.get("plugins")
        return ToolContext(
            variables=variables,
            execution_id=command.execution_id,
            event_id=command.event_id,
            shard=command.shard,
            step=command.step,
            server_url=command.server_url,
            secrets=self._secrets,
            secret_hosts=self._secret_hosts,
            timeout=lifted.timeout,
            auth=lifted.auth,
            credentials=credentials,
            toolbox=self._toolbox,
            listener=output.take,
            close_output=partial(self._outputs.close, output),
            output_select=command.context.get("output_select"),
            own_templates=_texts_of(command, "own_templates"),
            plugins=plugins if isinstance(plugins, dict) else {},
            may_move=command.may_move
            and command.attempts < _MOST_MOVED
            and command.meta.get("repeatable") is not False,
        )


def _shown(value: Json) -> str:
    """Return a value for an error: short, and of a mapping or list the kind only."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return f"'{value}'"[:100]


def _texts_of(command: Command, key: str) -> frozenset[str]:
    texts = command.context.get(key)
    if not isinstance(texts, list):
        return frozenset()
    return frozenset(text for text in texts if isinstance(text, str))


def _lift(command: Command) -> _Lifted:
    raw = command.context.get("tool_config")
    if command.action == "task_sequence" and isinstance(raw, list):
        return _Lifted({"tool_config": raw, "kind": command.action}, None, None, None)
    config = dict(raw) if isinstance(raw, dict) else {}
    args = command.context.get("args")
    if (
        "args" not in config
        and "input" not in config
        and isinstance(args, dict)
        and args
        and command.action not in _WITHOUT_ARGS
    ):
        config["args"] = args
    config.setdefault("kind", command.action)
    timeout = config.pop("timeout", None)
    if timeout is not None and (
        isinstance(timeout, bool) or not isinstance(timeout, int) or timeout < 0
    ):
        raise _Malformed("timeout", f"{_shown(timeout)} is no whole number of seconds from 0")
    return _Lifted(config, timeout, _lift_retry(command, config), _lift_auth(config))


def _lift_retry(command: Command, config: JsonObject) -> JsonObject | None:
    retry = config.pop("retry", None)
    if retry is None or isinstance(retry, dict):
        return retry
    # Rules of Python playbooks, which the http tool reads itself.
    if command.action != "http" or isinstance(retry, str):
        raise _Malformed("retry", f"{_shown(retry)} is no mapping")
    config["retry"] = retry
    return None


def _lift_auth(config: JsonObject) -> JsonObject | None:
    """Take a mapping of credentials out of a configuration; an alias stays."""
    auth = config.get("auth")
    if auth is None:
        config.pop("auth", None)
        return None
    if isinstance(auth, str):
        return None
    if not isinstance(auth, dict):
        raise _Malformed("auth", "neither the alias of a credential nor a mapping with a `type`")
    kind = auth.get("type")
    if kind is None:
        raise _Malformed("auth", "missing field `type`")
    if kind not in AUTH_TYPES:
        words = ", ".join(f"`{word}`" for word in AUTH_TYPES)
        raise _Malformed("auth", f"type {_shown(kind)} is none of {words}")
    del config["auth"]
    return auth
