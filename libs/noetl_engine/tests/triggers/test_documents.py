"""Documents of every kind that the catalog knows: their findings and their schemas."""

import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from noetl_contract.failures.ended import PAYLOAD_NAMES
from noetl_engine.documents import document_schema, kind_of, lint_document
from noetl_engine.kinds import DESCRIBED, LANGUAGES
from noetl_engine.playbook.lint import Severity
from noetl_engine.playbook.yaml import compose, to_json

ROOT = Path(__file__).parents[4]
EXAMPLES = sorted(
    [*(ROOT / "examples").glob("*.yaml"), *(ROOT / "examples/plugins").glob("*.yaml")]
)
SAMPLES = [
    pytest.param(text, id=f"{path.name}:{number}")
    for path in sorted((ROOT / "docs").glob("*.md"))
    for number, text in enumerate(
        re.findall(r"^```yaml\n(apiVersion.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)
    )
]
VALIDATORS = {kind: Draft202012Validator(document_schema(kind) or {}) for kind in LANGUAGES}
SOURCES = '"pubsub", "nats", "kafka", "webhook", "rabbitmq", "redis"'
PROBES = "'http', 'tcp', 'nats' or 'passive'"
TRIGGER = """\
kind: Trigger
metadata: {name: t}
spec:
  on: {ended: FAILED, under: reports/}
  webhook: https://h
"""
SUBSCRIPTION = """\
kind: Subscription
metadata: {name: s}
spec:
  source: nats
  mode: pull
  dispatch: {playbook: p}
  dedup: {window_secs: 60}
"""


def told(text: str) -> list[tuple[str, int, str, str]]:
    return [(str(f.severity), f.line, f.path, f.message) for f in lint_document(text)]


def test_the_examples_have_every_kind():
    assert {kind_of(path.read_text()) for path in EXAMPLES} == set(LANGUAGES)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_have_no_finding_and_fit_their_schema(path: Path):
    text = path.read_text()

    assert lint_document(text) == []
    assert list(VALIDATORS[kind_of(text) or ""].iter_errors(to_json(compose(text)))) == []


@pytest.mark.parametrize("text", SAMPLES)
def test_samples_of_the_pages_have_no_errors_and_fit_their_schema(text: str):
    errors = [one for one in lint_document(text) if one.severity is Severity.ERROR]

    assert errors == []
    assert list(VALIDATORS[kind_of(text) or ""].iter_errors(to_json(compose(text)))) == []


@pytest.mark.parametrize("kind", LANGUAGES)
def test_each_language_has_a_schema_of_its_own(kind: str):
    schema = document_schema(kind.upper())

    assert schema is not None
    Draft202012Validator.check_schema(schema)
    assert schema["title"] == f"NoETL {kind.title()}"


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ("ended: FAILED", "ended: DONE", (
            "error", 4, "spec.on.ended",
            "spec.on.ended: 'DONE' is none of COMPLETED, FAILED, CANCELLED, ERRORS")),
        ("under:", "undr:", (
            "error", 4, "spec.on", "spec.on: unknown key 'undr', known: ended, under, children")),
        ("webhook: https://h", "start: {}", (
            "error", 5, "spec.start",
            "spec.start.playbook must be the path of a playbook")),
        ("webhook: https://h", "start: {playbook: p, payload: {a: '{{ casue.step }}'}}", (
            "warning", 5, "spec.start.payload.a",
            f"'casue' is none of {', '.join(PAYLOAD_NAMES)}")),
        ("{name: t}", "{label: t}", (
            "error", 2, "metadata", "Missing 'path' or 'name' in metadata")),
        ("spec:", "sepc:", (
            "error", 1, "", "kind: Trigger requires `spec`, a mapping")),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_trigger_has_its_place(
    old: str, new: str, finding: tuple[str, int, str, str]
):
    assert told(TRIGGER) == []
    assert finding in told(TRIGGER.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ("source: nats", "source: tape", (
            "error", 4, "spec.source",
            f"subscription 'source' must be one of [{SOURCES}], got 'tape'")),
        ("window_secs: 60", "window_secs: 0", (
            "error", 7, "spec.dedup.window_secs",
            "subscription 'dedup.window_secs' must be a positive integer")),
        ("window_secs: 60", "windo_secs: 60", (
            "warning", 7, "spec.dedup.windo_secs",
            "unknown key 'windo_secs' has no effect, did you mean 'window_secs'?")),
        ("mode: pull", "mode: push", (
            "error", 3, "spec",
            "subscription 'mode: push' requires an 'ingress' block (gateway_path + verify)")),
        ("dedup: {window_secs: 60}", "circuit: {probe: smoke}", (
            "error", 7, "spec.circuit.probe",
            f"no runtime takes 'spec.circuit.probe': Input should be {PROBES}")),
        ("dedup:", "dedupe:", (
            "warning", 7, "spec.dedupe",
            "unknown key 'dedupe' has no effect, did you mean 'dedup'?")),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_subscription_has_its_place(
    old: str, new: str, finding: tuple[str, int, str, str]
):
    assert told(SUBSCRIPTION) == []
    assert finding in told(SUBSCRIPTION.replace(old, new))


@pytest.mark.parametrize("kind", sorted(DESCRIBED))
def test_documents_that_are_only_kept_need_a_name(kind: str):
    assert told(f"kind: {kind}\nmetadata: {{name: x}}\nanything: 1\n") == []
    assert told(f"kind: {kind}\nmetadata: {{}}\n")[0][0] == "error"


@pytest.mark.parametrize("kind", ["Trigger", "Subscription"])
@pytest.mark.parametrize("rest", ["", "spec: [", "spec: 5\nmetadata: 5\n", "metadata: {name: 1}\n"])
def test_any_text_gives_findings(kind: str, rest: str):
    found = told(f"kind: {kind}\n{rest}")

    assert found
    assert found[0][0] == "error"
