"""Tools that can't run as they are written, and their keys without effect."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from noetl_contract.libraries.requirements import (
    BadRequirements,
    Requirements,
    requirements_of,
)
from noetl_contract.plugins.names import BadName, read_reference
from noetl_contract.tools import TOOLS, ToolKey, ToolKind, is_retry_condition

from noetl_engine.playbook.lint.finding import (
    Finding,
    Severity,
    finding_at,
)
from noetl_engine.playbook.lint.guess import Guesser
from noetl_engine.playbook.lint.parts import (
    StepPart,
    ToolPart,
    below,
    items_of,
    steps_of,
    workbook_tools,
)
from noetl_engine.playbook.lint.unread import arguments_of_step, unread_keys
from noetl_engine.playbook.lint.values import value_findings
from noetl_engine.playbook.model import Value
from noetl_engine.playbook.yaml import ListNode, MapNode, Node, Scalar, is_absent, to_json

# Kinds whose scripts may have libraries, and those whose scripts run where no worker can give them.
_WITH_LIBRARIES: Final = frozenset({"python"})
_AS_JOBS: Final = frozenset({"script"})
_JOB_PACKAGES: Final = frozenset({"image", "install_dependencies"})
_FAILS: Final = "the step fails"
_AUTH_TYPES: Final = ("bearer", "basic", "api_key", "gcp_adc", "none")


def tool_findings(root: MapNode, guess: Guesser) -> Iterator[Finding]:
    """Check all tools, of steps and of the workbook, against the tables of their kinds."""
    for step in steps_of(root):
        for tool in step.tools():
            kind = TOOLS.get(tool.kind)
            if kind is not None:
                yield from _tool(step, tool, kind)
                yield from _config(tool, kind, guess, in_list=step.is_pipeline)
                if not step.is_pipeline:
                    yield from arguments_of_step(step, kind)
    for tool in workbook_tools(root):
        kind = TOOLS.get(tool.kind)
        if kind is not None:
            yield from _config(tool, kind, guess, in_list=False)


def _config(tool: ToolPart, kind: ToolKind, guess: Guesser, *, in_list: bool) -> Iterator[Finding]:
    yield from unread_keys(tool, kind, guess, in_list=in_list)
    yield from value_findings(tool, kind)
    yield from _auth(tool, in_list=in_list)
    yield from _retry(tool)
    yield from _libraries(tool)
    yield from _plugin(tool)


def _tool(step: StepPart, tool: ToolPart, kind: ToolKind) -> Iterator[Finding]:
    node = tool.node.entries["kind"]
    path = f"{tool.path}.kind"
    if not kind.is_run:
        whose = "no worker of ours" if kind.is_run_elsewhere else "no worker"
        message = f"{whose} runs tool kind '{kind.name}': {_FAILS}"
        yield finding_at(node, path, "tool-not-run", message, hint=kind.instead)
    if kind.package is not None and not kind.is_in_images:
        message = f"only workers with the package '{kind.package}' run tool kind '{kind.name}'"
        yield finding_at(node, path, "tool-package", message, severity=Severity.INFO)
    if kind.name == "workbook" and step.is_pipeline:
        message = f"workbook references are not resolved inside a pipeline: {_FAILS}"
        yield finding_at(node, path, "tool-not-run", message)
    if kind.name == "container" and step.is_pipeline:
        message = "in a list of tools a container is started and nobody waits for its end"
        yield finding_at(node, path, "inert", message)
    rule = tool.node.entries.get("on_child_failure")
    if kind.name == "playbook" and rule is not None and "return_step" not in tool.node.entries:
        message = "'on_child_failure' has no effect without 'return_step': nobody waits"
        yield finding_at(rule, f"{tool.path}.on_child_failure", "inert", message)
    for names in kind.missing(_values(tool.node)):
        wanted = " or ".join(f"'{name}'" for name in names)
        message = f"tool kind '{kind.name}' needs {wanted}: {_FAILS}"
        yield finding_at(node, tool.path, "missing-key", message)
    yield from _missing_inside(tool.node, tool.path, kind.keys)


def _missing_inside(node: MapNode, path: str, keys: Iterable[ToolKey]) -> Iterator[Finding]:
    """Yield the required keys that mappings of a configuration lack."""
    for key in keys:
        for name in key.names if key.keys else ():
            inner = node.entries.get(name)
            for item in [inner, *items_of(inner)]:
                if not isinstance(item, MapNode):
                    continue
                values, place = _values(item), f"{path}.{name}"
                for needed in key.keys:
                    if needed.is_required and all(
                        values.get(word) is None for word in needed.names
                    ):
                        message = f"'{name}' needs '{needed.name}': {_FAILS}"
                        yield finding_at(item, place, "missing-key", message)
                yield from _missing_inside(item, place, key.keys)


def _values(node: MapNode) -> Mapping[str, object]:
    return {
        key: entry.value if isinstance(entry, Scalar) else entry
        for key, entry in node.entries.items()
    }


def _auth(tool: ToolPart, *, in_list: bool) -> Iterator[Finding]:
    auth = tool.node.entries.get("auth")
    if not isinstance(auth, MapNode):
        return
    word = auth.entries.get("type")
    text = word.text if isinstance(word, Scalar) and word.value is not None else None
    if text in _AUTH_TYPES or (text is not None and "{{" in text):
        return
    what = "has no 'type'" if text is None else f"has the unknown type '{text[:50]}'"
    then = "it has no effect in a pipeline" if in_list else _FAILS
    hint = f"name a credential (auth: my_alias), or write type: {', '.join(_AUTH_TYPES)}"
    message = f"'auth' {what}: {then}"
    yield finding_at(word or auth, f"{tool.path}.auth", "missing-key", message, hint=hint)


def _retry(tool: ToolPart) -> Iterator[Finding]:
    for key in ("retry_on", "retry_on_status"):
        node = below(tool.node, "retry", key)
        words: list[Node | None] = list(items_of(node)) if isinstance(node, ListNode) else [node]
        for word in words:
            if isinstance(word, Scalar) and word.value is not None and _is_unknown(word.text):
                message = f"'{word.text[:50]}' is no failure that a tool reports: no try for it"
                path = f"{tool.path}.retry.{key}"
                yield finding_at(word, path, "inert", message, hint=_CONDITIONS)


def tool_requirements(node: MapNode) -> Requirements | None:
    """Return the libraries that a tool asks for; None where it has none.

    Raises:
        BadRequirements: they can't be read.
    """
    entries = node.entries
    kind = entries.get("kind")
    if not isinstance(kind, Scalar):
        return None
    if kind.text in _AS_JOBS and not is_absent(entries.get("requirements")):
        raise BadRequirements(f"`requirements` can't be had by kind `{kind.text}`: {_IN_A_JOB}")
    if kind.text not in _WITH_LIBRARIES:
        return None
    keys = ("requirements", "code", "script")
    asked = requirements_of({key: to_json(entries[key]) for key in keys if key in entries})
    if asked is not None and not is_absent(entries.get("python")):
        raise BadRequirements("`python` names another interpreter, which has no libraries of ours")
    return asked


def _plugin(tool: ToolPart) -> Iterator[Finding]:
    """Yield why the name of a plug-in can't be read."""
    node = tool.node.entries.get("plugin")
    if tool.kind != "wasm" or node is None or is_absent(node):
        return
    try:
        read_reference(to_json(node))
    except BadName as error:
        yield finding_at(node, f"{tool.path}.plugin", "plugin", f"{error}: {_FAILS}")


