"""The schemas that outsiders build on, and what a release may change in them."""

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import orjson
import pytest
from noetl_contract.commands import decode_notification
from noetl_contract.documents.schemas import PUBLISHED, Published, narrowed, published_schemas
from noetl_contract.events import EventRow, event_message
from noetl_contract.http.executions.events import EventRequest
from noetl_contract.json import Json, JsonObject

# As they were when each version was published; a new version is a new file, none is changed.
_FROZEN = Path(__file__).parent / "data" / "schemas"
EVENT: JsonObject = orjson.loads(
    orjson.dumps(
        event_message(
            EventRow(
                execution_id=1 << 60,
                position=2,
                event_id=5,
                event_type="command.issued",
                created_at=datetime(2026, 11, 27, tzinfo=UTC),
                catalog_id=1,
                node_name="start",
                context={"tool": {"kind": "noop"}},
            )
        )
    )
)
COMMAND: JsonObject = {
    "execution_id": 384444128198406144,
    "event_id": 384444128206790657,
    "command_id": "384444128198406144:start:384444128206790657",
    "step": "start",
    "server_url": "http://127.0.0.1:8082",
    "fast": {"v": 1, "shard": 0, "attempts": 0},
}


@pytest.mark.parametrize("one", PUBLISHED, ids=lambda one: one.file)
def test_a_version_only_grows(one: Published) -> None:
    frozen = orjson.loads((_FROZEN / one.file).read_bytes())
    jsonschema.Draft202012Validator.check_schema(one.schema())
    assert list(narrowed(frozen, one.schema(), is_read=one.is_read)) == []


def test_every_version_that_was_published_is_still_there() -> None:
    assert {file.name for file in _FROZEN.iterdir()} == set(published_schemas())


@pytest.mark.parametrize(("name", "body"), [("event.v1.json", EVENT), ("command.v1.json", COMMAND)])
def test_what_is_sent_fits_and_a_later_release_may_add_keys(name: str, body: JsonObject) -> None:
    validator = jsonschema.Draft202012Validator(published_schemas()[name])
    validator.validate(body)
    validator.validate({**body, "of_a_later_release": {"a": 1}})
    for key in ("event_id", "execution_id"):
        with pytest.raises(jsonschema.ValidationError):
            validator.validate({**body, key: []})
        with pytest.raises(jsonschema.ValidationError):
            validator.validate({other: value for other, value in body.items() if other != key})


def _gone(schema: JsonObject) -> None:
    del schema["properties"]["event_type"]


def _optional(schema: JsonObject) -> None:
    schema["required"].remove("event_type")


def _other_type(schema: JsonObject) -> None:
    schema["properties"]["event_type"]["type"] = "integer"


def _wanted(schema: JsonObject) -> None:
    schema["required"] = [*schema.get("required", ()), "worker_id"]


def _new_key(schema: JsonObject) -> None:
    schema["properties"]["new"] = {"type": "string"}


@pytest.mark.parametrize(
    ("change", "is_read", "problems"),
    [
        (_gone, False, [".event_type is gone"]),
        (_optional, False, [".event_type is not always there any more"]),
        (_other_type, False, [".event_type may be integer"]),
        (_other_type, True, [".event_type takes no string"]),
        (_wanted, True, [".worker_id is required now"]),
        (_new_key, False, []),
        (_new_key, True, []),
    ],
)
def test_what_a_version_may_not_do_is_told(
    change: Callable[[JsonObject], None], *, is_read: bool, problems: list[str]
) -> None:
    name = "posted-event.v1.json" if is_read else "event.v1.json"
    old = published_schemas()[name]
    new = copy.deepcopy(old)
    change(new)
    assert list(narrowed(old, new, is_read=is_read)) == problems


@pytest.mark.parametrize("extra", [{"later": 1}, {"fast": {"v": 2, "shape": "new"}}])
def test_a_worker_of_today_takes_the_command_of_a_later_release(extra: JsonObject) -> None:
    taken = decode_notification(orjson.dumps({**COMMAND, **extra}))
    assert taken.step == "start"
    assert (taken.fast is None) == ("fast" in extra)


def test_an_edge_of_today_takes_the_event_of_a_later_worker() -> None:
    body: Json = {
        "execution_id": "7",
        "event_type": "call.done",
        "step": "s",
        "of_a_later_worker": {"a": 1},
    }
    assert EventRequest.model_validate(body).event_type == "call.done"
