"""Bodies decoded by the models of the contract, and refusals in the contract's words.

Pydantic says where a body is wrong (`loc`), how (`type`) and what was sent (`input`); the texts
of the contract are spelt from these. The tables below hold the exceptions.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Raw
from msgspec.json import Decoder
from noetl_contract.json import Json, JsonObject
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from noetl_api_gateway.http.bodies import AnyRequest, decode, read_json, read_json_bytes
from noetl_api_gateway.http.refusals import Refusal, bad_shape

_STRUCTS = {
    "BatchEvent": "BatchEventItem",
    "BatchItem": "RegisterRequest",
    "CallbackRequest": "ContainerCallback",
    "CatalogListRequest": "ListRequest",
    "ClaimBody": "ClaimRequest",
    "ClaimRowsRequest": "ClaimRequest",
    "CredentialCreate": "CreateCredentialRequest",
    "CrossRegionRequest": "CrossRegionResolveRequest",
    "DedupWindow": "DedupSpec",
    "KeychainPutBody": "SetKeychainRequest",
    "NewVar": "VarItem",
    "ProjectedEvent": "Envelope",
    "RotateKeysRequest": "RotateRequest",
    "RuntimeNameRequest": "HeartbeatRequest",
    "RuntimeRegisterRequest": "RegisterRequest",
    "SqlRequest": "ExecuteRequest",
    "VarsRequest": "SetVarsRequest",
}
"""Names of models in texts, where the contract has another one."""

_ONE_OF: dict[str, tuple[tuple[str, str], ...]] = {
    "CredentialCreate": (("type", "credential_type"),),
    "KeychainPutBody": (("data", "token_data"), ("expires_in", "ttl_seconds")),
    "RuntimeNameRequest": (("kind", "component_type"),),
    "RuntimeRegisterRequest": (("kind", "component_type"),),
    "SqlRequest": (("schema", "db_schema"),),
}
"""Two names of one field, of which a body may have one."""

_RULES: dict[tuple[str, str, str], tuple[int, str]] = {
    ("AdvanceRequest", "execution_ids", "too_long"): (
        422,
        "execution_ids names {actual_length} executions, {max_length} at most",
    ),
    ("ExecuteBatchRequest", "executions", "too_short"): (
        422,
        "execute batch requires a non-empty 'executions' array",
    ),
    ("ExecuteBatchRequest", "executions", "too_long"): (
        422,
        "execute batch size {actual_length} exceeds the {max_length} cap",
    ),
    ("FinalizeRequest", "status", "literal_error"): (422, "Invalid finalization status: {input}"),
    ("MarkFailedRequest", "error", "string_too_short"): (400, "error must not be empty"),
    ("MarkPublishedRequest", "outbox_ids", "too_short"): (400, "outbox_ids must not be empty"),
    ("ProjectRequest", "events", "too_short"): (400, "events must not be empty"),
}
"""Refusals of well-formed but invalid values, by model, field and error: status and whole text."""

_EXPECTED = {
    "bool_type": "a boolean",
    "dict_type": "a map",
    "enum": "a string",
    "list_type": "a sequence",
    "literal_error": "a string",
    "string_type": "a string",
    "tuple_type": "a sequence",
}
_NUMBER_NAMES = {bool: "boolean", int: "integer", float: "floating point"}
_LONGEST_SHOWN = 100
_MASK = '"[REDACTED]"'


async def read_body[Model: BaseModel](
    request: AnyRequest, model: type[Model], *, unique_keys: bool = True
) -> Model:
    """Return the decoded body.

    Args:
        request: its content type must be JSON.
        model: the shape of the body.
        unique_keys: refuse an object at the root that has a key twice; costs a second parse.

    Raises:
        Refusal: 415, 413, 400 or 422 with the contract's text.
    """
    return validated(model, await read_json(request, unique_keys=unique_keys))


async def read_body_around[Model: BaseModel](
    request: AnyRequest, model: type[Model], field: str
) -> Model:
    """Return the decoded body, but for one field of it, which may be large: that is JSON still.

    Args:
        request: its content type must be JSON.
        model: the shape of the body.
        field: name of a field of any type, which is a ``msgspec.Raw`` in what is returned.

    Raises:
        Refusal: as `read_body`.
    """
    body = await read_json_bytes(request)
    try:
        entries = _ENTRIES.decode(body)
    except (ValueError, RecursionError):
        return validated(model, decode(body))
    left = {name: decode(bytes(raw)) for name, raw in entries.items() if name != field}
    return validated(model, left | {name: raw for name, raw in entries.items() if name == field})


_ENTRIES: Final[Decoder[dict[str, Raw]]] = Decoder(dict[str, Raw])


def validated[Model: BaseModel](model: type[Model], value: Json) -> Model:
    """Build a model from decoded JSON.

    Raises:
        Refusal: 422, or the status of a rule, with the contract's text.
    """
    if model.__name__ in _ONE_OF and isinstance(value, dict):
        _refuse_both_names(model.__name__, value)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        is_secret = model.model_config.get("hide_input_in_errors", False)
        raise _refusal(error, is_secret=is_secret) from None


def present(model: BaseModel) -> JsonObject:
    """Return the fields of a model that are not null, and those that a body must have."""
    fields = type(model).model_fields
    return {name: value for name, value in model if value is not None or fields[name].is_required()}


def _refuse_both_names(model: str, value: Mapping[str, Json]) -> None:
    for name, other in _ONE_OF[model]:
        if name in value and other in value:
            raise bad_shape(f"duplicate field `{name}`")


def _refusal(error: ValidationError, *, is_secret: bool) -> Refusal:
    """Return the refusal for the first wrong shape, or for the first rule that is broken."""
    rule: Refusal | None = None
    for found in error.errors(include_url=False):
        broken = _broken_rule(error.title, found)
        if broken is None:
            return bad_shape(_text(found, is_secret=is_secret))
        rule = rule or broken
    return rule or bad_shape(str(error.title))


def _broken_rule(model: str, found: ErrorDetails) -> Refusal | None:
    location, kind, value = found["loc"], found["type"], found["input"]
    context = found.get("ctx", {})
    if kind == "string_too_long":
        inner = location[_after_last_index(location) :]
        return Refusal(422, f"{_path(inner)} is longer than {context['max_length']} characters")
    if kind == "literal_error" and not isinstance(value, str):
        return None
    rule = _RULES.get((model, str(location[0]) if location else "", kind))
    if rule is None:
        return None
    shown = value[:_LONGEST_SHOWN] if isinstance(value, str) else value
    return Refusal(rule[0], rule[1].format(input=shown, **context))


def _text(found: ErrorDetails, *, is_secret: bool) -> str:
    location, kind, value = found["loc"], found["type"], found["input"]
    context = found.get("ctx", {})
    if kind == "missing":
        return f"{_prefix(location[:-1])}missing field `{location[-1]}`"
    if kind in {"literal_error", "enum"} and isinstance(value, str):
        names = ", ".join(f"`{name}`" for name in re.findall(r"'([^']*)'", context["expected"]))
        shown = value[:_LONGEST_SHOWN]
        return f"{_prefix(location)}unknown variant `{shown}`, expected one of {names}"
    if kind == "wrong_time":
        shown = _quoted(value, is_secret=is_secret)
        return f"{_prefix(location)}input contains invalid characters: {shown}"
    if kind == "model_type":
        name = context["class_name"]
        expected = f"struct {_STRUCTS.get(name, name)}"
    elif kind.startswith("wrong_"):
        expected = context["expected"]
    elif kind in _EXPECTED:
        expected = _EXPECTED[kind]
    else:
        return f"{_prefix(location)}{found['msg']}"
    fault = "value" if kind == "wrong_value" else "type"
    described = _described(value, is_secret=is_secret)
    return f"{_prefix(location)}invalid {fault}: {described}, expected {expected}"


def _described(value: Json, *, is_secret: bool) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return f"string {_quoted(value, is_secret=is_secret)}"
    if isinstance(value, list | dict):
        return "sequence" if isinstance(value, list) else "map"
    return f"{_NUMBER_NAMES[type(value)]} `{str(value).lower()}`"


def _quoted(value: str, *, is_secret: bool) -> str:
    if is_secret:
        return _MASK
    cut = value if len(value) <= _LONGEST_SHOWN else f"{value[:_LONGEST_SHOWN]}…"
    escaped = cut.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _prefix(location: Sequence[int | str]) -> str:
    return f"{_path(location)}: " if location else ""


def _after_last_index(location: Sequence[int | str]) -> int:
    return max((n + 1 for n, step in enumerate(location) if isinstance(step, int)), default=0)


def _path(location: Sequence[int | str]) -> str:
    """Format a location as `events[0].step`."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return "".join(steps).removeprefix(".")
