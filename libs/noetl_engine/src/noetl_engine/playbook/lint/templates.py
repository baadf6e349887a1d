"""Mistakes inside templates: syntax, names without a value, misleading texts."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from noetl_contract.failures.ended import PAYLOAD_NAMES
from noetl_contract.tools import WITHOUT_KEYCHAIN
from noetl_template import (
    KEYCHAIN,
    Reference,
    TemplateError,
    has_server_syntax,
    has_worker_syntax,
    references,
)

from noetl_engine.playbook.lint.finding import Finding, Severity, finding_at
from noetl_engine.playbook.lint.guess import Guesser
from noetl_engine.playbook.lint.names import ALWAYS, Names
from noetl_engine.playbook.lint.parts import scalars_of
from noetl_engine.playbook.lint.source import Source
from noetl_engine.playbook.lint.texts import Text
from noetl_engine.playbook.parse.rules import is_expression
from noetl_engine.playbook.yaml import Node

_ALIASES: Final = frozenset({"ctx", "workload"})
_F_STRING: Final = re.compile(r"""\b[rR]?[fF][rR]?(?:"|')[^"'\n]*\{\{""")
# Quoted words that are read as values all the same.
_VALUES: Final = {"true": "true", "false": "false", "null": "null", "None": "null"}
# A dotted path, and the names that such a path may begin with besides those of values.
_PATH: Final = re.compile(r"(\w+)(?:\.\w+)+")
_ROOTS: Final = frozenset({"workload", "ctx", "steps"})
_OPERATOR: Final = re.compile(r"[=!<>]=|[<>]| (?:and|or|in|not|is) ")
_MAX_VOCABULARY: Final = 300
_UNLESS: Final = ": it is undefined unless the caller's payload has it"
_BRACES: Final = (
    "the code is a template before it is Python: keep '{{' and '{%' out of it, "
    "pass values with 'input'"
)


def template_findings(
    text: Text, names: Names, source: Source, guess: Guesser
) -> Iterator[Finding]:
    """Check one text."""
    template, by_worker = _as_rendered(text)
    if template is None:
        yield from _plain_text(text, names)
        return
    try:
        found = references(template, by_worker=by_worker)
    except TemplateError as error:
        yield _syntax_error(text, error, source)
        return
    if text.view.use.is_code and _F_STRING.search(text.node.text):
        yield _braces(text, source, "an f-string's '{{' is rendered before Python sees it")
        return
    if not text.view.use.is_answer:
        yield from _undefined(text, found, names, source, guess)


def end_payload_findings(node: Node | None, path: str, source: Source) -> Iterator[Finding]:
    """Check the payload of starts at the end of an execution."""
    for where, scalar in scalars_of(node, path):
        if not has_server_syntax(scalar.text):
            continue
        try:
            found = references(scalar.text)
        except TemplateError as error:
            place = source.inside(scalar, error.line or 1)
            hint = "it is sent as it is written"
            yield finding_at(place, where, "template", error.problem, hint=hint)
            continue
        wrong = {one.path[0]: one for one in found if not one.is_guarded}
        for name in wrong.keys() - set(PAYLOAD_NAMES):
            message = f"'{name}' is none of {', '.join(PAYLOAD_NAMES)}"
            place = source.inside(scalar, wrong[name].line)
            yield finding_at(place, where, "undefined-name", message)


def _as_rendered(text: Text) -> tuple[str | None, bool]:
    """Return the template that is rendered, and whether by the worker; nothing for mere data."""
    content = text.node.text
    if text.view.by_worker:
        return (content if has_worker_syntax(content) else None), True
    if has_server_syntax(content):
        return content, False
    if text.view.use.is_guard:
        return ("{{ " + content + " }}" if is_expression(content) else None), False
    # The worker renders every configuration once more, by a looser rule.
    return (content if has_worker_syntax(content) else None), True


def _syntax_error(text: Text, error: TemplateError, source: Source) -> Finding:
    place = source.inside(text.node, error.line or 1)
    message = f"Step '{text.step}': {error.problem}"
    hint = _BRACES if text.view.use.is_code else None
    return finding_at(place, text.path, "template", message, severity=Severity.ERROR, hint=hint)


def _braces(text: Text, source: Source, what: str) -> Finding:
    lines = text.node.text.splitlines()
    number = next((n for n, line in enumerate(lines, start=1) if _F_STRING.search(line)), 1)
    place = source.inside(text.node, number)
    return finding_at(place, text.path, "braces-in-code", what, hint=_BRACES)


def _undefined(
    text: Text,
    found: tuple[Reference, ...],
    names: Names,
    source: Source,
    guess: Guesser,
) -> Iterator[Finding]:
    seen: set[tuple[str, ...]] = set()
    for reference in found:
        if reference.is_guarded or reference.path[:2] in seen:
            continue
        seen.add(reference.path[:2])
        message = _what_is_missing(text, reference.path, names, guess)
        if message is None:
            continue
        place = source.inside(text.node, reference.line)
        rule, hint = (
            ("braces-in-code", _BRACES) if text.view.use.is_code else ("undefined-name", None)
        )
        yield finding_at(place, text.path, rule, message, hint=hint)


def _what_is_missing(text: Text, path: tuple[str, ...], names: Names, guess: Guesser) -> str | None:
    root, below = path[0], path[1] if len(path) > 1 else None
    is_known = root in names.flat or root in text.names
    if below is not None and root not in names.flat and root in {"steps", *_ALIASES}:
        return _missing_below(root, below, text, names, guess)
    if is_known or root in ALWAYS:
        return None
    if root == KEYCHAIN and names.keychain is not None:
        return _keychain_problem(below, names.keychain, text.view.given_to, guess)
    if root in {"output", "event"}:
        return f"'{root}' has no value here, only in a step's 'set' and in the 'when' of its arcs"
    if not names.is_certain:
        return None
    advice = guess(root, _vocabulary(text, names)) or _UNLESS
    return f"'{root}' is no step, workload key or variable{advice}"


def _keychain_problem(
    entry: str | None, entries: Mapping[str, bool], given_to: str, guess: Guesser
) -> str | None:
    if not given_to:
        return "'keychain' fails here: it has values only in what a tool is given"
    if given_to in WITHOUT_KEYCHAIN:
        return f"'keychain' has no values for '{given_to}', which would keep them readable"
    if entry is None:
        return None
    if entry not in entries:
        return f"the keychain has no entry '{entry}'{guess(entry, entries)}"
    if entries[entry]:
        return None
    return (
        f"the entry '{entry}' of the keychain has neither 'provider' nor 'credential': "
        "it has no value unless one is stored for this playbook"
    )


def _vocabulary(text: Text, names: Names) -> frozenset[str]:
    """Return the known names; large sets are not joined, which would take long."""
    return names.flat if len(names.flat) > _MAX_VOCABULARY else names.flat | text.names


def _missing_below(root: str, name: str, text: Text, names: Names, guess: Guesser) -> str | None:
    if root == "steps":
        is_known = name in names.steps
        return None if is_known else f"no step is named '{name}'{guess(name, names.steps)}"
    if names.workload is None or not names.is_certain:
        return None  # the payload may bring anything
    if name in names.flat or name in text.names or name in ALWAYS:
        return None
    advice = guess(name, _vocabulary(text, names)) or _UNLESS
    what = "a workload key" if root == "workload" else "a workload key, step or variable"
    return f"'{root}.{name}' is not {what}{advice}"


def _plain_text(text: Text, names: Names) -> Iterator[Finding]:
    content, use = text.node.text.strip(), text.view.use
    hint = f'write "{{{{ {content} }}}}"'
    root = _PATH.fullmatch(content)
    if use.is_collection and (
        content in names.flat or (root is not None and root[1] in names.flat | _ROOTS)
    ):
        message = f"'{content}' is plain text here: a list with one word"
        yield finding_at(text.node, text.path, "plain-text", message, hint=hint)
    if use.is_rule and _OPERATOR.search(content):
        message = "a rule without '{{ }}' is plain text and therefore always true"
        yield finding_at(text.node, text.path, "plain-text", message, hint=hint)
    if use.is_value and not text.view.by_worker and text.node.style in {"'", '"'}:
        yield from _retyped(text, content)


def _retyped(text: Text, content: str) -> Iterator[Finding]:
    value = _VALUES.get(content)
    if value is not None:
        message = f"the text '{content}' becomes the value {value}"
        hint = "quotes don't keep it a text: add a letter, or build it in the tool"
        yield finding_at(
            text.node, text.path, "retyped", message, severity=Severity.INFO, hint=hint
        )
