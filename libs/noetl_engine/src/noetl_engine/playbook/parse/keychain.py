"""Find the texts of a step that name the playbook's keychain, and leave those to the worker.

A secret must never enter the log, and what the server renders does. So a text of a tool's
configuration or arguments that names an entry travels as written; the worker asks for the entry
when the tool runs, and gives it to nothing but that rendering.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Final

from noetl_contract.json import texts_in
from noetl_template import KEYCHAIN, TemplateError, has_worker_syntax, lookups

from noetl_engine.playbook.model import KeychainEntry, Pipeline, Playbook, Step, Task, Value

# In an entry of another kind `credential` is what its value is made with, as an identity token.
_NAMING_KINDS: Final = frozenset(
    {
        "", "credential", "credential_ref", "postgres", "snowflake", "basic", "api_key", "nats",
        "kafka", "pubsub", "rabbitmq", "redis",
    }
)  # fmt: skip


def credential_named(entry: Mapping[str, Value]) -> str:
    """Return the stored credential that an entry stands for; empty when it is none."""
    credential, kind = entry.get("credential"), entry.get("kind") or ""
    if entry.get("provider") or not isinstance(kind, str) or kind not in _NAMING_KINDS:
        return ""
    return credential if isinstance(credential, str) else ""


def token_endpoint(entry: Mapping[str, Value]) -> str:
    """Return the address where the server fetches an entry's token itself; empty for others."""
    endpoint = entry.get("endpoint")
    is_ours = entry.get("kind") == "oauth2" and not entry.get("provider")
    return endpoint if is_ours and isinstance(endpoint, str) else ""


def is_made_outside(entry: Mapping[str, Value]) -> bool:
    """Return whether only a program outside can give an entry its value, as for id tokens.

    Until it has, the entry is there and empty, as original servers have it.
    """
    has_source = entry.get("provider") or credential_named(entry) or token_endpoint(entry)
    return not has_source and bool(entry.get("kind"))


def leave_keychain(playbook: Playbook) -> Playbook:
    """Return the playbook with its look-ups of the keychain left to the worker.

    Where the workload, a step or a variable has that name, it means them, as ever.
    """
    entries = _names(playbook.keychain)
    if not entries or _is_taken(playbook):
        return playbook
    outside = _names(entry for entry in playbook.keychain if is_made_outside(entry.raw))
    steps = {
        name: _with_needed(_with_keychain(step, entries), entries - outside)
        for name, step in playbook.steps.items()
    }
    return replace(playbook, steps=steps)


def entries_named(text: str, entries: Collection[str]) -> frozenset[str]:
    """Return the entries of a keychain that a template looks up; all for the keychain as a whole.

    A wrong template names nothing: who renders it says so.
    """
    if KEYCHAIN not in text or not has_worker_syntax(text):
        return frozenset()
    try:
        paths = [path for path in lookups(text) if path[0] == KEYCHAIN]
    except TemplateError:
        return frozenset()
    if any(len(path) == 1 for path in paths):
        return frozenset(entries)
    return frozenset(path[1] for path in paths) & frozenset(entries)


def _names(keychain: Iterable[KeychainEntry]) -> frozenset[str]:
    return frozenset(entry.name for entry in keychain)


def _is_taken(playbook: Playbook) -> bool:
    if KEYCHAIN in playbook.workload or KEYCHAIN in playbook.steps:
        return True
    return any(
        key == KEYCHAIN or key.endswith(f".{KEYCHAIN}")
        for step in playbook.steps.values()
        for block in (step.set, *(arc.set for arc in step.arcs))
        for key in block
    )


def _with_needed(step: Step, needed: frozenset[str]) -> Step:
    found = tuple(name for name in step.keychain if name in needed)
    return replace(step, keychain_needed=found) if found else step


def _with_keychain(step: Step, entries: frozenset[str]) -> Step:
    kept: set[str] = set()
    for text in step.own_templates:
        kept |= entries_named(text, entries)
    tool = step.tool
    if isinstance(tool, Pipeline):
        tasks = tuple(_task(task, entries, kept) for task in tool.tasks)
        if not kept:
            return step
        return replace(step, tool=Pipeline(tasks=tasks), keychain=tuple(sorted(kept)))
    left: set[str] = set()
    for text in texts_in([*tool.config.values(), tool.args, *step.input.values()]):
        named = entries_named(text, entries)
        if named:
            left.add(text)
            kept |= named
    for text in texts_in(step.args.values()):
        kept |= entries_named(text, entries)
    if not kept:
        return step
    return replace(step, left=frozenset(left), keychain=tuple(sorted(kept)))


def _task(task: Task, entries: frozenset[str], kept: set[str]) -> Task:
    """Return a task that leaves its texts of the keychain to the worker, and add their entries."""
    left: set[str] = set()
    for text in texts_in(task.rendered.values()):
        named = entries_named(text, entries)
        if named:
            left.add(text)
            kept |= named
    for text in texts_in([task.verbatim.get(key) for key in ("input", "command")]):
        kept |= entries_named(text, entries)
    return replace(task, left=task.left | left) if left else task
