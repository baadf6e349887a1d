"""Operations about tests of playbooks, which the catalog keeps."""

from noetl_contract.access.principal import OnBehalf
from noetl_contract.http.catalog.suites import SuiteBody, SuiteDeleted, SuiteRequest
from noetl_contract.model import example
from noetl_contract.rpc.operation import Operation


class SuiteName(OnBehalf):
    """The id of a suite."""

    model_config = example(suite_id="demo/hello")

    suite_id: str


class SuitePut(SuiteRequest, OnBehalf):
    """A suite to keep under an id."""

    model_config = example(suite_id="demo/hello", playbook_path="demo/hello", tests=[], metadata={})

    suite_id: str


SUITE_GET = Operation("catalog", "suite.get", SuiteName, SuiteBody)
"""Return a suite of tests."""
SUITE_PUT = Operation("catalog", "suite.put", SuitePut, SuiteBody)
"""Keep a suite of tests in place of the one with its id."""
SUITE_DELETE = Operation("catalog", "suite.delete", SuiteName, SuiteDeleted)
"""Delete a suite of tests."""
