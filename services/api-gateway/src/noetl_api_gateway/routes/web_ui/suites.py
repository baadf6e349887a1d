"""`/api/playbook-tests/suites/{id}`: tests of playbooks, which the web UI keeps here."""

from noetl_contract.access.rights import Right
from noetl_contract.http.catalog.suites import SuiteRequest
from noetl_contract.rpc.suites import SUITE_DELETE, SUITE_GET, SUITE_PUT, SuiteName, SuitePut
from pydantic import BaseModel

from noetl_api_gateway.routes.forwarding import Sent, Topic

_PATH = "/api/playbook-tests/suites/{suite_id:path}"
TOPIC = Topic("catalog")
_UNKNOWN = {404: "Test suite 'demo/hello' not found"}


def _name(sent: Sent[BaseModel]) -> SuiteName:
    return SuiteName(suite_id=sent.word("suite_id"))


TOPIC.forward(
    f"GET {_PATH}",
    SUITE_GET,
    _name,
    name="get_test_suite",
    needs=Right.CATALOG_READ,
    summary="Read a suite of tests of a playbook",
    errors=_UNKNOWN,
)
TOPIC.forward(
    f"PUT {_PATH}",
    SUITE_PUT,
    lambda sent: SuitePut(
        suite_id=sent.word("suite_id"), **sent.body.model_dump(exclude_unset=True)
    ),
    body=SuiteRequest,
    name="put_test_suite",
    needs=Right.CATALOG_REGISTER,
    summary="Keep a suite of tests of a playbook; the web UI runs them",
    errors={422: "There are 10000 test suites already"},
)
TOPIC.forward(
    f"DELETE {_PATH}",
    SUITE_DELETE,
    _name,
    name="delete_test_suite",
    needs=Right.CATALOG_DELETE,
    summary="Delete a suite of tests of a playbook",
    errors=_UNKNOWN,
)
