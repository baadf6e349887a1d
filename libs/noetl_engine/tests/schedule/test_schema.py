"""The JSON Schema of schedules agrees with the reader."""

import jsonschema
import pytest
import yaml
from noetl_engine.documents import document_schema

GOOD = """
apiVersion: noetl.io/v2
kind: Schedule
metadata: {name: a}
spec: {playbook: p, cron: '@daily'}
"""


def test_a_good_document_fits():
    schema = document_schema("Schedule")

    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(GOOD), schema)


@pytest.mark.parametrize(
    "broken", [("'@daily'", "5"), ("playbook: p, ", ""), ("Schedule", "Gadget")]
)
def test_a_broken_document_does_not(broken: tuple[str, str]):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(GOOD.replace(*broken)), document_schema("schedule"))


def test_other_kinds_have_their_own_schema_or_none():
    assert (document_schema("playbook") or {})["title"] == "NoETL Playbook"
    assert document_schema("gadget") is None
