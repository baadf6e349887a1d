"""`/api/playbook-tests/suites/{id}`: tests of playbooks, which the web UI keeps and runs."""

from typing import Any, Literal

from pydantic import Field

from noetl_contract.http.moments import Rfc3339
from noetl_contract.model import Model, example

MOST_TESTS = 1000
"""Tests of one suite."""


class SuiteRequest(Model):
    """A suite to store; each test is an object in the UI's own form."""

    model_config = example(
        playbook_path="demo/hello",
        tests=[{"name": "says hello", "payload": {"word": "hello"}}],
        metadata={"owner": "ann"},
    )

    playbook_path: str = Field(max_length=1000)
    tests: list[dict[str, Any]] = Field(default_factory=list, max_length=MOST_TESTS)
    metadata: dict[str, Any] = Field(default_factory=dict)


class SuiteBody(Model):
    """A stored suite."""

    suite_id: str
    file_path: str = Field(description="of the export; there is no such file here")
    playbook_path: str
    tests: list[Any]
    metadata: dict[str, Any]
    updated_at: Rfc3339


class SuiteDeleted(Model):
    """The deleted suite."""

    model_config = example(status="success", suite_id="demo/hello", file_path="demo/hello.json")

    status: Literal["success"]
    suite_id: str
    file_path: str
