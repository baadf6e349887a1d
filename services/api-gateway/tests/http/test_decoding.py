"""Bodies that don't fit their model are refused in the contract's words, row by row."""

import pkgutil
from importlib import import_module

import noetl_contract.http
import pytest
from noetl_api_gateway.http import decoding
from noetl_api_gateway.http.refusals import Refusal
from noetl_contract.http.catalog.entries import CatalogListRequest, RegisterRequest
from noetl_contract.http.executions.events import EventBatchRequest, EventRequest
from noetl_contract.http.executions.reads import FinalizeRequest
from noetl_contract.http.executions.start import ExecuteBatchRequest, ExecuteRequest
from noetl_contract.http.executions.variables import VarsRequest
from noetl_contract.http.secrets.credentials import CredentialCreate
from noetl_contract.http.secrets.keychain import KeychainPutBody
from noetl_contract.http.system.internal import (
    CallbackRequest,
    MarkPublishedRequest,
    ProjectRequest,
)
from noetl_contract.json import Json
from pydantic import BaseModel

SHAPE = "Failed to deserialize the JSON body into the target type: "
EVENT = {"execution_id": 1, "step": "s", "event_type": "t"}
KEY = {"name": "n", "data": {}}

# model, body, text behind the common beginning
SHAPES: list[tuple[type[BaseModel], Json, str]] = [
    (RegisterRequest, [], "invalid type: sequence, expected struct RegisterRequest"),
    (RegisterRequest, {}, "missing field `content`"),
    (CatalogListRequest, 7, "invalid type: integer `7`, expected struct ListRequest"),
    (CatalogListRequest, {"path": 1.5}, "path: invalid type: floating point `1.5`, expected a s"),
    (CatalogListRequest, {"agent_only": None}, "agent_only: invalid type: null, expected a boo"),
    (ExecuteRequest, {"payload": []}, "payload: invalid type: sequence, expected a map"),
    (ExecuteRequest, {"dedup": 1}, "dedup: invalid type: integer `1`, expected struct DedupSpec"),
    (ExecuteRequest, {"dedup": {}}, "dedup: missing field `key`"),
    (
        ExecuteRequest,
        {"dedup": {"key": "k", "window_secs": -1}},
        "dedup.window_secs: invalid value: integer `-1`, expected u64",
    ),
    (ExecuteRequest, {"catalog_id": "1x"}, 'catalog_id: invalid type: string "1x", expected i64'),
    (EventRequest, EVENT | {"name": 1, "event_type": 2}, "event_type: invalid type: integer `2`"),
    (EventRequest, {"execution_id": 1, "step": "s", "name": 3}, "name: invalid type: integer `3`"),
    (EventRequest, EVENT | {"created_at": "then"}, "created_at: input contains invalid characters"),
    (
        EventBatchRequest,
        {"execution_id": 1, "events": [{"name": "n"}]},
        "events[0]: missing field `step`",
    ),
    (
        CallbackRequest,
        {"state": "odd", "job_name": "j"},
        "state: unknown variant `odd`, expected one of `succeeded`, `failed`, `failed_image_pull`",
    ),
    (VarsRequest, {"variables": [{"var_name": "n"}]}, "variables[0]: missing field `var_value`"),
    (VarsRequest, {"variables": {"n": 1}, "var_type": 2}, "var_type: invalid type: integer `2`"),
    (CredentialCreate, KEY | {"type": "a", "credential_type": "a"}, "duplicate field `type`"),
    (CredentialCreate, KEY | {"tags": [{}]}, "tags[0]: invalid type: map, expected a string"),
    (CredentialCreate, {"name": 'a"b'}, "missing field `data`"),
    (
        KeychainPutBody,
        {"data": 1, "expires_at": "s3cret"},
        'expires_at: input contains invalid characters: "[REDACTED]"',
    ),
    (
        KeychainPutBody,
        {"data": 1, "expires_in": "s3cret"},
        'expires_in: invalid type: string "[REDACTED]", expected i64',
    ),
]

# model, body, status, text
RULES: list[tuple[type[BaseModel], Json, int, str]] = [
    (MarkPublishedRequest, {"outbox_ids": []}, 400, "outbox_ids must not be empty"),
    (ProjectRequest, {"events": []}, 400, "events must not be empty"),
    (FinalizeRequest, {"status": "DONE"}, 422, "Invalid finalization status: DONE"),
    (
        ExecuteBatchRequest,
        {"executions": [{}] * 1001},
        422,
        "execute batch size 1001 exceeds the 1000 cap",
    ),
    (
        ExecuteBatchRequest,
        {"executions": [{"execution_pool": "x" * 129}]},
        422,
        "execution_pool is longer than 128 characters",
    ),
]


@pytest.mark.parametrize(("model", "body", "text"), SHAPES)
def test_another_shape_is_refused_by_name(model: type[BaseModel], body: Json, text: str) -> None:
    with pytest.raises(Refusal) as caught:
        decoding.validated(model, body)

    assert caught.value.status == 422
    assert caught.value.text.startswith(SHAPE + text)


@pytest.mark.parametrize(("model", "body", "status", "text"), RULES)
def test_a_rule_has_a_text_of_its_own(
    model: type[BaseModel], body: Json, status: int, text: str
) -> None:
    with pytest.raises(Refusal) as caught:
        decoding.validated(model, body)

    assert (caught.value.status, caught.value.text) == (status, text)


def test_a_wrong_shape_comes_before_a_broken_rule() -> None:
    body = {"execution_pool": "x" * 129, "parent_execution_id": []}

    with pytest.raises(Refusal, match="parent_execution_id: invalid type"):
        decoding.validated(ExecuteRequest, body)


def test_the_tables_name_models_of_the_contract() -> None:
    modules = pkgutil.walk_packages(noetl_contract.http.__path__, "noetl_contract.http.")
    known = {name for module in modules for name in vars(import_module(module.name))}
    named = {*decoding._STRUCTS, *decoding._ONE_OF, *(model for model, _, _ in decoding._RULES)}

    assert named <= known


def test_fields_that_are_null_are_left_out_but_for_required_ones() -> None:
    body = decoding.validated(CredentialCreate, {"name": "n", "data": None, "meta": None})

    assert decoding.present(body) == {"name": "n", "type": "generic", "data": None}
