"""The declarations of request/reply."""

from collections import Counter

import orjson
import pytest
from msgspec import Raw
from noetl_contract.ingress import EventsMessage, WireEvent
from noetl_contract.json import encode, parse
from noetl_contract.rpc.catalog import RESOLVE, SECRET_AUDIT, EntryName
from noetl_contract.rpc.operation import encode_value
from noetl_contract.rpc.orchestrator import CHILD, LOG_POST, ChildRequest
from noetl_contract.rpc.projector import (
    RESULT_PUT,
    SQL_EXECUTE,
    VARS_GET,
    ResultPut,
    SqlStatement,
)
from noetl_contract.rpc.registry import all_operations
from pydantic import TypeAdapter


def test_every_operation_is_declared_once() -> None:
    operations = all_operations()
    names = Counter((one.service, one.name) for one in operations)

    assert set(names.values()) == {1}
    assert {one.service for one in operations} == {"catalog", "orchestrator", "outbox", "projector"}


@pytest.mark.parametrize("operation", all_operations(), ids=lambda one: f"{one.service} {one.name}")
def test_an_operation_tells_what_it_does_and_shows_true_examples(operation) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    assert all_operations()[operation].endswith(".")
    assert operation.subject(3 if operation.scope == "shard" else None).startswith("noetl_rpc.")
    for example in TypeAdapter(operation.request).json_schema().get("examples", ()):
        operation.decode_request(orjson.dumps(example))
    for example in operation.answers.json_schema().get("examples", ()):
        operation.decode_answer(orjson.dumps(example))


def test_a_request_with_or_without_nulls_is_read() -> None:
    before = b'{"execution_id":4,"event_id":null,"child_id":9,"path":"a/b","payload_digest":""}'
    wanted = ChildRequest(execution_id=4, child_id=9, path="a/b")

    assert CHILD.decode_request(before) == wanted
    assert encode_value(wanted) == b'{"execution_id":4,"child_id":9,"path":"a/b"}'
    assert CHILD.decode_request(encode_value(wanted)) == wanted


def test_large_integers_in_free_json_travel_in_a_request() -> None:
    wanted = ResultPut(execution_id=4, name="a", data=Raw(encode({"n": 1 << 80})))
    event = WireEvent(event_type="call.done", step="s", context={"n": 1 << 80})
    posted = EventsMessage(execution_id=4, events=[event])

    sent = RESULT_PUT.decode_request(encode_value(wanted)).data
    assert isinstance(sent, Raw)
    assert parse(bytes(sent)) == {"n": 1 << 80}
    assert LOG_POST.decode_request(encode_value(posted)) == posted


def test_a_subject_has_a_shard_where_the_scope_is_a_shard() -> None:
    assert VARS_GET.subject(3) == "noetl_rpc.projector.3.vars.get"
    assert RESOLVE.subject() == "noetl_rpc.catalog.cluster.resolve"
    with pytest.raises(ValueError, match="scope shard"):
        VARS_GET.subject()
    with pytest.raises(ValueError, match="scope cluster"):
        RESOLVE.subject(0)


def test_fields_that_are_not_set_do_not_travel() -> None:
    assert encode_value(EntryName(path="a/b")) == b'{"path":"a/b"}'
    assert encode_value([EntryName(path=None)]) == b'[{"path":null}]'


def test_a_name_on_the_wire_is_used_both_ways() -> None:
    statement = SqlStatement(query="SELECT 1", search_path="noetl")
    data = encode_value(statement)

    assert orjson.loads(data) == {"query": "SELECT 1", "schema": "noetl"}
    assert SQL_EXECUTE.decode_request(data) == statement
    assert SECRET_AUDIT.decode_request(b'{"from":"2026-06-15T12:00:00Z"}').since is not None


def test_integers_of_any_size_travel() -> None:
    statement = SqlStatement(query="SELECT $1", parameters=[1 << 80])

    assert b"1208925819614629174706176" in encode_value(statement)
