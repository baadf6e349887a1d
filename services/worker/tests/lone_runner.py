"""A runner without a control plane: nothing is stored, looked up or sent."""

from typing import Any

from noetl_worker.commands import Command
from noetl_worker.control_plane.result_stores import INLINE_LIMIT_BYTES, StoredResult
from noetl_worker.output.channels import OutputPlace
from noetl_worker.output.outputs import Outputs
from noetl_worker.run.policy import PolicyLimits
from noetl_worker.run.reports import Outcome
from noetl_worker.run.runner import Runner
from noetl_worker.tools.registry import ToolRegistry
from worker_edge import make_credentials


class NoStore:
    inline_limit = INLINE_LIMIT_BYTES

    async def put(self, _command: Command, _document: bytes) -> StoredResult | None:
        raise AssertionError


class NoChannel:
    def send(self, place: OutputPlace, body: bytes) -> None: ...

    async def settle(self) -> None: ...


async def run_alone(command: Command, outputs: Outputs | None = None, **tools: Any) -> Outcome:
    """Run a command with tools by their kinds."""
    runner = Runner(
        toolbox=ToolRegistry(tools),
        worker_id="w",
        secrets={},
        credentials=make_credentials(None),  # type: ignore[arg-type]  # none is asked for
        outputs=outputs or Outputs(NoChannel()),
        limits=PolicyLimits(),
    )
    return await runner.run(command, NoStore())
