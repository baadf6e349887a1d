"""The interface of tools, also of those from other packages."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import httpx
from noetl_contract.http.workers.runtimes import RunningCommand
from noetl_contract.json import Json, JsonObject
from noetl_template import (
    TemplateError,
    evaluate_worker_condition,
    render_task,
    render_worker,
)

from noetl_worker.commands import Command
from noetl_worker.control_plane.edge import Edge
from noetl_worker.interpreters.pool import InterpreterPool
from noetl_worker.interpreters.run import Listener
from noetl_worker.libraries.pools import LibraryPools
from noetl_worker.settings import Settings
from noetl_worker.tools.errors import Failure, ToolError

__all__ = (
    "AUTH_TYPES", "MISSING", "Credentials", "Failure", "Parking", "Tool", "ToolContext",
    "ToolError", "ToolParts", "ToolResult", "Toolbox", "Tried", "attempt", "over_time", "timed_out",
)  # fmt: skip

AUTH_TYPES: Final = ("bearer", "basic", "api_key", "gcp_adc", "none")
"""The types an ``auth`` object may have; no set: a playbook may write a list there."""


class _Missing:
    """The value of a result that has no data; null is a value."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING = _Missing()


@dataclass(slots=True, kw_only=True)
class ToolResult:
    """Result of a tool; an expected failure is a result with a bad status, not an error."""

    status: str = "success"
    data: Json = MISSING
    error: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    exit_code: int | None = None
    duration_ms: int | None = None
    failure: Failure | None = None
    http: JsonObject | None = None
    """Status and headers for policies; not part of the reported result."""
    task: str | None = None
    """Label of the pipeline's task that ended it with an error."""
    is_handled: bool = False
    """Whether a rule of the playbook lets the step go on with this error."""
    pending_callback: bool = False
    """Whether the work goes on elsewhere, and its end comes as a callback."""

    def to_json(self) -> JsonObject:
        """Return the reported form: an absent field has no key."""
        body: JsonObject = {"status": self.status}
        if self.data is not MISSING:
            body["data"] = self.data
        for name in ("error", "stdout", "stderr", "exit_code", "duration_ms", "task"):
            value = getattr(self, name)
            if value is not None:
                body[name] = value
        return body

    @property
    def value(self) -> Json:
        """The data, null if there is none."""
        return None if self.data is MISSING else self.data


@dataclass(frozen=True, slots=True)
class Tried:
    """One try: a result or a raised error."""

    result: ToolResult | None = None
    error: ToolError | None = None

    @property
    def is_good(self) -> bool:
        """Whether the try succeeded."""
        return self.result is not None and self.result.status == "success"

    @property
    def failure(self) -> Failure:
        """Return the failure; empty when the try succeeded."""
        source = self.error if self.result is None else self.result
        return (source.failure if source is not None else None) or Failure()

    @property
    def message(self) -> str:
        """Return the error text."""
        if self.result is None:
            return str(self.error)
        return self.result.error or self.result.status


async def attempt(run: Awaitable[ToolResult]) -> Tried:
    """Await a run; a raised error is a try, too."""
    try:
        return Tried(result=await run)
    except ToolError as error:
        return Tried(error=error)


def timed_out(seconds: float) -> str:
    """Return the text of a timeout."""
    return f"Execution timed out after {seconds:g} seconds"


def over_time(
    seconds: float, *, duration_ms: int, stdout: str = "", stderr: str = ""
) -> ToolResult:
    """Return the result of a call whose time was over, with its output, if any."""
    return ToolResult(
        status="timeout",
        error=timed_out(seconds),
        stdout=stdout or None,
        stderr=stderr or None,
        duration_ms=duration_ms,
        failure=Failure(kind="timeout", retryable=True),
    )


