"""Modules in text format, and a control plane that has them."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from noetl_common.egress import Egress
from noetl_contract.json import JsonObject
from noetl_contract.plugins.document import Form, PluginBody
from noetl_contract.plugins.names import PluginPin
from noetl_testkit.waiting import PATIENCE_SECONDS
from noetl_worker.bounded_http import open_tool_client
from noetl_worker.control_plane.edge import open_edge
from noetl_worker.interpreters.pool import InterpreterPool
from noetl_worker.settings import Settings
from noetl_worker.tools.registry import ToolRegistry, load_tools
from noetl_worker.tools.tool import ToolContext, ToolParts, ToolResult
from tool_server import Asked, Said, ToolServer, tool_server

EXAMPLES = next(
    folder
    for parent in Path(__file__).resolve().parents
    if (folder := parent / "examples" / "plugins").is_dir()
)
HOST = """
  (import "noetl" "log" (func $log (param i32 i32 i32)))
  (import "noetl" "http" (func $http (param i32 i32) (result i64)))
  (import "noetl" "kv_get" (func $kv_get (param i32 i32) (result i64)))
  (import "noetl" "kv_set" (func $kv_set (param i32 i32 i32 i32)))
"""
PARTS = """
  (memory (export "memory") 1)
  (global $free (mut i32) (i32.const 4096))
  (func $alloc (export "alloc") (param $size i32) (result i32)
    (local $at i32)
    (;alloc;)
    (local.set $at (global.get $free))
    (global.set $free (i32.add (local.get $at) (local.get $size)))
    (drop (memory.grow (i32.add (i32.shr_u (local.get $size) (i32.const 16)) (i32.const 1))))
    (local.get $at))
  (func $packed (param $at i32) (param $size i32) (result i64)
    (i64.or
      (i64.shl (i64.extend_i32_u (local.get $at)) (i64.const 32))
      (i64.extend_i32_u (local.get $size))))
