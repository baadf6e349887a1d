"""Commands on their way: their notification, and contexts that name a large workload.

Readers of ``noetl.commands.<pool>.<execution_id>`` forgive: an optional part of another version or
shape is as good as absent, because the command can be claimed all the same.

The variables of a command have the workload of its execution up to four times: each of its keys,
all of it as ``workload``, and both again in ``ctx``. Where it is large the log has a short form,
from which whoever knows the workload makes the whole context again.
"""

from typing import Final, Literal

from msgspec import UNSET, Raw, UnsetType, ValidationError
from msgspec.json import Decoder, Encoder

from noetl_contract.json import Json, JsonObject
from noetl_contract.model import Struct, decode


class FastCommand(Struct):
    """The answer to a claim, carried inside the notification."""

    action: str
    context: Json
    meta: Json


class FastPath(Struct):
    """The extra key that only our worker reads.

    ``command`` or ``named``, and ``until`` (RFC 3339) are there only in the first publication. The
    context of ``named`` is short and names its workload: a worker that doesn't know that one claims
    the command.
    """

    v: Literal[1]
    shard: int
    attempts: int
    until: str | None = None
    command: FastCommand | None = None
    named: FastCommand | None = None


class CommandNotification(Struct):
    """One command to fetch. Ids are integers: a string ends the real worker's process."""

    execution_id: int
    event_id: int
    command_id: str
    step: str
    server_url: str
    trace: JsonObject | None = None
    fast: FastPath | None = None
    """None also for an unknown version; such a command is claimed over HTTP."""


class _Parts(Struct):
    """A notification whose optional parts are not read yet."""

    execution_id: int
    event_id: int
    command_id: str | int
    step: str
    server_url: str
    trace: Raw | UnsetType = UNSET
    fast: Raw | UnsetType = UNSET


class _FastParts(Struct):
    v: Literal[1]
    shard: int
    attempts: int
    until: Raw | UnsetType = UNSET
    command: Raw | UnsetType = UNSET
    named: Raw | UnsetType = UNSET


_NOTIFICATION = Decoder(CommandNotification)
_PARTS, _FAST_PARTS = Decoder(_Parts), Decoder(_FastParts)
_ENCODER = Encoder()
_TEXT, _OBJECT, _COMMAND = Decoder(str), Decoder(JsonObject), Decoder(FastCommand)


def decode_notification(data: bytes) -> CommandNotification:
    """Decode a notification; what is optional and unreadable counts as absent.

    Raises:
        ValueError: it is none; the text names the place and no value of it.
    """
    try:
        return decode(_NOTIFICATION, data)
    except ValidationError:
        parts = decode(_PARTS, data)
    return CommandNotification(
        execution_id=parts.execution_id,
        event_id=parts.event_id,
        command_id=str(parts.command_id),
        step=parts.step,
        server_url=parts.server_url,
        trace=_readable(parts.trace, _OBJECT),
        fast=_fast_of(parts.fast),
    )


def encode_notification(note: CommandNotification) -> bytes:
    """Encode a notification; the JSON inside of it may be encoded already, as ``msgspec.Raw``."""
    return _ENCODER.encode(note)


def _fast_of(found: Raw | UnsetType) -> FastPath | None:
    parts = _readable(found, _FAST_PARTS)
    if parts is None:
        return None
    return FastPath(
        v=parts.v,
        shard=parts.shard,
        attempts=parts.attempts,
        until=_readable(parts.until, _TEXT),
        command=_readable(parts.command, _COMMAND),
        named=_readable(parts.named, _COMMAND),
    )


def _readable[Part](found: Raw | UnsetType, decoder: Decoder[Part]) -> Part | None:
    try:
        return None if found is UNSET else decoder.decode(found)
    except ValidationError:
        return None


NAMED: Final = "named_workload"
"""Key of a short context: which workload, and what is to be made of it."""


def named_position(context: Json) -> int | None:
    """Return the log position of the row with the workload that a context names, if it does."""
    told = context.get(NAMED) if isinstance(context, dict) else None
    position = told.get("position") if isinstance(told, dict) else None
    return position if isinstance(position, int) else None


def short_context(context: JsonObject, workload: JsonObject, *, position: int) -> JsonObject | None:
    """Return a context that names the workload; None for one whose ``workload`` is something else.

    Args:
        context: Of a command, with its variables under ``render_context``. What of them is the
            very same object as in the workload is left out.
        workload: The workload.
        position: Log position of the row that holds it.
    """
    scope = context.get("render_context")
    if not isinstance(scope, dict) or scope.get("workload") is not workload:
        return None
    told: JsonObject = {"position": position}
    rest = {name: value for name, value in scope.items() if name != "ctx"}
    if "ctx" in scope:
        if _is_same(scope["ctx"], rest):
            told["ctx"] = True
        else:
            rest["ctx"] = scope["ctx"]
    hidden = [name for name in workload if name not in rest]
    if hidden:
        told["hidden"] = hidden
    own = {
        name: value
        for name, value in rest.items()
        if name != "workload" and not (name in workload and workload[name] is value)
    }
    return {**context, "render_context": own, NAMED: told}


def _is_same(alias: Json, variables: JsonObject) -> bool:
    if not isinstance(alias, dict) or alias.keys() != variables.keys():
        return False
    return all(alias[name] is value for name, value in variables.items())


def whole_context(context: Json, workload: JsonObject) -> JsonObject:
    """Return the whole context that a short one stands for; its workload is shared, not copied."""
    told = context[NAMED]
    hidden = told.get("hidden", ())
    variables = {name: value for name, value in workload.items() if name not in hidden}
    variables["workload"] = workload
    variables |= context["render_context"]
    if told.get("ctx"):
        variables["ctx"] = dict(variables)
    kept = {name: value for name, value in context.items() if name != NAMED}
    return {**kept, "render_context": variables}
