"""Commands on their way: their notification, and contexts that name a large workload.

Readers of ``noetl.commands.<pool>.<execution_id>`` take the models, which forgive; the sender, who
builds one for every command, takes the typed dictionaries of the same keys.

The variables of a command have the workload of its execution up to four times: each of its keys,
all of it as ``workload``, and both again in ``ctx``. Where it is large the log has a short form,
from which whoever knows the workload makes the whole context again.
"""

from typing import Annotated, Any, Final, Literal, NotRequired, TypedDict

from pydantic import (
    BeforeValidator,
    StrictInt,
    StrictStr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from noetl_contract.json import Json, JsonObject
from noetl_contract.model import Model, filled


def _or_none(value: Json, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(value)
    except ValidationError:
        return None


def _text_of_integer(value: Json) -> Json:
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_integer else value


_UnreadableIsNone = WrapValidator(_or_none)
"""An optional part of another version or shape is as good as absent."""


class FastCommand(Model):
    """The answer to a claim, carried inside the notification."""

    action: StrictStr
    context: Json = None
    meta: Json = None


class FastPath(Model):
    """The extra key that only our worker reads.

    ``command`` or ``named``, and ``until`` (RFC 3339) are there only in the first publication, the
    one made from the hint. The context of ``named`` is short and names its workload: a worker that
    doesn't know that one claims the command.
    """

    v: Literal[1] = 1
    shard: StrictInt
    attempts: StrictInt
    until: Annotated[StrictStr | None, _UnreadableIsNone] = None
    command: Annotated[FastCommand | None, _UnreadableIsNone] = None
    named: Annotated[FastCommand | None, _UnreadableIsNone] = None


class CommandNotification(Model):
    """One command to fetch. Ids are integers: a string ends the real worker's process."""

    execution_id: StrictInt
    event_id: StrictInt
    command_id: Annotated[StrictStr, BeforeValidator(_text_of_integer)]
    step: StrictStr
    server_url: StrictStr
    trace: Annotated[JsonObject | None, _UnreadableIsNone] = None
    fast: Annotated[FastPath | None, _UnreadableIsNone] = None
    """None also for an unknown version; such a command is claimed over HTTP."""


def plain_notification(body: Json) -> CommandNotification | None:
    """Return the notification in parsed JSON, if it is as we send it; None leaves it to the model.

    The same as by the model, at a fifth of its time.
    """
    if type(body) is not dict:
        return None
    get = body.get
    trace = get("trace")
    if (
        type(get("execution_id")) is not int
        or type(get("event_id")) is not int
        or type(get("command_id")) is not str
        or type(get("step")) is not str
        or type(get("server_url")) is not str
        or (trace is not None and type(trace) is not dict)
    ):
        return None
    fast = _plain_fast(get("fast"))
    if fast is None:
        return None
    values = {
        "execution_id": body["execution_id"],
        "event_id": body["event_id"],
        "command_id": body["command_id"],
        "step": body["step"],
        "server_url": body["server_url"],
        "trace": trace,
        "fast": fast,
    }
    return filled(CommandNotification, values, values.keys() & body.keys())


def _plain_fast(fast: Json) -> FastPath | None:
    if type(fast) is not dict:
        return None
    get = fast.get
    version, until = get("v"), get("until")
    key = "named" if "named" in fast else "command"
    command = get(key)
    if (
        type(version) is not int
        or version != 1
        or type(get("shard")) is not int
        or type(get("attempts")) is not int
        or type(until) is not str
        or type(command) is not dict
        or type(command.get("action")) is not str
        or (key == "named" and "command" in fast)
    ):
        return None
    values = {
        "action": command["action"],
        "context": command.get("context"),
        "meta": command.get("meta"),
    }
    carried = filled(FastCommand, values, values.keys() & command.keys())
    values = {
        "v": version,
        "shard": fast["shard"],
        "attempts": fast["attempts"],
        "until": until,
        "command": None,
        "named": None,
        key: carried,
    }
    return filled(FastPath, values, values.keys() & fast.keys())


class FastCommandBody(TypedDict):
    """`FastCommand` as it is sent."""

    action: str
    context: Json
    meta: Json


class FastPathBody(TypedDict):
    """`FastPath` as it is sent."""

    v: Literal[1]
    shard: int
    attempts: int
    until: NotRequired[str]
    command: NotRequired[FastCommandBody]
    named: NotRequired[FastCommandBody]


class CommandMessage(TypedDict):
    """`CommandNotification` as it is sent; JSON columns may be encoded already."""

    execution_id: int
    event_id: int
    command_id: str
    step: str
    server_url: str
    trace: NotRequired[Json]
    fast: FastPathBody


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
