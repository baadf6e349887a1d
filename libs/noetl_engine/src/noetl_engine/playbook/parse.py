"""From text to a valid playbook, or to everything that is wrong with it."""

from collections.abc import Collection
from http import HTTPStatus
from typing import Final

from noetl_engine.playbook.check import unknown_keys
from noetl_engine.playbook.decode import Reader, described
from noetl_engine.playbook.errors import DecodeError, PlaybookError
from noetl_engine.playbook.model import (
    JsonObject,
    KeychainEntry,
    Metadata,
    Playbook,
    Problem,
    Step,
    Tool,
    WorkbookTask,
)
from noetl_engine.playbook.rules import header_problems, workflow_problems
from noetl_engine.playbook.steps import Notes, names_a_case, read_step
from noetl_engine.playbook.tools import TOOL_KINDS, Mismatch, read_single
from noetl_engine.playbook.workbook import resolve_references
from noetl_engine.playbook.yaml_dialect import MapNode, Node, Scalar, YamlLimits, compose

_RESIDENCIES: Final = ("none", "advisory", "strict")
_KEYCHAIN_TEXTS: Final = ("credential", "token_type", "scope", "provider", "auth", "region")
_KEYCHAIN_FLAGS: Final = ("no_broker_fallback", "auto_renew")
_CASE_ADVICE: Final = (
    "'case' blocks are not allowed in canonical format. Use 'step.when' for enable guards and "
    "'next[].when' for conditional routing. For pipelines, use 'tool: [- label: {kind: ...}]' "
    "directly on the step."
)


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
        raise PlaybookError((error.problem,), status=HTTPStatus.BAD_REQUEST) from error
    return read_playbook(root, more_kinds=more_kinds)


def read_playbook(root: Node, *, more_kinds: Collection[str] = ()) -> Playbook:
    """Read and validate a composed document.

    Raises:
        PlaybookError: The document is not a valid playbook.
    """
    try:
        reader = _root_reader(root)
    except DecodeError as error:
        raise PlaybookError((error.problem,), status=HTTPStatus.BAD_REQUEST) from error
    _refuse(_case_problems(reader), HTTPStatus.UNPROCESSABLE_ENTITY)
    document = _Document(reader, more_kinds)
    _refuse(document.decode(), HTTPStatus.BAD_REQUEST)
    _refuse(document.validate(), HTTPStatus.UNPROCESSABLE_ENTITY)
    return document.playbook(unknown_keys(root))


def _refuse(problems: list[Problem], status: HTTPStatus) -> None:
    if problems:
        raise PlaybookError(tuple(problems), status=status)


def _root_reader(root: Node) -> Reader:
    if isinstance(root, MapNode):
        return Reader(root, "")
    if isinstance(root, Scalar) and root.value is None:
        raise DecodeError(Problem(message="missing field `apiVersion`", line=1, column=1))
    message = f"invalid type: {described(root)}, expected struct Playbook"
    raise DecodeError(
        Problem(
            message=f"{message} at line {root.line} column {root.column}",
            line=root.line,
            column=root.column,
        )
    )


def _case_problems(root: Reader) -> list[Problem]:
    problems = []
    try:
        steps = root.readers("workflow", "Step")
    except DecodeError:
        return []  # the typed decoding says what is wrong
    for step in steps:
        if names_a_case(step):
            name = step.node.entries.get("step")
            shown = name.text if isinstance(name, Scalar) else step.path
            case = step.node.entries["case"]
            message = f"Step '{shown}': {_CASE_ADVICE}"
            problems.append(
                Problem(message=message, line=case.line, column=case.column, path=step.path)
            )
    return problems


