"""Registered documents and the columns derived from them."""

import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from noetl_common.errors import Permanent
from noetl_contract.failures.ended import EndedTrigger
from noetl_contract.json import Json
from noetl_contract.plugins.document import LARGEST_MODULE, BadPlugin, read_plugin
from noetl_engine.documents import kind_of, language_of, lint_document
from noetl_engine.playbook import PlaybookError, Problem, parse_playbook
from noetl_engine.playbook.errors import DecodeError
from noetl_engine.playbook.libraries import StepLibraries, libraries_of
from noetl_engine.playbook.lint import Finding, Severity
from noetl_engine.playbook.parse.keychain import token_endpoint
from noetl_engine.playbook.plugins import NamedPlugin, plugins_of
from noetl_engine.playbook.yaml import compose, to_json
from noetl_engine.schedule.model import Schedule
from noetl_engine.schedule.read import read_schedule
from noetl_engine.triggers.ended import InvalidTrigger, read_trigger
from noetl_engine.triggers.starts import StartedPlaybook, started_by
from noetl_engine.triggers.subscription import Subscription, read_subscription, subscription_problem

from noetl_catalog.providers.registry import OAUTH2, UnknownProvider, check_provider

_KIND_ALIASES = {
    "credentials": "credential",
    "secret": "credential",
    "secrets": "credential",
    "modelcontextprotocol": "mcp",
}
_MOST_PROBLEMS = 20
_CONTROL = frozenset({"Cc", "Zl", "Zp", "Cs"})
_LONGEST_SHOWN = 200


class InvalidDocument(Permanent):
    """The document can't be registered."""

    template = "{problem}"


@dataclass(frozen=True, slots=True)
class Document:
    """A document with the columns derived from it.

    Attributes:
        problems: reasons for which an execution would refuse a playbook, although the document is
            registered.
    """

    path: str
    kind: str
    content: str
    payload: Json
    layout: Json
    meta: Json
    metadata: Json
    problems: tuple[Problem, ...]
    subscription: Subscription | None = None
    schedule: Schedule | None = None
    trigger: EndedTrigger | None = None
    libraries: tuple[StepLibraries, ...] = ()
    plugins: tuple[NamedPlugin, ...] = ()
    starts: tuple[StartedPlaybook, ...] = ()

    @property
    def is_start(self) -> bool:
        """Whether the document starts executions with the rights of its registrant."""
        return self.subscription is not None or self.trigger is not None


def read_document(
    content: str,
    *,
    resource_type: str,
    more_kinds: Collection[str] = (),
    largest_module: int = LARGEST_MODULE,
) -> Document:
    """Parse a document; call this in a thread, because large documents take long.

    ``more_kinds`` of tools are accepted in addition to the built-in kinds; ``largest_module`` is
    the maximum size of a plug-in in bytes.

    Raises:
        InvalidDocument: the document is not YAML, lacks metadata or a path, names an unknown
            provider of secrets, or is an invalid subscription, schedule, trigger or plug-in.
    """
    try:
        root = compose(content)
        tree = to_json(root)
    except DecodeError as error:
        raise InvalidDocument(problem=f"Invalid YAML: {error}") from error
    if not isinstance(tree, Mapping) or "metadata" not in tree:
        raise InvalidDocument(problem="Missing 'metadata' section")
    metadata = tree["metadata"] if isinstance(tree["metadata"], Mapping) else {}
    path = _first_text(metadata.get("path"), metadata.get("name"))
    if path is None:
        raise InvalidDocument(problem="Missing 'path' or 'name' in metadata")
    if (mark := _control_character(path)) is not None:
        raise InvalidDocument(
            problem=f"The path {path[:_LONGEST_SHOWN]!a} has the control character {mark}"
        )
    kind = (_first_text(tree.get("kind")) or resource_type).lower()
    if kind == "subscription" and (problem := subscription_problem(tree)) is not None:
        raise InvalidDocument(problem=problem)
    is_playbook = language_of(kind, content) == "playbook"
    if is_playbook:
        _check_providers(tree.get("keychain"))
    schedule = _schedule(content) if kind == "schedule" else None
    trigger = _trigger(tree, path) if kind == "trigger" else None
    return Document(
        path=path,
        kind=kind,
        content=content,
        payload=_plugin(tree, largest_module) if kind == "plugin" else tree.get("workload"),
        layout=tree.get("workflow"),
        meta=metadata.get("labels"),
        metadata=dict(metadata),
        problems=_playbook_problems(content, more_kinds) if is_playbook else (),
        subscription=read_subscription(tree) if kind == "subscription" else None,
        schedule=schedule,
        trigger=trigger,
        libraries=tuple(libraries_of(root)) if kind == "playbook" else (),
        plugins=tuple(plugins_of(root)) if is_playbook else (),
        starts=started_by(root, kind),
    )


