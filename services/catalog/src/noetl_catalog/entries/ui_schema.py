"""Form fields inferred from a document's workload and from its comments."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from noetl_contract.http.catalog.entries import UiField
from noetl_contract.json import Json
from noetl_engine.playbook.errors import DecodeError
from noetl_engine.playbook.yaml import ListNode, MapNode, Node, Scalar, compose, to_json

_KEY = re.compile(r" {2,}([A-Za-z_][A-Za-z0-9_-]*)\s*:")
_DIRECTIVE = re.compile(r"#\s*ui:([A-Za-z_][A-Za-z0-9_]*)(?:\s*=\s*([^#]*))?")
_NOT_FINITE = re.compile(r"[+-]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_KINDS = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    type(None): "null",
}


@dataclass(frozen=True, slots=True)
class Form:
    """The form of a workload for UIs."""

    title: str | None = None
    description: str | None = None
    is_exposed: bool = False
    fields: Sequence[UiField] = ()


@dataclass(slots=True)
class _Directive:
    """Comments of one line about its key."""

    is_secret: bool = False
    options: list[str] | None = None
    credential_glob: str | None = None
    description: str | None = None
    took_effect: bool = False

    def apply(self, name: str, value: str) -> None:
        match name:
            case "secret":
                self.is_secret = True
            case "enum":
                self.options = _options(value)
            case "credential" if _unquoted(value):
                self.credential_glob = _unquoted(value)
            case "description" if _unquoted(value):
                self.description = _unquoted(value)
            case _:
                return
        self.took_effect = True


def read_form(content: str) -> Form:
    """Return the form of a document; for an unreadable document the form is empty."""
    try:
        root = compose(content)
    except DecodeError:
        return Form()
    if not isinstance(root, MapNode):
        return Form()
    about = _mapping(to_json(root.entries.get("metadata", Node(line=0, column=0))))
    workload = root.entries.get("workload")
    fields: list[UiField] = []
    if isinstance(workload, MapNode):
        directives = _directives(content)
        fields = [
            _field(name, node, directives.get(name, _Directive()))
            for name, node in workload.entries.items()
        ]
    return Form(
        title=_text(about, "name"),
        description=_text(about, "description"),
        is_exposed=about.get("exposed_in_ui") is True,
        fields=fields,
    )


def _field(name: str, node: Node, directive: _Directive) -> UiField:
    kind = "enum" if directive.options is not None else _kind(node)
    children = None
    if kind == "object" and isinstance(node, MapNode):
        fields = (_field(key, item, _Directive()) for key, item in node.entries.items())
        children = [field.model_dump() for field in fields]
    return UiField(
        name=name,
        kind=kind,
        default=to_json(node),
        description=directive.description,
        secret=directive.is_secret,
        credential_glob=directive.credential_glob,
        options=directive.options,
        children=children,
    )


def _kind(node: Node) -> str:
    if isinstance(node, MapNode | ListNode):
        return "object" if isinstance(node, MapNode) else "array"
    if not isinstance(node, Scalar):
        return "null"
    value = node.value
    if value is None and not node.style and _NOT_FINITE.fullmatch(node.text):
        # JSON has no infinity, so the value is null, but the field is still a number.
        return "number"
    return _KINDS[type(value)]


def _directives(content: str) -> dict[str, _Directive]:
    """Parse the comments in every block called ``workload``, at any depth."""
    found: dict[str, _Directive] = {}
    block_indent: int | None = None
    child_indent: int | None = None
    for line in content.split("\n"):
        stripped = line.lstrip()
        if not stripped:
            continue
        indent = len(line) - len(stripped)
        if stripped.startswith("workload:"):
            block_indent, child_indent = indent, None
            continue
        if block_indent is None:
            continue
        if indent <= block_indent:
            block_indent = None
            continue
        # The first line of the block defines its indent, so that nested keys are skipped.
        child_indent = indent if child_indent is None else child_indent
        key = _KEY.match(line)
        if indent != child_indent or key is None:
            continue
        directive = _Directive()
        for name, value in _DIRECTIVE.findall(line):
            directive.apply(name, value.strip())
        if directive.took_effect:
            found[key[1]] = directive
    return found


def _options(value: str) -> list[str]:
    if not (value.startswith("[") and value.endswith("]") and len(value) >= 2):
        return [_unquoted(value)]
    items = (_unquoted(item.strip()) for item in value[1:-1].split(","))
    return [item for item in items if item]


def _unquoted(value: str) -> str:
    is_quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if is_quoted else value


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}


def _text(source: Mapping[str, Json], name: str) -> str | None:
    value = source.get(name)
    return value if isinstance(value, str) else None
