"""Cost of a call of a plug-in, in one process, without the rest of the system.

The worker's tools are called one after the other, in turns, so that all have the same minutes:
``noop`` as the floor, a thread that does nothing, the plug-in of ``examples/plugins/echo.yaml``
with a small and a large input, and a small script of the python tool in the kept process of its
execution and in one of its own.
``first`` is the first call of a plug-in, its look-up and its compilation included.

    python benchmarks/plugins.py [--calls 300] [--rounds 5]
"""

import argparse
import asyncio
import statistics
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from noetl_contract.plugins.document import PluginBody, read_plugin
from noetl_contract.plugins.names import PluginPin
from noetl_worker.bounded_http import open_tool_client
from noetl_worker.control_plane.edge import open_edge
from noetl_worker.interpreters.nursery import InterpreterLimits, ScriptBox
from noetl_worker.interpreters.pool import Keeping, interpreter_pool
from noetl_worker.settings import Settings
from noetl_worker.tools.registry import ToolRegistry, load_tools
from noetl_worker.tools.tool import ToolContext, ToolParts, ToolResult

_EXAMPLE = Path(__file__).parents[1] / "examples" / "plugins" / "echo.yaml"
_MEBIBYTE = 1 << 20
_LIMITS = InterpreterLimits(
    memory_bytes=1024 * _MEBIBYTE,
    file_bytes=1024 * _MEBIBYTE,
    output_bytes=_MEBIBYTE,
    result_bytes=16 * _MEBIBYTE,
    box=ScriptBox(write=("/tmp", "/dev/shm")),
)
_CODE = "result = {'n': n + 1}"

type Call = Callable[[int], Awaitable[Any]]


def _served(body: PluginBody) -> ThreadingHTTPServer:
    """Serve one plug-in at every address."""
    data = body.model_dump_json().encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _calls(toolbox: ToolRegistry, body: PluginBody, url: str) -> dict[str, Call]:
    def context(execution: int, version: int = 1) -> ToolContext:
        pin = PluginPin(path="echo", version=version, catalog_id=version, digest=body.digest)
        return ToolContext(
            variables={},
            execution_id=execution,
            step="start",
            server_url=url,
            toolbox=toolbox,
            plugins={"echo": pin.model_dump()},
        )

    large = "x" * 100_000
    plugin = {"plugin": "echo", "input": {"n": 1}}
    script = {"code": _CODE, "args": {"n": 1}}
    return {
        "noop": lambda _: toolbox.run("noop", {}, context(7)),
        "thread": lambda _: asyncio.to_thread(ToolResult),
        "plug-in": lambda _: toolbox.run("wasm", plugin, context(7)),
        "plug-in, 100 kB": lambda _: toolbox.run(
            "wasm", {"plugin": "echo", "input": {"text": large}}, context(7)
        ),
        "python, kept": lambda _: toolbox.run("python", script, context(7)),
        "python, own": lambda number: toolbox.run("python", script, context(1000 + number)),
    }


async def _measure(calls: int, rounds: int) -> tuple[float, dict[str, list[float]]]:
    body = read_plugin(yaml.safe_load(_EXAMPLE.read_text()))
    server, settings = _served(body), Settings()
    url = f"http://127.0.0.1:{server.server_port}"
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            interpreter_pool(
                executable=None, limits=_LIMITS, size=80, warm=2, keeping=Keeping(64, 5.0)
            )
        )
        http = await stack.enter_async_context(open_tool_client(seconds=30))
        edge = await stack.enter_async_context(open_edge(settings))
        toolbox = load_tools(ToolParts(settings=settings, http=http, interpreters=pool, edge=edge))
        stack.push_async_callback(toolbox.close)
        kinds = _calls(toolbox, body, url)
        begun = time.perf_counter()
        await kinds["plug-in"](0)
        first = (time.perf_counter() - begun) * 1000
        times: dict[str, list[float]] = {name: [] for name in kinds}
        for number in range(rounds):
            for name, call in kinds.items():
                for each in range(calls):
                    begun = time.perf_counter()
                    ended = await call(number * calls + each)
                    times[name].append((time.perf_counter() - begun) * 1000)
                    if ended.status != "success":
                        raise SystemExit(f"{name}: {ended.error}")
    server.shutdown()
    return first, times


def _quick(found: list[float]) -> float:
    """Return the tenth part's limit: other load on the machine hardly moves it."""
    return statistics.quantiles(found, n=10)[0]


def main() -> None:
    """Print milliseconds a call, and how many plug-in calls each is worth by the quickest tenth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    first, times = asyncio.run(_measure(given.calls, given.rounds))
    base = _quick(times["plug-in"])
    print(f"{'first':16} {first:8.1f} ms")
    for name, found in times.items():
        quick, middle = _quick(found), statistics.median(found)
        share = quick / base
        print(f"{name:16} p10 {quick:8.3f} ms  p50 {middle:8.3f} ms  {share:8.3f} plug-ins")


if __name__ == "__main__":
    main()
