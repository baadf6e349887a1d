"""`POST /api/execute`, `/api/execute/batch`, `…/rerun` and `…/restart`."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator

from noetl_contract.http.scalars import U64, Id, unread, wrong_type
from noetl_contract.json import Json
from noetl_contract.model import Model, example

LONGEST_KEY = 500
"""Most characters of a deduplication or idempotency key: a database index holds little more."""


def _version(value: Json) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise wrong_type("a version number")
    return value


Version = Annotated[int | str, PlainValidator(_version, json_schema_input_type=int | str)]
"""A number, its digits, or `latest`; other texts are refused after all shapes."""


LONGEST_SECONDS = 366 * 86_400
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(s|m|h)?", re.ASCII)
_UNIT_SECONDS = {None: 1, "s": 1, "m": 60, "h": 3600}


def _seconds(value: Json) -> float | None:
    if value is None:
        return None
    seconds = 0.0
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        seconds = float(match[1]) * _UNIT_SECONDS[match[2]]
    if not 0 < seconds <= LONGEST_SECONDS:
        raise wrong_type("a duration like 30, 30s, 5m or 1h, up to a year")
    return seconds


class DedupWindow(Model):
    """Starts with the same key within the window are one start.

    Keys count among the starts of one parent, or, with a scope, below that path: a subscription
    that is registered anew has another id, and the same path.
    """

    key: str = Field(max_length=LONGEST_KEY)
    window_secs: U64 = 300
    scope: str | None = Field(default=None, max_length=LONGEST_KEY)


class ExecuteRequest(Model):
    """Start an execution; one of `path` and `catalog_id` is needed, `catalog_id` wins."""

    model_config = example(path="examples/hello", workload={"message": "hi"})

    path: str | None = None
    catalog_id: Id | None = None
    version: Version | None = Field(
        default=None, description="absent, null or `latest`: the newest version of the path"
    )
    payload: dict[str, Any] = Field(
        default_factory=dict, description="laid over the workload of the playbook"
    )
    workload: dict[str, Any] = Field(default_factory=dict, description="other name of `payload`")
    parent_execution_id: Id | None = None
    execution_pool: str | None = Field(
        default=None,
        max_length=128,
        description="worker pool that runs all commands of the execution",
    )
    trace: Any = None
    dedup: DedupWindow | None = None
    timeout: Annotated[
        float | None,
        PlainValidator(_seconds, json_schema_input_type=float | str | None),
    ] = Field(
        default=None,
        description="deadline of the execution, counted from its start: seconds, or a number with"
        " `s`, `m` or `h`; of it and the playbook's own `spec.timeout` the shorter counts",
    )


class ExecuteAnswer(Model):
    """The started execution, or the existing one of the same dedup key."""

    model_config = example(
        execution_id="325077236512452608", status="started", commands_generated=1
    )

    execution_id: str
    status: Literal["started", "duplicate"]
    commands_generated: int


class ExecuteBatchRequest(Model):
    """Up to 1000 starts, with a separate result for each."""

    model_config = example(executions=[{"path": "examples/hello"}, {"path": "nope"}])

    executions: list[ExecuteRequest] = Field(min_length=1, max_length=1000)


class BatchResult(Model):
    """Outcome of one start of a batch; `execution_id` is absent with an `error`."""

    index: int
    status: Literal["started", "duplicate", "error"]
    execution_id: str | None = None
    commands_generated: int
    error: str | None = None


class ExecuteBatchAnswer(Model):
    """The results in the order of the request, and the number of each kind."""

    model_config = example(
        count=2,
        started=1,
        duplicates=0,
        failed=1,
        results=[
            {
                "index": 0,
                "status": "started",
                "execution_id": "325077236512452608",
                "commands_generated": 1,
            },
            {
                "index": 1,
                "status": "error",
                "commands_generated": 0,
                "error": "Resource not found: Playbook not found: nope",
            },
        ],
    )

    count: int
    started: int
    duplicates: int
    failed: int
    results: list[BatchResult]


class RerunRequest(Model):
    """Rerun of an execution: keys that replace those of the stored workload."""

    model_config = example(workload={"message": "once more"})

    workload: dict[str, Any] | None = None
    resource_kind: Annotated[Any, unread(str)] = None


_MOST_ITERATIONS = 10_000


def _iterations(value: Json) -> list[int]:
    indexes = value if isinstance(value, list) else [value]
    for index in indexes:
        if isinstance(index, bool) or not isinstance(index, int) or index < 0:
            raise wrong_type("an index from 0, or a list of them")
    return indexes


class RestartRequest(Model):
    """Restart of an ended execution; without fields, from its failed steps."""

    model_config = example(from_step="load", iteration=[3, 7], input={"url": "https://new"})

    from_step: str | None = Field(
        default=None,
        max_length=500,
        description="runs again, with all that followed from it; absent: the failed steps",
    )
    iteration: Annotated[
        list[int] | None,
        Field(max_length=_MOST_ITERATIONS),
        PlainValidator(
            lambda value: None if value is None else _iterations(value),
            json_schema_input_type=int | list[int] | None,
        ),
    ] = Field(
        default=None,
        description="of the loop `from_step`: the iterations that run again, from 0; the others"
        " keep their results",
    )
    input: dict[str, Any] | None = Field(
        default=None,
        description="values that the steps which run again see in place of all of their names, and"
        " values of the workload from then on",
    )
    version: Version | None = Field(
        default=None,
        description="of the playbook, `latest` for the newest; absent: that of the execution",
    )


class RestartAnswer(ExecuteAnswer):
    """The new execution of a restart, and its origin."""

    model_config = example(
        execution_id="325077236512452610",
        status="started",
        commands_generated=1,
        origin_execution_id="325077236512452608",
    )

    origin_execution_id: str