@dataclass(slots=True, kw_only=True)
class ToolContext:
    """Variables, credentials and limits of one run of a tool."""

    variables: JsonObject
    execution_id: int
    step: str
    server_url: str
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret_hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Hosts that a secret may be sent to, by its name; those without an entry may go anywhere."""
    timeout: int | None = None
    """The lifted ``timeout`` of a single tool."""
    auth: Mapping[str, Json] | None = field(default=None, repr=False)
    credentials: "Credentials | None" = None
    """Resolves aliases; without it a tool that names one is refused."""
    toolbox: "Toolbox"
    event_id: int = 0
    """Event id of the command; 0 when unknown."""
    shard: int = 0
    """Shard of the execution."""
    is_rendered: bool = False
    """Whether the configuration is rendered already, as that of a pipeline's task is."""
    own_templates: frozenset[str] = frozenset()
    """Texts in the variables that the playbook itself keeps as templates, unlike data."""
    keychain: Mapping[str, Json] = field(default_factory=dict, repr=False)
    """Entries of the keychain that the configuration names; no variable of anything else."""
    listener: Listener | None = None
    """Gets the tool's output, while it runs."""
    close_output: Callable[[], Awaitable[None]] | None = None
    """Ends that; for a tool whose work goes on after its run, which leaves it open."""
    may_park: bool = True
    """Whether the run may end before the tool's work has; rules for another try see its end."""
    may_move: bool = False
    """Whether a tool that can't begin raises `NeverBegan`: another worker may run the command."""
    output_select: Json = None
    """Parts of a large result that stay in its event."""
    plugins: Mapping[str, Json] = field(default_factory=dict)
    """The versions of plug-ins that the execution keeps, by the names in its playbook."""
    child_starts: Counter[str] = field(default_factory=Counter)
    """Number of equal child starts of this run; shared by the tasks of a pipeline."""

    def render(self, value: Json, *, extra: Mapping[str, Json] | None = None) -> Json:
        """Render by the worker's rules, with more variables if given.

        A configuration that is rendered already comes back as it is: what a task's templates put
        into it is data, whatever it looks like.

        Raises:
            ToolError: a template is wrong.
        """
        if extra is None and self.is_rendered:
            return value
        try:
            return render_worker(value, self._scope(extra or {}))
        except TemplateError as error:
            raise ToolError("Template error", str(error)) from error

    def holds(self, condition: Json, *, extra: Mapping[str, Json]) -> bool:
        """Return whether a condition holds, with more variables; truth is that of guards.

        Raises:
            ToolError: a template is wrong.
        """
        try:
            return evaluate_worker_condition(condition, self._scope(extra))
        except TemplateError as error:
            raise ToolError("Template error", str(error)) from error

    def render_task(self, value: Json) -> Json:
        """Render a task of a pipeline: its templates twice, data in them not at all.

        Raises:
            ToolError: a template is wrong.
        """
        if self.is_rendered:
            return value
        try:
            return render_task(value, self._scope({}), own=self.own_templates)
        except TemplateError as error:
            raise ToolError("Template error", str(error)) from error

    def _scope(self, extra: Mapping[str, Json]) -> Mapping[str, Json]:
        if not self.keychain:
            return {**self.variables, **extra} if extra else self.variables
        return {**self.variables, **extra, "keychain": self.keychain}

    def with_secret(
        self, name: str, secret: str, *, hosts: tuple[str, ...] | None
    ) -> "ToolContext":
        """Return the context with one more secret, and where it may be sent."""
        others = {key: value for key, value in self.secret_hosts.items() if key != name}
        return replace(
            self,
            secrets={**self.secrets, name: secret},
            secret_hosts=others if hosts is None else {**others, name: hosts},
        )

    def with_variables(self, variables: JsonObject, **changes: Json) -> "ToolContext":
        """Return the context of a task inside: other variables, nothing lifted."""
        return replace(self, variables=variables, **changes)


class Credentials(Protocol):
    """The credentials of one command."""

    async def apply(
        self, kind: str, config: JsonObject, context: ToolContext
    ) -> tuple[JsonObject, ToolContext]:
        """Return configuration and context with aliases resolved; raises `ToolError`."""

    async def with_keychain(
        self, kind: str, values: Iterable[Json], context: ToolContext
    ) -> ToolContext:
        """Return a context that renders the keychain's entries in values; raises `ToolError`."""


class Toolbox(Protocol):
    """All tools, for tools that run others."""

    async def run(self, kind: str, config: JsonObject, context: ToolContext) -> ToolResult:
        """Run a tool; raises `ToolError`."""


class Tool(Protocol):
    """A tool kind."""

    async def run(self, config: JsonObject, context: ToolContext) -> ToolResult:
        """Run with a configuration as the control plane rendered it.

        Raises:
            ToolError: it could not be done at all.
        """


class Parking(Protocol):
    """A tool whose work goes on after its command was reported, until a callback."""

    async def watch(self) -> None:
        """Follow that work, for as long as the worker runs."""

    def stop(self, event_id: int, *, attempts: int) -> None:
        """End the work of a command that is over."""

    def named(self, shard: int | None = None) -> list[tuple[int, RunningCommand]]:
        """Return the commands whose work goes on, of one shard or of all, with their shards."""


type ReportResult = Callable[[Command, ToolResult], Awaitable[JsonObject]]


async def whole_result(_command: Command, result: ToolResult) -> JsonObject:
    """Return a result as a run reports it, however large it is."""
    return {"status": result.status, "context": result.to_json()}


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolParts:
    """Shared parts; a factory takes those its tool needs."""

    settings: Settings
    http: httpx.AsyncClient
    """For addresses that playbooks name."""
    interpreters: InterpreterPool
    edge: Edge
    """The control plane, for tools that start, ask or fetch there."""
    libraries: LibraryPools | None = None
    """Interpreters with packages, for scripts that ask for some; without it none may."""
    own_http: httpx.AsyncClient | None = None
    """For the worker's own surroundings, as the metadata of its machine; without one ``http``."""
    report_result: ReportResult = whole_result
    """Makes the reported form of a result that comes after its run."""
