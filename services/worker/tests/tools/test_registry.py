"""Finding tools by kind."""

from importlib.metadata import EntryPoint

import pytest
from noetl_common.process.extensions import BadExtension
from noetl_worker.tools.registry import GROUP, ToolRegistry, load_tools
from noetl_worker.tools.tool import ToolContext, ToolError

ELSEWHERE = (
    "container", "gateway", "gcs", "iterator", "playbooks", "rhai", "secrets", "snowflake",
    "snowflake_transfer",
)  # fmt: skip


def make_context() -> ToolContext:
    return ToolContext(
        variables={}, execution_id=1, step="s", server_url="", toolbox=ToolRegistry({})
    )


@pytest.mark.parametrize("kind", ELSEWHERE)
async def test_kinds_without_a_tool_fail_by_name_and_with_advice(
    toolbox: ToolRegistry, kind: str
) -> None:
    with pytest.raises(ToolError) as raised:
        await toolbox.run(kind, {}, make_context())

    name, _, advice = str(raised.value).removeprefix("Tool not found: ").partition(": ")
    assert name == kind
    assert advice


@pytest.mark.parametrize("kind", ["workbook", "nonsense"])
async def test_other_kinds_fail_as_in_the_reference(toolbox: ToolRegistry, kind: str) -> None:
    with pytest.raises(ToolError) as raised:
        await toolbox.run(kind, {}, make_context())

    assert f"Tool not found: {kind}" == str(raised.value)


async def test_a_kind_whose_package_is_not_installed_names_it(toolbox: ToolRegistry) -> None:
    assert "wasm" in toolbox.kinds
    without = ToolRegistry({kind: one for kind, one in toolbox._tools.items() if kind != "wasm"})

    with pytest.raises(ToolError, match="wasm: install noetl-tool-wasm where the workers are"):
        await without.run("wasm", {}, make_context())


def test_the_worker_brings_its_tools(toolbox: ToolRegistry) -> None:
    ours = {
        "artifact", "http", "mcp", "nats", "noop", "playbook", "python", "result_fetch",
        "shell", "task_sequence",
    }  # fmt: skip

    assert ours <= set(toolbox.kinds)


def test_two_packages_with_one_kind_are_refused() -> None:
    entry = EntryPoint("noop", "noetl_worker.tools.noop:create", GROUP)

    with pytest.raises(BadExtension, match=r"the tool 'noop' of .* another one has that name"):
        load_tools(None, found=[entry, entry])  # type: ignore[arg-type]
