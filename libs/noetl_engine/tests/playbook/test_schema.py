"""The JSON Schema: valid, true about real playbooks, with a description of every key."""

import yaml
from jsonschema import Draft202012Validator
from noetl_engine.playbook.language import LEVELS
from noetl_engine.playbook.schema import SCHEMA_ID, json_schema
from playbook_texts import GOOD

VALIDATOR = Draft202012Validator(json_schema())
STEP = {"step": "start", "tool": {"kind": "noop"}}


def document(**changes: object) -> dict:
    head = {"apiVersion": "noetl.io/v2", "kind": "Playbook", "metadata": {"name": "t"}}
    return head | {"workflow": [STEP]} | changes


def test_it_is_a_schema_with_the_contracts_identity():
    schema = json_schema()

    Draft202012Validator.check_schema(schema)
    assert schema["$schema"].endswith("2020-12/schema")
    assert schema["$id"] == SCHEMA_ID == "https://noetl.io/schema/playbook.schema.json"
    assert schema["title"] == "NoETL Playbook"
    assert schema["required"] == ["apiVersion", "kind", "metadata", "workflow"]
    named = {"Executor", "Step", "LoopConfig", "NextRouter", "NextSpec", "Arc", "ToolSpec"}
    assert named | {"ToolOutput", "WorkbookTask"} <= schema["$defs"].keys()


def test_real_playbooks_and_examples_are_valid():
    for path in GOOD:
        errors = list(VALIDATOR.iter_errors(yaml.safe_load(path.read_text())))
        assert errors == [], path


def test_unknown_keys_are_never_refused():
    step = STEP | {"whatever": 1, "next": {"arcs": [{"step": "start", "note": 1}], "x": 1}}

    assert VALIDATOR.is_valid(document(note=1, workflow=[step]))


def test_every_notation_of_next_is_accepted():
    for following in ("a", ["a", "b"], [{"step": "a", "when": "x"}], {"arcs": []}, {}, None):
        assert VALIDATOR.is_valid(document(workflow=[STEP | {"next": following}]))


def test_what_cannot_be_a_playbook_is_refused():
    wrong = [
        document(kind="Memory"),
        document(apiVersion="noetl.io/v9"),
        document(metadata={}),
        document(workflow=[{"tool": {"kind": "noop"}}]),
        document(workflow=[STEP | {"tool": {"kind": "nope"}}]),
        document(workflow=[STEP | {"tool": []}]),
        document(workflow=[STEP | {"tool": [{"a": {"kind": "noop"}, "b": {"kind": "noop"}}]}]),
        document(workflow=[STEP | {"loop": {"in": "x"}}]),
        document(workflow=[STEP | {"loop": {"iterator": "i", "spec": {"mode": "all"}}}]),
        document(workflow=[STEP | {"next": {"arcs": [{"when": "x"}]}}]),
        document(workbook=[{"name": "x"}]),
    ]
    for value in wrong:
        assert not VALIDATOR.is_valid(value), value


def test_kinds_from_other_packages_can_be_named():
    text = document(workflow=[STEP | {"tool": {"kind": "wordcount"}}])

    assert Draft202012Validator(json_schema(more_kinds={"wordcount"})).is_valid(text)
    assert not VALIDATOR.is_valid(text)


def test_every_key_is_explained():
    for name, level in LEVELS.items():
        assert level.doc, name
        assert all(key.doc.endswith(".") for key in level.keys.values()), name


def test_keys_of_a_tool_kind_are_described_and_required():
    def valid(**tool: object) -> bool:
        return VALIDATOR.is_valid(document(workflow=[STEP | {"tool": tool}]))

    assert valid(kind="http", url="u", timeout_seconds="{{ n }}", whatever=1)
    assert valid(kind="http", url="u", response_type=None)
    assert valid(kind="postgres", query="SELECT 1", auth="db")
    assert valid(kind="nats", url="u", operation="{{ x }}")
    assert not valid(kind="http")
    assert not valid(kind="http", url="u", timeout_seconds=[1])
    assert not valid(kind="http", url="u", response_type="xml")
    assert not valid(kind="postgres", query="SELECT 1")
    assert not valid(kind="nats", url="u", operation="kv_get")
