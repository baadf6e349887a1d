"""From text to a valid playbook, or to every problem that it has."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from noetl_contract.json import Json
from noetl_contract.tools import TOOL_KINDS
from noetl_template import templates_in

from noetl_engine.playbook.errors import DecodeError, PlaybookError
from noetl_engine.playbook.language import LEVELS, METADATA
from noetl_engine.playbook.model import KeychainEntry, Playbook, Step, Tool
from noetl_engine.playbook.parse.failures import read_errors, read_on_failure
from noetl_engine.playbook.parse.keychain import leave_keychain
from noetl_engine.playbook.parse.plugins import named_plugins
from noetl_engine.playbook.parse.reader import Reader, described, problem_of
from noetl_engine.playbook.parse.rules import API_VERSION, KIND, header_problems, workflow_problems
from noetl_engine.playbook.parse.steps import ReadStep, read_step, read_timeout
from noetl_engine.playbook.parse.tools import Mismatch, read_single
from noetl_engine.playbook.parse.workbook import resolve_reference
from noetl_engine.playbook.problem import Code, Problem, problem_at
from noetl_engine.playbook.yaml import MapNode, Node, Scalar, YamlLimits, compose, is_null

_HEADER: Final = ("apiVersion", "kind", "metadata", "workflow")
_DESCRIPTION: Final = replace(
    METADATA, keys={name: METADATA.keys[name] for name in ("description", "labels")}
)
_CASE_ADVICE: Final = (
    "'case' blocks are not allowed in canonical format. Use 'step.when' for enable guards and "
    "'next[].when' for conditional routing. For pipelines, use 'tool: [- label: {kind: ...}]' "
    "directly on the step."
)
# The original server's checks in its order: the first check with problems refuses the playbook.
_CHECKS: Final = (
    frozenset({Code.CASE}),
    frozenset({Code.SHAPE, Code.UNKNOWN_KIND, Code.NEXT}),
    frozenset({Code.UNKNOWN_TASK}),
    frozenset({Code.RULE, Code.UNKNOWN_STEP}),
)


@dataclass(frozen=True, slots=True)
class Reading:
    """The playbook as far as it could be read, and every problem of its text.

    Attributes:
        playbook: Valid when no problem but ignored values is left, nothing when the document is
            no mapping.
        problems: In the order of reading, values that are accepted and ignored among them.
    """

    playbook: Playbook | None
    problems: tuple[Problem, ...]


def parse_playbook(
    text: str, *, limits: YamlLimits | None = None, more_kinds: Collection[str] = ()
) -> Playbook:
    """Read and validate a playbook; ``more_kinds`` of tools are accepted beside ours.

    Raises:
        PlaybookError: The text is not a valid playbook. Nothing else is raised, whatever the
            text contains.
    """
    try:
        root = compose(text, limits=limits)
    except DecodeError as error:
        raise PlaybookError((error.problem,)) from error
    reading = read_document(root, more_kinds=more_kinds)
    refused = tuple(problem for problem in reading.problems if problem.code is not Code.IGNORED)
    if reading.playbook is None or refused:
        raise PlaybookError(_of_first_check(refused))
    return reading.playbook


def read_document(root: Node, *, more_kinds: Collection[str] = ()) -> Reading:
    """Read a composed document and collect its problems."""
    if not isinstance(root, MapNode):
        return Reading(None, (_no_playbook(root),))
    document = _Document(root, more_kinds)
    return Reading(document.read(), tuple(document.problems))


def _of_first_check(problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """Return the problems of the first check that found any, equal messages once."""
    for codes in _CHECKS:
        found: dict[str, Problem] = {}
        for problem in problems:
            if problem.code in codes:
                found.setdefault(problem.message, problem)
        if found:
            return tuple(found.values())
    return problems


def _no_playbook(root: Node) -> Problem:
    if is_null(root):
        return Problem(code=Code.SHAPE, text="missing field `apiVersion`", line=1, column=1)
    text = f"invalid type: {described(root)}, expected struct Playbook"
    return problem_at(text, line=root.line, column=root.column, path="")


class _Document:
    """One document while it is read."""

    def __init__(self, root: MapNode, more_kinds: Collection[str]) -> None:
        self.problems: list[Problem] = []
        self._root = Reader(root, "", self.problems.append)
        self._more_kinds = more_kinds

    def read(self) -> Playbook:
        """Return the playbook; refused parts are left out or replaced by harmless ones."""
        root, entries = self._root, self._root.node.entries
        self.problems += [
            Problem(code=Code.SHAPE, text=f"missing field `{key}`", line=1, column=1)
            for key in _HEADER
            if key not in entries
        ]
        workload = root.json("workload")
        api_version, kind = (
            root.required_text(key, instead=word) if key in entries else word
            for key, word in (("apiVersion", API_VERSION), ("kind", KIND))
        )
        name, path = self._read_metadata()
        keychain = self._read_keychain()
        steps = self._read_workflow(self._read_workbook())
        self.problems += header_problems(root.node, api_version, kind)
        workflow = entries.get("workflow")
        if steps is not None and workflow is not None:
            self.problems += workflow_problems(workflow, steps)
        defaults = workload if isinstance(workload, dict) else {}
        found = [read.step for read in steps or ()]
        own = templates_in([defaults, *_assigned(found)])
        playbook = Playbook(
            name=name,
            path=path,
            steps={step.name: replace(step, own_templates=own) if own else step for step in found},
            workload=defaults,
            keychain=keychain,
            timeout_seconds=self._read_timeout(),
            fails_softly=read_errors(root),
            on_failure=read_on_failure(root),
            plugins=named_plugins(found),
        )
        return leave_keychain(playbook)

    def _read_metadata(self) -> tuple[str, str | None]:
        node = self._root.node.entries.get("metadata")
        if node is not None and is_null(node):
            self._root.refuse_type(node, "struct Metadata", "metadata")
        metadata = self._root.mapping("metadata")
        if metadata is None:
            return "?", None
        name, path = metadata.required_text("name", instead="?"), metadata.text("path")
        metadata.check(_DESCRIPTION)
        return name, path

    def _read_timeout(self) -> float | None:
        """Return the deadline; a ``spec`` of another shape is ignored."""
        node = self._root.present("spec")
        if not isinstance(node, MapNode) or not isinstance(node.entries.get("timeout"), Scalar):
            return None
        return read_timeout(Reader(node, "spec", self.problems.append))

    def _read_keychain(self) -> tuple[KeychainEntry, ...]:
        entries = []
        for entry in self._root.readers("keychain", "KeychainEntry") or ():
            name = entry.required_text("name", instead=entry.path)
            entry.check(LEVELS["KeychainEntry"])
            entries.append(KeychainEntry(name=name, raw=entry.all()))
        return tuple(entries)

    def _read_workbook(self) -> dict[str, Tool]:
        return {
            entry.required_text("name", instead=entry.path): self._read_workbook_tool(entry)
            for entry in self._root.readers("workbook", "WorkbookTask") or ()
        }

    def _read_workbook_tool(self, entry: Reader) -> Tool:
        node = entry.required("tool")
        if isinstance(node, MapNode):
            try:
                return read_single(node, more_kinds=self._more_kinds)
            except Mismatch as mismatch:
                text = self._mismatch_text(mismatch)
                entry.refuse(text, node=mismatch.node, key="tool")
        elif node is not None:
            entry.refuse_type(node, "struct ToolSpec", "tool")
        return Tool(kind="noop")

    def _mismatch_text(self, mismatch: Mismatch) -> str:
        if mismatch.kind is not None:
            kinds = (*TOOL_KINDS, *sorted(self._more_kinds))
            words = ", ".join(f"`{kind}`" for kind in kinds)
            return f"unknown variant `{mismatch.kind}`, expected one of {words}"
        if mismatch.hint == "tool has no kind":
            return "missing field `kind`"
        return mismatch.hint

    def _read_workflow(self, workbook: dict[str, Tool]) -> list[ReadStep] | None:
        readers = self._root.readers("workflow", "Step")
        if readers is None:
            return None
        steps = []
        for reader in readers:
            self._refuse_case(reader)
            read = read_step(reader, self._more_kinds)
            steps.append(resolve_reference(read, workbook, self.problems.append))
        return steps

    def _refuse_case(self, step: Reader) -> None:
        case = step.present("case")
        if case is None:
            return
        name = step.node.entries.get("step")
        shown = name.text if isinstance(name, Scalar) else step.path
        text = f"Step '{shown}': {_CASE_ADVICE}"
        step.report(problem_of(case, text, step.path, code=Code.CASE))


def _assigned(steps: Iterable[Step]) -> Iterator[Json]:
    """Yield the values of ``set`` blocks that are no text; a text is rendered when it is set."""
    for step in steps:
        for block in (step.set, *(arc.set for arc in step.arcs)):
            yield from (value for value in block.values() if not isinstance(value, str))
