"""The notification of a command on ``noetl.commands.<pool>.<execution_id>``.

Readers take the models, which forgive; the sender, who builds one for every command, takes the
typed dictionaries of the same keys.
"""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from pydantic import (
    BeforeValidator,
    StrictInt,
    StrictStr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from noetl_contract.json import Json, JsonObject
from noetl_contract.model import Model


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

    ``command`` and ``until`` (RFC 3339) are there only in the first publication, the one
    made from the hint.
    """

    v: Literal[1] = 1
    shard: StrictInt
    attempts: StrictInt
    until: Annotated[StrictStr | None, _UnreadableIsNone] = None
    command: Annotated[FastCommand | None, _UnreadableIsNone] = None


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


class CommandMessage(TypedDict):
    """`CommandNotification` as it is sent; JSON columns may be encoded already."""

    execution_id: int
    event_id: int
    command_id: str
    step: str
    server_url: str
    trace: NotRequired[Json]
    fast: FastPathBody
