"""From text to a valid playbook, or to every problem that it has."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from noetl_contract.tools import TOOL_KINDS

from noetl_engine.playbook.errors import DecodeError, PlaybookError
from noetl_engine.playbook.language import LEVELS
from noetl_engine.playbook.model import (
    KeychainEntry,
    Metadata,
    Playbook,
    Tool,
    ValueMap,
    WorkbookTask,
)
from noetl_engine.playbook.parse.reader import Reader, described
from noetl_engine.playbook.parse.rules import API_VERSION, KIND, header_problems, workflow_problems
from noetl_engine.playbook.parse.steps import ReadStep, read_step
from noetl_engine.playbook.parse.tools import Mismatch, read_single
from noetl_engine.playbook.parse.warnings import unknown_keys
from noetl_engine.playbook.parse.workbook import resolve_reference
from noetl_engine.playbook.problem import Code, Problem, problem_at
from noetl_engine.playbook.yaml import MapNode, Node, Scalar, YamlLimits, compose, is_null

_HEADER: Final = ("apiVersion", "kind", "metadata", "workflow")
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
        playbook: Valid when there are no problems, nothing when the document is no mapping.
        problems: In the order of reading.
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
    if reading.playbook is None or reading.problems:
        raise PlaybookError(_of_first_check(reading.problems))
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
        self._warnings: list[Problem] = []

    def read(self) -> Playbook:
        """Return the playbook; refused parts are left out or replaced by harmless ones."""
        root = self._root
        api_version, kind, metadata, workload = self._read_header()
        keychain = self._read_keychain()
        workbook = self._read_workbook()
        steps = self._read_workflow(workbook)
        self.problems += header_problems(root.node, api_version, kind)
        workflow = root.node.entries.get("workflow")
        if steps is not None and workflow is not None:
            self.problems += workflow_problems(workflow, steps)
        warnings = [*self._warnings, *unknown_keys(root.node)]
        return Playbook(
            metadata=metadata,
            steps={read.step.name: read.step for read in steps or ()},
            workload=workload,
            workbook=workbook,
            keychain=keychain,
            api_version=api_version,
            kind=kind,
            warnings=tuple(sorted(warnings, key=lambda problem: problem.line or 0)),
        )

    def _read_header(self) -> tuple[str, str, Metadata, ValueMap]:
        root = self._root
        missing = [key for key in _HEADER if key not in root.node.entries]
        self.problems += [
            Problem(code=Code.SHAPE, text=f"missing field `{key}`", line=1, column=1)
            for key in missing
        ]
        workload = root.json("workload")
        return (
            API_VERSION
            if "apiVersion" in missing
            else root.required_text("apiVersion", instead=API_VERSION),
            KIND if "kind" in missing else root.required_text("kind", instead=KIND),
            Metadata(name="?") if "metadata" in missing else self._read_metadata(),
            workload if isinstance(workload, dict) else {},
        )

    def _read_metadata(self) -> Metadata:
        root = self._root
        node = root.node.entries["metadata"]
        if is_null(node):
            root.refuse_type(node, "struct Metadata", "metadata")
        metadata = root.mapping("metadata")
        if metadata is None:
            return Metadata(name="?")
        labels = metadata.mapping("labels")
        return Metadata(
            name=metadata.required_text("name", instead="?"),
            path=metadata.text("path"),
            description=metadata.text("description"),
            labels=labels.texts() if labels is not None else {},
            raw=metadata.all(),
        )

    def _read_keychain(self) -> tuple[KeychainEntry, ...]:
        entries = []
        for entry in self._root.readers("keychain", "KeychainEntry") or ():
            name = entry.required_text("name", instead=entry.path)
            entry.check(LEVELS["KeychainEntry"])
            entries.append(KeychainEntry(name=name, raw=entry.all()))
        return tuple(entries)

    def _read_workbook(self) -> dict[str, WorkbookTask]:
        workbook = {}
        for entry in self._root.readers("workbook", "WorkbookTask") or ():
            name = entry.required_text("name", instead=entry.path)
            tool = self._read_workbook_tool(entry)
            workbook[name] = WorkbookTask(name=name, tool=tool, line=entry.node.line)
        return workbook

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

    def _read_workflow(self, workbook: dict[str, WorkbookTask]) -> list[ReadStep] | None:
        readers = self._root.readers("workflow", "Step")
        if readers is None:
            return None
        steps = []
        for reader in readers:
            self._refuse_case(reader)
            read = read_step(reader, self._warnings, self._more_kinds)
            steps.append(resolve_reference(read, workbook, self.problems.append))
        return steps

    def _refuse_case(self, step: Reader) -> None:
        case = step.present("case")
        if case is None:
            return
        name = step.node.entries.get("step")
        shown = name.text if isinstance(name, Scalar) else step.path
        self.problems.append(
            Problem(
                code=Code.CASE,
                text=f"Step '{shown}': {_CASE_ADVICE}",
                line=case.line,
                column=case.column,
                path=step.path,
            )
        )
