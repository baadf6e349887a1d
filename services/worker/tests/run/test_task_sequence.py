"""Pipelines and policies."""

from typing import Any

import pytest
from noetl_worker.run.policy import PolicyLimits
from noetl_worker.run.single import run_single
from noetl_worker.run.task_sequence import TaskSequence
from noetl_worker.tools.registry import ToolRegistry
from noetl_worker.tools.tool import Failure, ToolContext, ToolError, ToolResult

LIMITS = PolicyLimits(max_wait_seconds=0.05)


class Scripted:
    """A tool with given answers, one a run; the last one stays."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.seen: list[dict[str, Any]] = []

    async def run(self, config: dict[str, Any], context: ToolContext) -> ToolResult:
        self.seen.append(context.render(config))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, ToolResult):
            return ToolResult(
                status=answer.status, data=answer.data, error=answer.error, failure=answer.failure,
                exit_code=answer.exit_code,
            )  # fmt: skip
        return ToolResult(data=answer)


def with_tools(toolbox: ToolRegistry, **tools: Any) -> ToolRegistry:
    return ToolRegistry({**toolbox._tools, **tools})


def make_context(toolbox: ToolRegistry, **variables: Any) -> ToolContext:
    return ToolContext(
        variables=variables, execution_id=7, step="start", server_url="", toolbox=toolbox
    )


async def sequence(toolbox: ToolRegistry, *tasks: dict[str, Any], **variables: Any) -> ToolResult:
    config = {"tool_config": list(tasks), "kind": "task_sequence"}
    return await toolbox.run("task_sequence", config, make_context(toolbox, **variables))


def failing(text: str = "no", **failure: Any) -> ToolResult:
    return ToolResult(status="error", data={"k": 1}, error=text, failure=Failure(**failure))


def rules(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"policy": {"rules": list(entries)}}


def then(when: Any, **block: Any) -> dict[str, Any]:
    return {"when": when, "then": block}


ON_ERROR = "{{ output.status == 'error' }}"


async def test_each_task_sees_the_ones_before(toolbox: ToolRegistry) -> None:
    result = await sequence(
        toolbox,
        {"a": {"kind": "noop", "result": {"n": 2}}},
        {"b": {"kind": "noop", "result": ["{{ a.n }}", "{{ a.data.n }}", "{{ outer }}"]}},
        outer="o",
    )

    assert result.status == "success"
    assert result.data == {"a": {"n": 2}, "b": [2, 2, "o"]}


async def test_an_input_may_have_the_name_of_the_label_it_reads(toolbox: ToolRegistry) -> None:
    tool = Scripted(1)
    await sequence(
        with_tools(toolbox, scripted=tool),
        {"score": {"kind": "noop", "result": {"n": 2, "who": "Ada"}}},
        {
            "b": {
                "kind": "scripted",
                "input": {"score": "{{ score.n }}", "who": "{{ score.who }}", "twice": "{{ who }}"},
            }
        },
    )

    assert tool.seen[0]["input"] == {"score": 2, "who": "Ada", "twice": "Ada"}


async def test_templates_that_the_playbook_keeps_are_rendered_within_other_text(
    toolbox: ToolRegistry,
) -> None:
    tool = Scripted(1)
    tools = with_tools(toolbox, scripted=tool)
    context = make_context(tools, first={"n": 5}, where="n = {{ first.n }}", data="{{ first.n }}")
    context.own_templates = frozenset({"n = {{ first.n }}"})
    task = {
        "kind": "scripted",
        "command": "WHERE {{ where }} {{ data }}",
        "input": {"w": "x {{ where }}"},
    }

    await tools.run("task_sequence", {"tool_config": [{"a": task}]}, context)

    assert tool.seen[0]["command"] == "WHERE n = 5 {{ first.n }}"
    assert tool.seen[0]["input"] == {"w": "x n = 5"}


async def test_input_becomes_variables_of_its_task_alone(toolbox: ToolRegistry) -> None:
    result = await sequence(
        toolbox,
        {"a": {"kind": "noop", "input": {"v": "{{ outer }}"}, "result": "{{ v }}"}},
        {"b": {"kind": "noop", "result": "[{{ v }}]"}},
        outer=3,
    )

    assert result.data == {"a": 3, "b": []}


async def test_set_writes_nested_values_for_later_tasks(toolbox: ToolRegistry) -> None:
    result = await sequence(
        toolbox,
        {
            "a": {
                "kind": "noop",
                "result": {"n": 2},
                "set": {"ctx.deep.n": "{{ output.n }}", "plain": "x", "plain.below": "dropped"},
            }
        },
        {"b": {"kind": "noop", "result": {"n": "{{ ctx.deep.n }}", "p": "{{ plain }}"}}},
        ctx={"kept": 1},
    )

    assert result.data["b"] == {"n": 2, "p": "x"}
    assert "_context_updates" not in result.data


async def test_policy_set_is_reported_as_context_updates(toolbox: ToolRegistry) -> None:
    rule = {"else": {"then": {"do": "continue", "set": {"ctx.n": "{{ output.data.n }}"}}}}
    given: dict[str, Any] = {"n": 0}

    result = await sequence(
        toolbox,
        {"a": {"kind": "noop", "result": {"n": 2}, "spec": rules(rule)}},
        {"b": {"kind": "noop", "result": "{{ ctx.n }}"}},
        ctx=given,
    )

    assert result.data == {"a": {"n": 2}, "b": 2, "_context_updates": {"ctx.n": 2}}
    assert given == {"n": 0}


async def test_a_bare_else_matches_and_does_nothing(toolbox: ToolRegistry) -> None:
    result = await sequence(
        toolbox,
        {
            "a": {
                "kind": "noop",
                "spec": rules({"else": {"do": "fail", "set": {"ctx.x": 1}}}, then(True, do="fail")),
            }
        },
    )

    assert result.status == "success"
    assert "_context_updates" not in result.data


async def test_a_soft_error_ends_the_pipeline(toolbox: ToolRegistry) -> None:
    tools = with_tools(toolbox, bad=Scripted(failing("broken")))

    result = await sequence(
        tools,
        {"a": {"kind": "noop", "result": 1}},
        {"b": {"kind": "bad"}},
        {"c": {"kind": "noop"}},
    )

    assert (result.status, result.error) == ("error", "broken")
    assert result.data == {"labeled_results": {"a": 1, "b": {"k": 1}}, "failed_task": 1}


async def test_a_timeout_does_not_end_the_pipeline(toolbox: ToolRegistry) -> None:
    tools = with_tools(toolbox, slow=Scripted(ToolResult(status="timeout", error="late")))

    result = await sequence(tools, {"a": {"kind": "slow"}}, {"b": {"kind": "noop", "result": 2}})

    assert (result.status, result.data) == ("success", {"a": None, "b": 2})


async def test_a_raised_error_raises(toolbox: ToolRegistry) -> None:
    tools = with_tools(toolbox, bad=Scripted(ToolError("Database error", "gone")))

    with pytest.raises(ToolError, match=r"^task 'a': Database error: gone$"):
        await sequence(tools, {"a": {"kind": "bad"}})


@pytest.mark.parametrize("raised", [False, True])
@pytest.mark.parametrize(
    ("word", "data"),
    [
        ("continue", {"a": 1, "bad": "X", "c": 3}),
        ("break", {"a": 1, "bad": "X"}),
    ],
)
async def test_continue_and_break_soften_an_error(
    toolbox: ToolRegistry, *, raised: bool, word: str, data: dict[str, Any]
) -> None:
    answer = ToolError("Database error", "gone") if raised else failing()
    tools = with_tools(toolbox, bad=Scripted(answer))

    result = await sequence(
        tools,
        {"a": {"kind": "noop", "result": 1}},
        {"bad": {"kind": "bad", "spec": rules(then(ON_ERROR, do=word))}},
        {"c": {"kind": "noop", "result": 3}},
    )

    assert result.status == "success"
    assert {**data, "bad": None if raised else {"k": 1}} == result.data


async def test_fail_stops_a_good_task_and_raises_a_raised_one(toolbox: ToolRegistry) -> None:
    tools = with_tools(toolbox, bad=Scripted(ToolError("Database error", "gone")))
    spec = rules(then(True, do="fail"))

    result = await sequence(toolbox, {"a": {"kind": "noop", "result": 1, "spec": spec}})
    with pytest.raises(ToolError, match=r"Database error: gone"):
        await sequence(tools, {"a": {"kind": "bad", "spec": spec}})

    assert result.error == "policy rule triggered fail for task[0] 'a'"
    assert result.exit_code == 1
    assert result.data == {"labeled_results": {"a": 1}, "failed_task": 0}


async def test_retry_counts_all_tries(toolbox: ToolRegistry) -> None:
    tool = Scripted(failing())
    tools = with_tools(toolbox, bad=tool)

    result = await sequence(
        tools, {"a": {"kind": "bad", "spec": rules(then(ON_ERROR, do="retry", attempts="4"))}}
    )

    assert len(tool.seen) == 4
    assert (result.status, result.error) == ("error", "no")


async def test_retry_until_it_works_and_see_the_attempt(toolbox: ToolRegistry) -> None:
    tool = Scripted(failing(), ToolError("HTTP error", "away"), {"fine": True})
    tools = with_tools(toolbox, flaky=tool)
    rule = then(
        ON_ERROR, do="retry", attempts=5, backoff="exponential", delay=0.001,
        set={"ctx.tries": "{{ _attempt }}", "ctx.task": "{{ _task }}"},
    )  # fmt: skip

    result = await sequence(tools, {"a": {"kind": "flaky", "spec": rules(rule)}})

    assert len(tool.seen) == 3
    assert result.data == {
        "a": {"fine": True},
        "_context_updates": {"ctx.tries": 2, "ctx.task": "a"},
    }


async def test_used_up_retries_of_a_raised_error_raise_it(toolbox: ToolRegistry) -> None:
    tools = with_tools(toolbox, bad=Scripted(ToolError("Database error", "gone")))

    with pytest.raises(ToolError, match=r"Database error: gone"):
        await sequence(
            tools, {"a": {"kind": "bad", "spec": rules(then(ON_ERROR, do="retry", attempts=2))}}
        )


async def test_a_tools_retry_acts_where_no_rule_matches(toolbox: ToolRegistry) -> None:
    tool = Scripted(failing(), failing(), 5)
    tools = with_tools(toolbox, bad=tool)
    retry = {"max_retries": 2, "initial_delay_ms": 1}

    result = await sequence(tools, {"a": {"kind": "bad", "retry": retry}})

    assert (result.status, result.data) == ("success", {"a": 5})


@pytest.mark.parametrize(
    ("condition", "failure", "runs"),
    [
        ({"retry_on": ["timeout"]}, {"kind": "timeout"}, 2),
        ({"retry_on": "timeout_error"}, {"kind": "timeout"}, 2),
        ({"retry_on": ["timeout"]}, {"kind": "db_constraint", "code": "PG_23505"}, 1),
        ({"retry_on": ["pg_40001"]}, {"kind": "db_deadlock", "code": "PG_40001"}, 2),
        ({"retry_on": ["5xx"]}, {"kind": "server_error", "status": 503}, 2),
        ({"retry_on_status": [503]}, {"kind": "server_error", "status": 503}, 2),
        ({"retry_on_status": [429]}, {"kind": "server_error", "status": 503}, 1),
        ({"retry_on": ["rain"]}, {"kind": "timeout"}, 1),
        ({"retry_on": []}, {"kind": "timeout"}, 1),
        ({"retry_on": None}, {"kind": "timeout"}, 2),
    ],
)
async def test_a_tools_retry_asks_for_its_conditions(
    toolbox: ToolRegistry, condition: dict[str, Any], failure: dict[str, Any], runs: int
) -> None:
    tool = Scripted(failing(**failure), {"ok": True})
    retry = {"max_attempts": 2, "initial_delay": 0, **condition}
    await sequence(with_tools(toolbox, t=tool), {"a": {"kind": "t", "retry": retry}})

    assert len(tool.seen) == runs


async def test_jump_goes_to_a_label_and_back(toolbox: ToolRegistry) -> None:
    counting = Scripted(1, 2, 3)
    again = then("{{ output.data < 3 }}", do="jump", to="previous")
    tools = with_tools(toolbox, count=counting)

    result = await sequence(
        tools,
        {"a": {"kind": "count"}},
        {"b": {"kind": "noop", "result": "{{ a }}", "spec": rules(again)}},
        {"c": {"kind": "noop", "result": 1, "spec": rules(then(True, do="jump", to="e"))}},
        {"d": {"kind": "noop"}},
        {"e": {"kind": "noop", "result": 9}},
    )  # fmt: skip

    assert result.data == {"a": 3, "b": 3, "c": 1, "e": 9}


async def test_a_jump_to_nowhere_is_an_error(toolbox: ToolRegistry) -> None:
    result = await sequence(
        toolbox, {"a": {"kind": "noop", "spec": rules(then(True, do="jump", to="x"))}}
    )

    assert result.error == "task_sequence: jump target 'x' from task[0] 'a' not found"
    assert result.data["failed_task"] == 0


async def test_an_endless_jump_is_bounded(toolbox: ToolRegistry) -> None:
    tools = with_tools(toolbox, task_sequence=TaskSequence(PolicyLimits(max_runs=10)))

    with pytest.raises(ToolError, match=r"more than 10 task runs"):
        await sequence(tools, {"a": {"kind": "noop", "spec": rules(then(True, do="jump", to="a"))}})


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([{"a": {}, "b": {}}], "task[0] must have exactly one labeled entry (got 2)"),
        ([{"a": 5}], "task 'a' spec must be a JSON object"),
        ([{"a": {}}], "task 'a' missing required 'kind' field"),
    ],
)
async def test_wrong_pipelines_raise(
    toolbox: ToolRegistry, tasks: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(ToolError) as raised:
        await sequence(toolbox, *tasks)

    assert f"Configuration error: task_sequence: {message}" == str(raised.value)


async def test_unsupported_kinds_say_so(toolbox: ToolRegistry) -> None:
    with pytest.raises(ToolError, match=r"^task 'a': Tool not found: rhai: .* or shell$"):
        await sequence(toolbox, {"a": {"kind": "rhai", "code": "1"}})
    with pytest.raises(ToolError, match=r"^task 'a': Tool not found: nonsense$"):
        await sequence(toolbox, {"a": {"kind": "nonsense"}})
    with pytest.raises(ToolError, match=r"credential alias 'pg_k8s': nobody here"):
        await sequence(toolbox, {"a": {"kind": "http", "url": "http://x", "auth": "pg_k8s"}})


async def test_python_in_a_pipeline_carries_data(toolbox: ToolRegistry) -> None:
    doubling = "print('x')\nresult = {'doubled': num * 2}"

    result = await sequence(
        toolbox,
        {"a": {"kind": "python", "input": {"num": "{{ iter.num }}"}, "code": doubling}},
        {"b": {"kind": "python", "args": {"d": "{{ a.doubled }}"}, "code": "result = d + 1"}},
        iter={"num": 4},
    )  # fmt: skip

    assert result.data == {"a": {"doubled": 8}, "b": 9}
    assert result.exit_code == 0


async def single(
    toolbox: ToolRegistry, tool: Scripted, *, policy: Any = None, retry: Any = None
) -> ToolResult:
    tools = with_tools(toolbox, scripted=tool)
    return await run_single(
        tools, "scripted", {}, make_context(tools), policy=policy, retry=retry, limits=LIMITS
    )


async def test_a_single_tool_retries_by_its_policy(toolbox: ToolRegistry) -> None:
    tool = Scripted(failing(status=503, retry_after=0.01), 7)

    result = await single(
        toolbox, tool, policy=rules(then("{{ output.error.status == 503 }}", do="retry"))["policy"]
    )

    assert (len(tool.seen), result.status, result.data) == (2, "success", 7)


async def test_a_single_tool_retries_by_its_retry(toolbox: ToolRegistry) -> None:
    tool = Scripted(ToolError("HTTP error", "away"))

    with pytest.raises(ToolError):
        await single(toolbox, tool, retry={"max_attempts": 3, "initial_delay": 0})

    assert len(tool.seen) == 3


async def test_continue_softens_what_a_single_tool_raised(toolbox: ToolRegistry) -> None:
    tool = Scripted(ToolError("HTTP error", "away"))

    result = await single(toolbox, tool, policy=rules(then(ON_ERROR, do="continue"))["policy"])

    assert (result.status, result.error) == ("error", "HTTP error: away")


async def test_what_a_single_tools_policy_sets_is_reported(toolbox: ToolRegistry) -> None:
    policy = rules(then(True, set={"ctx.n": "{{ output.data.n }}"}))["policy"]
    scalar = rules(then(True, set={"ctx.n": "{{ output.data }}"}))["policy"]

    one = await single(toolbox, Scripted({"n": 3}), policy=policy)
    other = await single(toolbox, Scripted(4), policy=scalar)

    assert one.data == {"n": 3, "_context_updates": {"ctx.n": 3}}
    assert other.data == {"data": 4, "_context_updates": {"ctx.n": 4}}