"""
ALL = ("log", "http", "kv")


def clang() -> str | None:
    """Return a compiler that makes WebAssembly, on the path or where Debian keeps it."""
    places = [shutil.which("clang"), *map(str, Path("/usr/lib").glob("llvm-*/bin/clang"))]
    for place in filter(None, places):
        targets = subprocess.run([place, "--print-targets"], capture_output=True, check=False)
        if b"wasm32" in targets.stdout and (Path(place).resolve().parent / "wasm-ld").exists():
            return place
    return None


def compile_module(compiler: str, source: Path, made: Path) -> None:
    options = "--target=wasm32 -O2 -nostdlib -mbulk-memory -Wall -Werror -Wl,--no-entry"
    """Compile a source as the documents say."""
    subprocess.run([compiler, *options.split(" "), "-o", made, source], check=True)


def module(body: str, *, host: str = HOST, data: str = "", later_alloc: str = "") -> str:
    """Return a module whose ``run`` has this body; ``data`` lies at address 16.

    ``later_alloc`` is what ``alloc`` does first from its second call on.
    """
    later = f"(if (i32.gt_u (global.get $free) (i32.const 4096)) (then {later_alloc}))"
    parts = PARTS.replace("(;alloc;)", later)
    escaped = data.replace("\\", "\\\\").replace('"', '\\"')
    at = f'(data (i32.const 16) "{escaped}")' if data else ""
    run = f'(func (export "run") (param $at i32) (param $size i32) (result i64) {body})'
    return f"(module {host} {parts} {at} {run})"


def says(answer: str, *, before: str = "") -> str:
    """Return a module that gives this answer to every call."""
    given = f"{before} (call $packed (i32.const 16) (i32.const {len(answer)}))"
    return module(given, data=answer)


def asks(*requests: JsonObject) -> str:
    """Return a module that sends these requests, and gives the last answer as its result."""
    texts = [json.dumps(one) for one in requests]
    at, calls = 32, ""
    for text in texts:
        calls += f"(local.set $said (call $http (i32.const {at}) (i32.const {len(text.encode())})))"
        at += len(text.encode())
    body = f"""
      (local $said i64) (local $out i32) (local $from i32) (local $length i32)
      {calls}
      (local.set $from (i32.wrap_i64 (i64.shr_u (local.get $said) (i64.const 32))))
      (local.set $length (i32.wrap_i64 (local.get $said)))
      (local.set $out (call $alloc (i32.add (local.get $length) (i32.const 9))))
      (memory.copy (local.get $out) (i32.const 16) (i32.const 8))
      (memory.copy (i32.add (local.get $out) (i32.const 8)) (local.get $from) (local.get $length))
      (i32.store8
        (i32.add (i32.add (local.get $out) (i32.const 8)) (local.get $length)) (i32.const 125))
      (call $packed (local.get $out) (i32.add (local.get $length) (i32.const 9)))"""
    found = module(body, data='{"data":'.ljust(16) + "".join(texts))
    # What it asks for lies below what it is given.
    return found.replace("(i32.const 4096)", f"(i32.const {max(4096, at + 64)})")


def slow_to_compile(size: int) -> str:
    """Return a module of so many nested loops, and variables that all of them change."""
    variables = "i32 " * size
    turns = "".join(
        f"(local.set {2 + n} (i32.add (local.get {2 + n}) (i32.const 1)))"
        f"(br_if 0 (local.get {2 + n})))"
        for n in range(size)
    )
    body = f"(local {variables}) {'(loop ' * size} {turns} (i64.const 0)"
    return module(body)


def plugin(text: str | bytes, *, form: Form = "wat", path: str = "p/x", **more: Any) -> PluginBody:
    """Return a plug-in of a module."""
    data = text.encode() if isinstance(text, str) else text
    fields = {"version": 1, "interface": "noetl.plugin/1", "uses": list(ALL)} | more
    shown = text if isinstance(text, str) else text.hex()
    digest = hashlib.sha256(data).hexdigest()
    return PluginBody(path=path, digest=digest, form=form, module=shown, **fields)


class World:
    """A worker's tools, and a control plane with plug-ins and the values of one execution."""

    def __init__(self, toolbox: ToolRegistry, server: ToolServer, known: JsonObject) -> None:
        self._toolbox = toolbox
        self.server = server
        self.values: JsonObject = known["values"]
        self._bodies: dict[int, PluginBody] = known["bodies"]
        self.printed: list[tuple[str, bytes]] = []

    async def run(
        self, body: PluginBody, config: JsonObject | None = None, **context_of: Any
    ) -> ToolResult:
        """Run a plug-in in a step of execution 7."""
        number = 1000 + body.version
        self._bodies[number] = body
        pin = PluginPin(path=body.path, version=body.version, catalog_id=number, digest=body.digest)
        context = ToolContext(
            variables={},
            execution_id=7,
            step="start",
            server_url=self.server.url,
            toolbox=self._toolbox,
            plugins={"p/x": pin.model_dump()},
            listener=lambda stream, data: self.printed.append((stream, data)),
            **context_of,
        )
        return await self._toolbox.run("wasm", {"plugin": "p/x", **(config or {})}, context)


def _said(known: JsonObject, asked: Asked) -> Said:
    missing = Said({"error": "none"}, status=404)
    match asked.path.split("/")[1:]:
        case ["api", "executions", "7", "plugins", number, digest]:
            body = known["bodies"][int(number)]
            return Said(body.model_dump()) if body.digest == digest else missing
        case ["api", "vars", "7", name]:
            values = known["values"]
            found = Said({"var_name": name, "var_value": values.get(name)})
            return found if name in values else missing
        case ["api", "vars", "7"]:
            for one in asked.json["variables"]:
                known["values"][one["var_name"]] = one["var_value"]
            return Said({"count": 1})
        case ["moved"]:
            return Said(b"", status=302, headers={"Location": "http://elsewhere.example/"})
        case ["echo"]:
            headers = {"X-Echo": asked.headers.get("authorization", "none")}
            return Said(asked.headers, headers=headers)
        case _:
            return Said({"asked": asked.path, "said": asked.data.decode()})


@asynccontextmanager
async def world(interpreters: InterpreterPool, **settings: Any) -> AsyncIterator[World]:
    """Open a worker's tools beside a control plane."""
    chosen = Settings(**settings)
    known: JsonObject = {"bodies": {}, "values": {}}

    with tool_server(partial(_said, known)) as server:
        async with (
            open_tool_client(
                seconds=PATIENCE_SECONDS, trust_env=False, egress=Egress.from_settings(chosen)
            ) as http,
            open_edge(chosen) as edge,
        ):
            toolbox = load_tools(
                ToolParts(settings=chosen, http=http, interpreters=interpreters, edge=edge)
            )
            try:
                yield World(toolbox, server, known)
            finally:
                await toolbox.close()