class _Document:
    """The parts of a playbook while they are read."""

    def __init__(self, root: Reader, more_kinds: Collection[str]) -> None:
        self._root = root
        self._problems: list[Problem] = []
        self._notes = Notes(more_kinds=more_kinds)
        self._api_version = ""
        self._kind = ""
        self._metadata = Metadata(name="")
        self._workload: JsonObject = {}
        self._keychain: list[KeychainEntry] = []
        self._workbook: dict[str, WorkbookTask] = {}
        self._steps: list[Step] = []

    def decode(self) -> list[Problem]:
        """Read everything; what has the wrong shape comes back, in the reference's order."""
        for read in (self._read_header, self._read_keychain, self._read_workbook):
            try:
                read()
            except DecodeError as error:
                self._problems.append(error.problem)
        self._read_workflow()
        return self._problems

    def validate(self) -> list[Problem]:
        """Expand workbook references and check the rules."""
        self._steps, problems = resolve_references(self._steps, self._workbook)
        if problems:
            return problems
        problems += header_problems(self._api_version, self._kind)
        problems += workflow_problems(self._steps, self._notes.tool_problems)
        return problems

    def playbook(self, unknown: tuple[Problem, ...]) -> Playbook:
        """The valid playbook."""
        warnings = sorted((*self._notes.warnings, *unknown), key=lambda problem: problem.line or 0)
        return Playbook(
            metadata=self._metadata,
            steps={step.name: step for step in self._steps},
            workload=self._workload,
            workbook=self._workbook,
            keychain=tuple(self._keychain),
            api_version=self._api_version,
            kind=self._kind,
            warnings=tuple(warnings),
        )

    def _read_header(self) -> None:
        root = self._root
        for key in ("apiVersion", "kind", "metadata", "workflow"):
            if key not in root.node.entries:
                raise DecodeError(Problem(message=f"missing field `{key}`", line=1, column=1))
        self._api_version = root.required_text("apiVersion")
        self._kind = root.required_text("kind")
        self._metadata = self._read_metadata()
        workload = root.json("workload")
        if isinstance(workload, dict):
            self._workload = workload

    def _read_metadata(self) -> Metadata:
        metadata = self._root.mapping("metadata")
        if metadata is None:
            node = self._root.required("metadata")
            message = "invalid type: unit value, expected struct Metadata"
            raise self._root.fail(message, node=node, key="metadata")
        labels = metadata.mapping("labels")
        return Metadata(
            name=metadata.required_text("name"),
            path=metadata.text("path"),
            description=metadata.text("description"),
            labels=labels.texts() if labels is not None else {},
            raw=metadata.all(),
        )

    def _read_keychain(self) -> None:
        for entry in self._root.readers("keychain", "KeychainEntry"):
            name = entry.required_text("name")
            for key in _KEYCHAIN_TEXTS:
                entry.text(key)
            for key in _KEYCHAIN_FLAGS:
                entry.boolean(key)
            entry.word("residency", _RESIDENCIES)
            entry.items("allowed_regions")
            named = entry.mapping("map")
            if named is not None:
                named.texts()
            self._keychain.append(KeychainEntry(name=name, raw=entry.all()))

    def _read_workbook(self) -> None:
        for entry in self._root.readers("workbook", "WorkbookTask"):
            name = entry.required_text("name")
            tool = self._read_workbook_tool(entry)
            self._workbook[name] = WorkbookTask(name=name, tool=tool, line=entry.node.line)

    def _read_workbook_tool(self, entry: Reader) -> Tool:
        node = entry.required("tool")
        if not isinstance(node, MapNode):
            message = f"invalid type: {described(node)}, expected struct ToolSpec"
            raise entry.fail(message, node=node, key="tool")
        try:
            return read_single(node, more_kinds=self._notes.more_kinds)
        except Mismatch as mismatch:
            message = mismatch.hint
            if message.startswith("unknown tool kind"):
                kinds = (*TOOL_KINDS, *sorted(self._notes.more_kinds))
                words = ", ".join(f"`{kind}`" for kind in kinds)
                message = message.replace("unknown tool kind", "unknown variant").replace("'", "`")
                message = f"{message}, expected one of {words}"
            elif message == "tool has no kind":
                message = "missing field `kind`"
            raise entry.fail(message, node=mismatch.node, key="tool") from mismatch

    def _read_workflow(self) -> None:
        try:
            readers = self._root.readers("workflow", "Step")
        except DecodeError as error:
            self._problems.append(error.problem)
            return
        for index, reader in enumerate(readers):
            try:
                self._steps.append(read_step(reader, index, self._notes))
            except DecodeError as error:
                self._problems.append(error.problem)
