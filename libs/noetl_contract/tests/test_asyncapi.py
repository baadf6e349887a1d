"""The AsyncAPI document and the page of messages."""

import gzip
from pathlib import Path

import jsonschema
import orjson
from noetl_contract import streams
from noetl_contract.channels import CHANNELS
from noetl_contract.documents.asyncapi import asyncapi_document
from noetl_contract.rpc.registry import all_operations

# From the npm package @asyncapi/specs 6.8.1 (Apache 2.0): schemas/3.0.0-without-$id.json.
_META_SCHEMA = Path(__file__).parent / "data" / "asyncapi-3.0.0.json.gz"


def test_the_document_is_valid() -> None:
    schema = orjson.loads(gzip.decompress(_META_SCHEMA.read_bytes()))
    document = asyncapi_document()

    assert not list(jsonschema.Draft7Validator(schema).iter_errors(document))


def test_every_reference_of_the_document_leads_somewhere() -> None:
    document = asyncapi_document()
    pending = [document]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending += value
        if isinstance(value, dict):
            pending += value.values()
            if "$ref" in value:
                target = document
                for part in value["$ref"].removeprefix("#/").split("/"):
                    target = target[part]


def test_the_document_has_every_operation_and_every_stream() -> None:
    document = asyncapi_document()
    told = {channel.stream for channel in CHANNELS if channel.stream}
    assert {f"{one.service}.{one.name}" for one in all_operations()} <= document[
        "operations"
    ].keys()
    assert {stream.name for stream in streams.ALL_STREAMS} == told
