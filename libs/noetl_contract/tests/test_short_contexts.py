"""The short form of a command's context stands for the whole one."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from noetl_contract.commands import named_position, short_context, whole_context
from noetl_contract.json import encode

NAMES = st.sampled_from(["rows", "ctx", "workload", "steps", "a", "b", "item"])
SMALL = st.one_of(st.integers(-3, 3), st.text(max_size=3), st.lists(st.integers(), max_size=2))
VALUES = st.dictionaries(NAMES, SMALL, max_size=5)


def scope_of(workload: dict[str, Any], others: dict[str, Any], hidden: set[str]) -> dict[str, Any]:
    """Return the variables of a command, as the engine makes them."""
    flat = {**workload, "workload": workload, **others}
    flat = {name: value for name, value in flat.items() if name not in hidden}
    return {"ctx": flat, **flat} if "ctx" not in flat else flat


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(VALUES, VALUES, st.sets(st.sampled_from(["rows", "a"])))
def test_the_whole_context_comes_back(
    workload: dict[str, Any], others: dict[str, Any], hidden: set[str]
) -> None:
    context = {"tool_config": {}, "args": {}, "render_context": scope_of(workload, others, hidden)}

    short = short_context(context, workload, position=7)

    if "workload" in others:
        assert short is None
        return
    assert short is not None
    assert named_position(short) == 7
    # As it was stored, and read again.
    assert whole_context(json.loads(encode(short)), workload) == context


@pytest.mark.parametrize("alias", [{"other": 1}, 5, {"workload": {}, "n": 2}])
def test_what_is_called_ctx_and_is_none_stays(alias: Any) -> None:
    workload = {"n": 1}
    scope = {"n": 1, "workload": workload, "ctx": alias}
    context = {"render_context": scope}

    short = short_context(context, workload, position=1)

    assert short is not None
    assert short["render_context"]["ctx"] == alias
    assert whole_context(short, workload) == context


def test_a_value_that_only_looks_like_the_workloads_is_kept() -> None:
    """A variable may change where the workload can't, so sameness is that of the object."""
    workload = {"rows": [1, 2]}
    scope = {"rows": [1, 2], "workload": workload}

    short = short_context({"render_context": scope}, workload, position=1)

    assert short is not None
    assert short["render_context"] == {"rows": [1, 2]}


@pytest.mark.parametrize("context", [None, 5, {}, {"named_workload": 5}, {"named_workload": {}}])
def test_other_contexts_name_nothing(context: Any) -> None:
    assert named_position(context) is None
    assert short_context({"args": {}}, {}, position=1) is None
