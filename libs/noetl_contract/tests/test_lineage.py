"""Values that the start of a child inherits from its parent."""

import pytest
from noetl_contract.failures.ended import AfterEnd
from noetl_contract.ingress import ExecuteMessage, Lineage, with_lineage
from noetl_contract.json import Json

TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
PARENT = Lineage(trace=TRACE, owner="ann", namespace="team/", root_execution_id=1, depth=3)
OF_TRIGGER = AfterEnd(execution_id=1, trigger="ops/watch", handles=("failure",), is_trigger=True)
OF_PLAYBOOK = AfterEnd(execution_id=1, trigger="on_failure:team/a", handles=("failure",))


def start(**fields: Json) -> ExecuteMessage:
    return ExecuteMessage(execution_id=7, catalog_id=4, path="ops/notes/a", version=1, **fields)


def test_a_child_takes_over_what_it_has_not_got() -> None:
    child = with_lineage(start(parent_execution_id=2, payload={"a": 1}), PARENT)

    assert child == start(
        parent_execution_id=2,
        payload={"a": 1},
        trace=TRACE,
        owner="ann",
        namespace="team/",
        root_execution_id=1,
        depth=3,
    )


def test_what_a_child_has_of_its_own_it_keeps() -> None:
    own = start(trace={"x": 1}, owner="bob", namespace="", root_execution_id=5, depth=1)

    assert with_lineage(own, PARENT) == own


def test_where_nothing_is_known_nothing_is_taken_over() -> None:
    assert with_lineage(start(), Lineage(depth=1)) == start()


@pytest.mark.parametrize(
    ("after", "owner", "namespace"),
    [(OF_TRIGGER, "trigger:ops/watch", "ops/notes"), (OF_PLAYBOOK, "ann", "team/")],
)
def test_what_a_trigger_starts_is_the_triggers(after: AfterEnd, owner: str, namespace: str) -> None:
    child = with_lineage(start(after=after), PARENT)

    assert (child.owner, child.namespace, child.trace) == (owner, namespace, TRACE)


def test_a_trigger_of_somebody_starts_with_his_rights() -> None:
    child = with_lineage(start(after=OF_TRIGGER, owner="eve", namespace="ops/"), PARENT)

    assert (child.owner, child.namespace) == ("eve", "ops/")


def test_without_access_control_a_trigger_narrows_nothing() -> None:
    child = with_lineage(start(after=OF_TRIGGER), Lineage(trace=TRACE, depth=1))

    assert (child.owner, child.namespace) == ("trigger:ops/watch", None)