def _libraries(tool: ToolPart) -> Iterator[Finding]:
    try:
        tool_requirements(tool.node)
    except BadRequirements as error:
        place = tool.node.entries.get("requirements", tool.node)
        message = f"{error}: the playbook is not registered"
        yield finding_at(place, tool.path, "libraries", message, severity=Severity.ERROR)
    yield from _unread_header(tool)
    libs = tool.node.entries.get("libs")
    has_packages = not is_absent(tool.node.entries.get("requirements"))
    if libs is None or has_packages or tool.kind not in _WITH_LIBRARIES:
        return
    for module in _named_modules(to_json(libs)):
        root = module.partition(".")[0]
        if root not in sys.stdlib_module_names:
            message = f"'libs' brings no package for '{root[:100]}'"
            hint = "name it in 'requirements', or give the workers an interpreter that has it"
            yield finding_at(libs, f"{tool.path}.libs", "libraries", message, hint=hint)


def _unread_header(tool: ToolPart) -> Iterator[Finding]:
    """Report requirements in the header of a script whose kind of tool installs no packages."""
    script, job = tool.node.entries.get("script"), tool.node.entries.get("job")
    has_packages = isinstance(job, MapNode) and job.entries.keys() & _JOB_PACKAGES
    if tool.kind not in _AS_JOBS or script is None or has_packages:
        return
    try:
        asked = requirements_of({"script": to_json(script)})
    except BadRequirements:
        return  # nobody reads it
    if asked is not None:
        message = f"nobody installs {str(asked)[:100]}, as the script's header asks: {_IN_A_JOB}"
        yield finding_at(script, f"{tool.path}.script", "libraries", message)


def _named_modules(libs: Value) -> Iterator[str]:
    given = libs.values() if isinstance(libs, dict) else libs if isinstance(libs, list) else ()
    for one in given:
        module = one.get("from") if isinstance(one, dict) else one
        if isinstance(module, str):
            yield module


def _is_unknown(word: str) -> bool:
    return "{{" not in word and not is_retry_condition(word)


_IN_A_JOB: Final = (
    "it runs in a Job of a cluster, whose packages are those of `job.image` "
    "and of `job.install_dependencies`; kind `python` has locked ones"
)
_CONDITIONS: Final = "such as timeout, connection, rate_limit, server_error, 503, 5xx, PG_40001"
