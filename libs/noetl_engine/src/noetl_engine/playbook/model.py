"""The playbook as frozen records.

The parser is the only place that builds these from text. JSON values inside them (workload,
tool configuration, ``set`` values) are the parser's own objects: read them, never change them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

type Value = bool | int | float | str | list[Value] | dict[str, Value] | None
type ValueMap = Mapping[str, Value]

START_STEP = "start"

# The first part of a catalog path that is also the pool of the commands; others are `shared`.
POOLS_OF_PATHS = ("system", "subscription")

# No wait of a playbook is longer; beyond it, times can't be added up.
LONGEST_SECONDS = 366 * 86400.0

# A pipeline's keys that travel to the worker as written; the server renders all others.
VERBATIM_TASK_KEYS = frozenset({"set", "input", "spec", "command"})


class RouterMode(StrEnum):
    """Number of a router's matching arcs that are taken."""

    EXCLUSIVE = "exclusive"
    INCLUSIVE = "inclusive"


class RouterForm(StrEnum):
    """The one of the four accepted notations of ``next`` that was used."""

    STEP = "step"
    STEPS = "steps"
    TARGETS = "targets"
    ARCS = "arcs"


class LoopMode(StrEnum):
    """Order in which the iterations of a loop run."""

    SEQUENTIAL = "sequential"
    PARALLEL = "parallel"
    CURSOR = "cursor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arc:
    """One way out of a step.

    Attributes:
        target: Name of the step it leads to; always a declared one.
        when: Guard text, ``None`` when the arc is unconditional.
        set: Variables the arc writes when it is taken, keys as written.
        args: Values a legacy target merges, unrendered, into its target's context.
    """

    target: str
    when: str | None = None
    set: ValueMap = field(default_factory=dict)
    args: ValueMap = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """The arcs of a step with their mode. A router without arcs ends its branch.

    Attributes:
        mode: The effective mode: the router's own word, else the step's ``spec.next_mode``.
        arcs: In document order.
        form: The notation used.
    """

    mode: RouterMode = RouterMode.EXCLUSIVE
    arcs: tuple[Arc, ...] = ()
    form: RouterForm = RouterForm.ARCS


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """The query of a cursor loop.

    Attributes:
        claim: Query template that claims the next rows.
        kind: Tool kind that runs the claim.
        auth: Credential alias, never rendered.
    """

    claim: str
    kind: str = "postgres"
    auth: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Number of rows that a cursor loop claims and works on at once.

    Attributes:
        max_rows: Rows per claim, at least 1, or a template that is rendered for each claim.
        row_concurrency: Rows worked on at the same time, at least 1, or a template that is
            rendered when the loop is entered.
    """

    max_rows: int | str = 1
    row_concurrency: int | str = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """A step that runs once per element.

    Attributes:
        iterator: Name the element is bound to.
        mode: Order of the iterations.
        collection: Text of ``in``; ``None`` only for cursor loops.
        max_in_flight: Bound of a parallel loop: a number, or a template that must render to an
            integer of at least 1; ``None`` means all at once.
        cursor: Present for cursor loops, may be present (and unused) for others.
        frame: Row counts of a cursor loop.
    """

    iterator: str
    mode: LoopMode = LoopMode.SEQUENTIAL
    collection: str | None = None
    max_in_flight: int | str | None = None
    cursor: Cursor | None = None
    frame: Frame = field(default_factory=Frame)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One tool call as written, split by the side that renders each part.

    Attributes:
        kind: The tool kind.
        config: Every key of the mapping but ``kind`` and the argument block, nulls of typed
            keys left out. Rendered by the server for a single tool.
        args: The argument block (``input`` or ``args``); meaningful when ``has_args``.
        has_args: Whether an argument block was written (a null one counts as not written).
        policy: ``spec.policy`` as written, ``None`` when there is none.
        output_select: Paths kept inline beside a stored result.
        fails_softly: Whether a soft error of this call fails its step (``spec.errors``); ``None``
            leaves it to the step.
    """

    kind: str
    config: ValueMap = field(default_factory=dict)
    args: Value = None
    has_args: bool = False
    policy: Value = None
    output_select: tuple[str, ...] = ()
    fails_softly: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One labelled item of a pipeline.

    Attributes:
        label: Name the item's result is recorded under; may be empty or repeated.
        tool: The tool, ``tool.config`` holding everything but kind and argument block.
        verbatim: ``set``, ``spec``, ``command`` and the argument block (named ``input``) as
            they travel to the worker, unrendered. Absent keys are absent.
        rendered: The keys the server renders; ``kind`` included.
        line: One-based line of the item in the text.
        left: Texts in ``rendered`` that name what only the running pipeline has, and therefore
            travel as they are too.
    """

    label: str
    tool: Tool
    verbatim: ValueMap = field(default_factory=dict)
    rendered: ValueMap = field(default_factory=dict)
    line: int | None = field(default=None, compare=False)
    left: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """Several tools run one after the other in one command."""

    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmitRule:
    """One rule of ``spec.policy.admit``; ``when`` is ``None`` for an ``else`` rule.

    A YAML boolean in ``when`` is kept as the text ``true`` or ``false``.
    """

    when: str | None
    allow: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the workflow.

    Attributes:
        name: Unique name.
        tool: A single tool or a pipeline.
        next: Router, ``None`` when the step is terminal.
        loop: Loop block, if any.
        when: Enable guard; the engine ignores it on the start step.
        admit: Rules of ``spec.policy.admit``, a second guard.
        set: Variables written at completion, keys as written.
        args: Step-level ``args``, which travel unrendered.
        input: Step-level ``input``: defaults below the tool's own arguments.
        timeout_seconds: ``spec.timeout``; ``None`` when absent or not understood.
        repeatable: ``spec.repeatable``; ``None`` leaves it to the kind of tool.
        output_select: From ``output.output_select``, else the single tool's own list.
        fails_softly: Whether a soft error fails the step (``spec.errors``), unless its tool says
            so; ``None`` leaves it to the playbook.
        own_templates: Templates that the playbook keeps as values, in its workload and in
            ``set`` blocks. A worker renders them where they are used, unlike data from outside.
        left: Texts of a single tool that name the keychain, and therefore travel as written.
        keychain: Entries of the playbook's keychain that the step's tools may be given.
        keychain_needed: Those of them that must have a value.
        line: One-based line of its name in the text.
    """

    name: str
    tool: Tool | Pipeline
    next: Router | None = None
    loop: Loop | None = None
    when: str | None = None
    admit: tuple[AdmitRule, ...] = ()
    set: ValueMap = field(default_factory=dict)
    args: ValueMap = field(default_factory=dict)
    input: ValueMap = field(default_factory=dict)
    timeout_seconds: float | None = None
    repeatable: bool | None = None
    output_select: tuple[str, ...] = ()
    fails_softly: bool | None = None
    own_templates: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()
    keychain: tuple[str, ...] = ()
    keychain_needed: tuple[str, ...] = ()
    line: int | None = field(default=None, compare=False)

    @property
    def arcs(self) -> tuple[Arc, ...]:
        """The step's arcs, none for a terminal step."""
        return self.next.arcs if self.next is not None else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeychainEntry:
    """A declaration of a secret, read by the catalog; templates of tools name it."""

    name: str
    raw: ValueMap = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """An address that a worker calls at the end of an execution; ``auth`` is an alias."""

    url: str
    auth: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OnFailure:
    """Start or call that a failed execution causes.

    Attributes:
        playbook: Path of a playbook; with ``version`` one version of it.
        payload: More for its payload, as written.
        webhook: An address.
    """

    playbook: str | None = None
    version: int | None = None
    payload: ValueMap = field(default_factory=dict)
    webhook: Webhook | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Playbook:
    """A valid playbook.

    Attributes:
        name: ``metadata.name``.
        path: ``metadata.path``; it selects the command pool.
        steps: By name, in document order; always contains ``start``.
        workload: Execution defaults; empty when the block is not a mapping.
        timeout_seconds: ``spec.timeout``, the deadline of an execution; ``None`` when absent or not
            understood.
        fails_softly: Whether a soft error fails its step (``spec.errors``), unless the step or
            its tool says so; ``None`` leaves it to the server.
        on_failure: What a failed execution starts or calls.
        plugins: The plug-ins that its tools name; an execution keeps their versions.
    """

    name: str
    path: str | None = None
    steps: Mapping[str, Step]
    workload: ValueMap = field(default_factory=dict)
    keychain: tuple[KeychainEntry, ...] = ()
    timeout_seconds: float | None = None
    fails_softly: bool | None = None
    on_failure: OnFailure | None = None
    plugins: tuple[str, ...] = ()

    @property
    def start(self) -> Step:
        """The entry step."""
        return self.steps[START_STEP]