def document_findings(
    content: str, *, resource_type: str, more_kinds: Collection[str] = ()
) -> list[Finding]:
    """Return all findings of a document: reasons for a refusal, errors of playbooks, warnings."""
    try:
        document = read_document(content, resource_type=resource_type, more_kinds=more_kinds)
    except InvalidDocument as error:
        kind = kind_of(content) or resource_type.lower()
        findings = lint_document(content, kind=kind)
        if kind == "playbook":
            # Findings about executions don't explain why the registration is refused.
            findings = [finding for finding in findings if finding.rule == "yaml"]
        whole = Finding(
            severity=Severity.ERROR, rule="document", message=error.message, line=1, column=1
        )
        return findings if any(one.severity is Severity.ERROR for one in findings) else [whole]
    return lint_document(content, kind=document.kind, more_kinds=more_kinds)


def kind_word(resource_type: str) -> str:
    """Return the stored kind for a client's word, which is case-insensitive."""
    word = resource_type.strip().lower()
    return _KIND_ALIASES.get(word, word)


def _playbook_problems(content: str, more_kinds: Collection[str]) -> tuple[Problem, ...]:
    try:
        parse_playbook(content, more_kinds=more_kinds)
    except PlaybookError as error:
        return error.problems[:_MOST_PROBLEMS]
    return ()


def _check_providers(keychain: Json) -> None:
    """Check that the providers of a keychain's entries are installed and accept their entries.

    Raises:
        InvalidDocument: a provider isn't installed or rejects an entry; the message names the entry
            and the problem.
    """
    for entry in keychain if isinstance(keychain, list) else ():
        if not isinstance(entry, dict):
            continue
        provider = entry.get("provider") or (OAUTH2 if token_endpoint(entry) else "")
        if not isinstance(provider, str) or not provider:
            continue
        try:
            problem = check_provider(provider).entry_problem(entry)
        except UnknownProvider as error:
            problem = error.message
        if problem is not None:
            name = str(entry.get("name"))[:_LONGEST_SHOWN]
            raise InvalidDocument(problem=f"keychain entry '{name}': {problem}")


def _trigger(tree: Mapping[str, Json], path: str) -> EndedTrigger:
    """Return the trigger of a document.

    Raises:
        InvalidDocument: the trigger is not valid.
    """
    try:
        return read_trigger(tree, path)
    except InvalidTrigger as error:
        raise InvalidDocument(problem=f"Invalid trigger: {error}") from error


def _schedule(content: str) -> Schedule:
    """Return the schedule of a document.

    Raises:
        InvalidDocument: the schedule is not valid; the message is the first error with its place.
    """
    schedule, findings = read_schedule(content)
    if schedule is None:
        first = next(one for one in findings if one.severity is Severity.ERROR)
        place = f" at line {first.line} column {first.column}"
        hint = f" ({first.hint})" if first.hint else ""
        raise InvalidDocument(problem=f"Invalid schedule: {first.message}{hint}{place}")
    return schedule


def _plugin(tree: Mapping[str, Json], largest: int) -> Json:
    """Return the metadata of a plug-in document: all fields but path, version and module.

    Raises:
        InvalidDocument: the plug-in is not valid.
    """
    try:
        return read_plugin(tree, most=largest).model_dump(
            exclude={"path", "version", "module"}, exclude_none=True
        )
    except BadPlugin as error:
        raise InvalidDocument(problem=f"Invalid plug-in: {error}") from error


def _control_character(path: str) -> str | None:
    """Return the first control character, which could forge lines in logs and lists, or None."""
    found = (one for one in path if unicodedata.category(one) in _CONTROL)
    return next((f"U+{ord(one):04X}" for one in found), None)


def _first_text(*values: Json) -> str | None:
    return next((value for value in values if isinstance(value, str)), None)
