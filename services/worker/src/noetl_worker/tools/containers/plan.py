"""Plan of a container, and the labels by which the container is found again."""

from dataclasses import dataclass, field
from typing import Final

from noetl_contract.json import Json

KIND_LABEL: Final = "noetl.tool-kind"
EXECUTION_LABEL: Final = "noetl.execution-id"
STEP_LABEL: Final = "noetl.step-name"
EVENT_LABEL: Final = "noetl.command"
POOL_LABEL: Final = "noetl.pool"
WORKER_LABEL: Final = "noetl.worker"
KIND: Final = "container"
SCRIPT_KIND: Final = "script"

SCRIPT: Final = "/scripts/script.py"

GPU: Final = "nvidia.com/gpu"
"""The resource that one GPU is in a cluster."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A named volume or claim, or an empty folder where ``source`` is None."""

    name: str
    path: str
    source: str | None
    is_read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The command that a container is run for.

    Attributes:
        callback: the base of the control plane's address with the capability of the command.
        worker: digest of the id of the worker that has started it.
        kind: of the tool.
        output_select: what of a large result stays in its event.
    """

    execution_id: int
    event_id: int
    command_id: str
    step: str
    callback: str = field(repr=False)
    pool: str
    worker: str
    shard: int = 0
    kind: str = KIND
    output_select: Json = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A container with its limits, checked against the operator's.

    Attributes:
        name: made from the command alone, so that a repeated start finds the container.
        env: what the container gets; values may be secrets.
        env_refs: variables from Secrets of the cluster: name and key.
        hidden: the variables whose values are masked in what the container writes.
        masked: further texts that are.
        script: a text that the container has as the file `SCRIPT`.
        is_awaited: whether the run that starts it waits for its end, which only that run gets.
        requests: amounts by resource, as Kubernetes writes them.
        limits: the same, always with cpu and memory.
    """

    name: str
    namespace: str
    image: str
    origin: Origin
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict, repr=False)
    env_refs: dict[str, tuple[str, str]] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    masked: tuple[str, ...] = field(default=(), repr=False)
    script: str | None = field(default=None, repr=False)
    requests: dict[str, str] = field(default_factory=dict)
    limits: dict[str, str] = field(default_factory=dict)
    working_dir: str | None = None
    mounts: tuple[Mount, ...] = ()
    node_selector: dict[str, str] = field(default_factory=dict)
    service_account: str | None = None
    pull_policy: str = "IfNotPresent"
    restart_policy: str = "Never"
    timeout_seconds: int
    ttl_seconds: int
    backoff_limit: int = 0
    is_awaited: bool = False

    def labels(self) -> dict[str, str]:
        """Return the labels, which are short and of a label's characters."""
        origin = self.origin
        return {
            EXECUTION_LABEL: str(origin.execution_id),
            STEP_LABEL: label_of(origin.step),
            KIND_LABEL: origin.kind,
            EVENT_LABEL: str(origin.event_id),
            POOL_LABEL: label_of(origin.pool),
            WORKER_LABEL: origin.worker,
        }


def container_name(step: str, execution_id: int, event_id: int) -> str:
    """Return the name of the container of a command; 63 characters are a pod's most."""
    stem = "".join(
        char for char in step.lower() if char.isascii() and (char.isalnum() or char == "-")
    )
    stem = stem[:12].strip("-") or "step"
    return f"noetl-container-{stem}-{execution_id}-{_base36(event_id)}"


def script_name(execution_id: int, event_id: int) -> str:
    """Return the name of the Job of a script's command."""
    return f"noetl-script-{execution_id}-{_base36(event_id)}"


def label_of(text: str) -> str:
    """Return a text as a label's value: 63 characters, an alphanumeric first and last."""
    plain = "".join(
        char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in text
    )
    return plain[:63].strip("-._")


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits or "0"
