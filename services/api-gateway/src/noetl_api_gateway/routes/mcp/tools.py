"""The offered tools: playbooks whose metadata says so, with their forms as schemas."""

import asyncio
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from noetl_console.api import Api, Refused, path_segments
from noetl_contract.http.catalog.entries import CatalogEntry, CatalogListAnswer, UiField, UiSchema
from noetl_contract.json import Json, JsonObject

from noetl_api_gateway.access.memory import Memory

CAPABILITY: Final = "mcp"
"""The capability in an agent's `metadata.capabilities` that makes it a tool."""
POLL_TOOL: Final = "noetl_execution"
_PAGE_SIZE = 50
_AT_ONCE = 8
_FORM_SECONDS = 3600.0
_LONGEST_NAME = 64
_HASH_LENGTH = 8
_TYPES = {"string", "integer", "number", "boolean", "object", "array"}
_POLL: JsonObject = {
    "name": POLL_TOOL,
    "title": "Result of an execution",
    "description": "Wait a while for an execution that a tool has started, and return its result,"
    " or its status while it runs.",
    "inputSchema": {
        "type": "object",
        "properties": {
            "execution_id": {"type": "string", "description": "as the tool has told it"}
        },
        "required": ["execution_id"],
        "additionalProperties": False,
    },
    "annotations": {"readOnlyHint": True},
}


@dataclass(frozen=True, slots=True)
class Offered:
    """A playbook that is offered as a tool, at its newest version."""

    name: str
    path: str
    version: int
    catalog_id: str


type Forms = Memory[str, UiSchema]
"""Forms of versions by their catalog ids; the form of a version never changes."""


async def offered(api: Api) -> list[Offered]:
    """Return the playbooks in the caller's reach that are offered as tools, by name.

    Raises:
        Refused: the caller may not read the catalog.
    """
    wanted = {"capability": CAPABILITY, "brief": True}
    answer = await api.send(CatalogListAnswer, "catalog/agents/list", wanted)
    newest: dict[str, CatalogEntry] = {}
    for entry in answer.entries:
        known = newest.get(entry.path)
        if entry.kind.lower() == "playbook" and (known is None or entry.version > known.version):
            newest[entry.path] = entry
    names = names_of(newest)
    found = [
        Offered(names[path], path, entry.version, str(entry.catalog_id))
        for path, entry in newest.items()
    ]
    return sorted(found, key=lambda one: one.name)


def names_of(paths: Iterable[str]) -> dict[str, str]:
    """Return a unique name for each path, in the characters that clients accept."""
    plain = {path: re.sub(r"[^A-Za-z0-9_-]", "_", path) for path in paths}
    taken = list(plain.values())
    return {
        path: name
        if taken.count(name) == 1 and len(name) <= _LONGEST_NAME and name != POLL_TOOL
        else _distinct(path, name)
        for path, name in plain.items()
    }


def _distinct(path: str, name: str) -> str:
    digest = hashlib.sha256(path.encode()).hexdigest()[:_HASH_LENGTH]
    return f"{name[: _LONGEST_NAME - _HASH_LENGTH - 1]}_{digest}"


async def page_of_tools(api: Api, forms: Forms, begin: int) -> tuple[list[JsonObject], int | None]:
    """Return a page of the tools, and the begin of the next page.

    Raises:
        Refused: the caller may not read the catalog.
    """
    found = await offered(api)
    permits = asyncio.Semaphore(_AT_ONCE)

    async def read(one: Offered) -> JsonObject | None:
        async with permits:
            form = await form_of(api, forms, one)
        return None if form is None else tool_of(one, form)

    page = found[begin : begin + _PAGE_SIZE]
    tools = [one for one in await asyncio.gather(*map(read, page)) if one is not None]
    end = begin + _PAGE_SIZE
    return [*([_POLL] if begin == 0 else []), *tools], end if end < len(found) else None


async def form_of(api: Api, forms: Forms, one: Offered) -> UiSchema | None:
    """Return the form of a playbook; None when its newest version is not offered any more.

    It is asked for once: the list of the caller's tools shows that it may read the playbook.

    Raises:
        Refused: it can't be read.
    """
    known = forms.get(one.catalog_id)
    if known is not None:
        return known
    try:
        form = await api.read(UiSchema, f"catalog/{path_segments(one.path)}/ui_schema")
    except Refused as refused:
        if refused.status == 404:
            return None
        raise
    if form.version != one.version:
        return None
    forms.put(one.catalog_id, form, seconds=_FORM_SECONDS)
    return form


def tool_of(one: Offered, form: UiSchema) -> JsonObject:
    """Return a playbook as the protocol describes tools."""
    text = form.description_markdown or form.title or one.path
    return {
        "name": one.name,
        "title": form.title or one.path,
        "description": f"{text.strip()}\n\nPlaybook {one.path}, version {one.version}.",
        "inputSchema": {
            "type": "object",
            "properties": {field.name: schema_of(field) for field in form.fields},
            "additionalProperties": False,
        },
    }


def schema_of(field: UiField) -> JsonObject:
    """Return the JSON Schema of a value, without the default of a secret."""
    schema: JsonObject = {"type": field.kind} if field.kind in _TYPES else {}
    if field.options is not None:
        schema["enum"] = [*field.options]
    if field.children:
        children = [UiField.model_validate(one) for one in field.children]
        schema["properties"] = {one.name: schema_of(one) for one in children}
    texts = [field.description] if field.description else []
    if field.credential_glob:
        texts.append(f"name of a credential, like {field.credential_glob}")
    if texts:
        schema["description"] = "; ".join(texts)
    if field.secret:
        schema["writeOnly"] = True
    elif field.default is not None and not field.children:
        schema["default"] = field.default
    return schema


def unknown_arguments(form: UiSchema, arguments: Mapping[str, Json]) -> Sequence[str]:
    """Return names of arguments that the playbook's workload doesn't have."""
    known = {field.name for field in form.fields}
    return sorted(arguments.keys() - known)
