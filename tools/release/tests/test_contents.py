"""The list of contents is a valid document that names every package, with versions and users."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from contents import Pinned, Subject, contents, pinned, sha256
from cyclonedx.model.component import ComponentType
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

TOP = Path(__file__).parents[3]
SUBJECT = Subject(
    name="outbox",
    version="1.2.3",
    type=ComponentType.CONTAINER,
    made=datetime(2026, 1, 2, tzinfo=UTC),
)
PACKAGES = [
    Pinned("orjson", "3.11.5", frozenset({"noetl-outbox"})),
    Pinned("nats-py", "2.16.0", frozenset({"noetl-outbox", "somebody-else"})),
    Pinned("not-installed-here", "1.0", frozenset({"orjson"})),
]


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    file = tmp_path / "noetl_outbox-1.2.3-py3-none-any.whl"
    file.write_bytes(b"a wheel")
    return file


def test_it_is_valid_and_the_same_each_time(wheel: Path) -> None:
    text = contents(SUBJECT, [wheel], PACKAGES)

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert contents(SUBJECT, [wheel], PACKAGES) == text


def test_it_says_what_is_inside_and_who_needs_it(wheel: Path) -> None:
    document = json.loads(contents(SUBJECT, [wheel], PACKAGES))
    components = {found["name"]: found for found in document["components"]}
    needs = {found["ref"]: found.get("dependsOn", []) for found in document["dependencies"]}

    assert set(components) == {"noetl-outbox", *(package.name for package in PACKAGES)}
    assert components["noetl-outbox"]["hashes"] == [{"alg": "SHA-256", "content": sha256(wheel)}]
    assert components["noetl-outbox"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert components["orjson"]["purl"] == "pkg:pypi/orjson@3.11.5"
    assert "MPL-2.0" in json.dumps(components["orjson"]["licenses"])
    assert "licenses" not in components["not-installed-here"]
    assert needs["outbox@1.2.3"] == ["noetl-outbox@1.2.3"]
    assert needs["noetl-outbox@1.2.3"] == ["pkg:pypi/nats-py@2.16.0", "pkg:pypi/orjson@3.11.5"]
    assert document["metadata"]["component"]["type"] == "container"


def test_the_lock_is_read_for_this_platform() -> None:
    found = {package.name: package for package in pinned((TOP / "requirements.txt").read_text())}

    assert found["uvicorn"].version
    assert "noetl-service" in found["uvicorn"].users
    assert "tzdata" not in found  # of Windows
