"""Plug-ins in a real runtime: their rights, and the ends of those that exceed them."""

import asyncio
import base64
import gzip
import hashlib
import json
import resource
import signal
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from noetl_contract.plugins.document import PluginBody, PluginLimits, read_plugin
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually
from noetl_tool_wasm import compiler
from noetl_worker.hosting.fork_server import Ends, ForkServer
from noetl_worker.hosting.process import HostedProcess
from noetl_worker.interpreters.pool import InterpreterPool
from noetl_worker.tools.tool import ToolError
from tool_server import Asked, Said
from wasm_modules import (
    EXAMPLES,
    HOST,
    World,
    asks,
    clang,
    compile_module,
    module,
    plugin,
    says,
    slow_to_compile,
    world,
)

LOOP = "(loop $again (br $again)) (unreachable)"
PINNED = PluginLimits(fuel=10**12, seconds=0.1)


@pytest.fixture(autouse=True)
def patient_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processor time alone end a compilation: its clock is the machine's affair."""
    monkeypatch.setattr(compiler, "_BESIDE_SECONDS", PATIENCE_SECONDS)


@pytest.fixture
async def here(interpreters: InterpreterPool) -> AsyncIterator[World]:
    async with world(interpreters, worker_http_body_bytes=1 << 20) as found:
        yield found


def example(name: str, **module_of: str) -> PluginBody:
    document = yaml.safe_load((EXAMPLES / name).read_text())
    if module_of:
        document["spec"]["module"] = module_of
    return read_plugin(document).model_copy(update={"path": "p/x", "version": 1})


async def ended(here: World, body: PluginBody, **config: Any) -> str:
    with pytest.raises(ToolError) as raised:
        await here.run(body, config)
    return str(raised.value).removeprefix("Plug-in error: ").removeprefix("p/x@1 was ended: ")


async def test_the_example_gets_its_input_and_logs(here: World) -> None:
    done = await here.run(example("echo.yaml"), {"input": {"a": [1, "ä"] * 50_000}})
    again = await here.run(example("echo.yaml"), {"input": {"a": 1}})

    assert done.status == "success"
    assert done.data["step"] == "start"
    assert done.data["input"] == {"a": [1, "ä"] * 50_000}
    assert again.data["input"] == {"a": 1}, "nothing is left of the run before"
    assert again.stdout == "echo ran\n"
    assert here.printed == [("stdout", b"echo ran\n")] * 2
    assert len(here.server.asked) == 1, "a plug-in is asked for once"


async def test_the_example_in_c_is_compiled_and_runs(here: World, tmp_path: Path) -> None:
    found = clang()
    if found is None:
        pytest.skip("no clang with wasm-ld")
    source, made = EXAMPLES / "wordcount" / "wordcount.c", tmp_path / "wordcount.wasm"
    compile_module(found, source, made)
    packed = base64.b64encode(gzip.compress(made.read_bytes())).decode()
    body = example("wordcount/plugin.yaml", gzip=packed)

    done = await here.run(body, {"input": {"text": "one two  three"}})
    without = await here.run(body, {"input": {}})

    assert body.digest == hashlib.sha256(made.read_bytes()).hexdigest()
    assert (done.data, done.stdout) == ({"words": 3}, "counted\n")
    assert (without.status, without.error) == ("error", "wordcount needs a text")


async def test_an_endless_loop_ends_by_its_fuel_or_its_time(here: World) -> None:
    hungry = plugin(module(LOOP), limits=PluginLimits(fuel=1_000_000))
    slow = plugin(module(LOOP), version=2, limits=PINNED)

    by_fuel = await ended(here, hungry)
    by_time = await here.run(slow)

    assert by_fuel == "it used up its fuel of 1000000"
    assert (by_time.status, by_time.error) == ("timeout", "Execution timed out after 0.1 seconds")


async def test_the_event_loop_goes_on_and_a_cancelled_run_is_gone(here: World) -> None:
    body = plugin(module(LOOP), limits=PluginLimits(fuel=10**12, seconds=50))
    runs = [asyncio.create_task(here.run(body)) for _ in range(6)]
    quick = plugin(says('{"data":1}'), version=2)

    # Four have an engine, two wait for one.
    await eventually(lambda: bool(here.server.asked), what="the plug-in is asked for")
    for one in runs:
        one.cancel()
    told = await asyncio.gather(*runs, return_exceptions=True)
    after = await here.run(quick)

    assert all(isinstance(one, asyncio.CancelledError) for one in told)
    assert after.data == 1


class Held:
    """Compilers of the worker that are stopped before they have read their module."""

    def __init__(self) -> None:
        self.is_holding = True
        self.processes: list[HostedProcess] = []
        self._seconds: dict[int, float] = {}

    async def fork(
        self, fork: Callable[..., Any], server: ForkServer, request: bytes, ends: Ends
    ) -> HostedProcess:
        process: HostedProcess = await fork(server, request, ends)
        if "noetl_tool_wasm.compile" in server._arguments:
            if self.is_holding:
                process.send_signal(signal.SIGSTOP)
            self._seconds[process.pid] = json.loads(request)["seconds"]
            self.processes.append(process)
        return process

    @property
    def living(self) -> list[HostedProcess]:
        return [one for one in self.processes if not one.has_ended]

    def use_up_their_time(self, *, of_seconds: float | None = None) -> None:
        """End those that live as the system ends one whose processor time is over."""
        for one in self.living:
            if of_seconds in {None, self._seconds[one.pid]}:
                resource.prlimit(one.pid, resource.RLIMIT_CORE, (0, 0))
                one.send_signal(signal.SIGXCPU)
                one.send_signal(signal.SIGCONT)

    def go_on(self) -> None:
        for one in self.living:
            one.send_signal(signal.SIGCONT)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    held = Held()
    fork = ForkServer.fork

    async def forked(server: ForkServer, request: bytes, ends: Ends) -> HostedProcess:
        return await held.fork(fork, server, request, ends)

    monkeypatch.setattr(ForkServer, "fork", forked)
    return held


async def test_a_compilation_is_bounded(interpreters: InterpreterPool) -> None:
    # Those need seconds on any machine, and more than a second has nobody.
    slow, large = plugin(slow_to_compile(1500)), plugin(slow_to_compile(1501))

    async with world(interpreters, wasm_compile_seconds=1) as here:
        told = await ended(here, slow)
    async with world(interpreters, wasm_compile_memory_bytes=256 << 20) as here:
        too_large = await ended(here, large)

    assert told == "it can't be compiled within 1 seconds of processor time"
    assert too_large == "it can't be compiled with 268435456 bytes of memory"


async def test_a_compilation_holds_up_nobody(interpreters: InterpreterPool, held: Held) -> None:
    slow = plugin(says('{"data":2}'))
    quick = plugin(says('{"data":1}'), version=3)
    over = "it can't be compiled within 1 seconds of processor time"

    async with world(interpreters, wasm_slots=1, wasm_compile_seconds=1) as here:
        first = asyncio.create_task(here.run(quick))
        await eventually(lambda: held.living, what="it is being compiled")
        held.go_on()
        await first
        steps = [asyncio.create_task(ended(here, slow)) for _ in range(6)]
        await eventually(lambda: held.living, what="the other one is being compiled")
        beside = [(await here.run(quick)).data for _ in range(3)]
        still = [one.done() for one in steps]
        held.use_up_their_time()
        told = await asyncio.gather(*steps)
        again = await ended(here, slow)

    assert beside == [1] * 3, "those that are compiled run meanwhile, although there is one slot"
    assert (still, told, again) == ([False] * 6, [over] * 6, over)
    assert len(held.processes) == 2, "one for all who want it, and it isn't tried again"


async def test_slow_compilations_keep_no_quick_one_waiting(
    interpreters: InterpreterPool, held: Held
) -> None:
    async with world(interpreters, wasm_compile_seconds=5) as here:
        slow = [
            asyncio.create_task(here.run(plugin(says(f'{{"data":{n}}}'), version=n)))
            for n in range(1, 4)
        ]
        await eventually(lambda: len(held.living) == 2, what="two are being compiled")
        held.use_up_their_time()
        # One begins again, and the other one waits behind it; the third has its first try.
        await eventually(lambda: len(held.processes) == 4, what="two others are being compiled")
        held.use_up_their_time(of_seconds=2.0)
        held.is_holding = False
        quick = await here.run(plugin(says('{"data":4}'), version=4))
        beside = [one.done() for one in slow]
        for one in slow:
            one.cancel()
        await asyncio.gather(*slow, return_exceptions=True)

    assert (quick.data, beside) == (4, [False] * 3)


async def test_a_compiler_that_was_killed_is_started_again(
    interpreters: InterpreterPool, held: Held
) -> None:
    slow = plugin(says('{"data":1}'))
    async with world(interpreters) as here:
        for _ in range(2):
            step = asyncio.create_task(ended(here, slow))
            await eventually(lambda: held.living, what="it is compiled")
            held.processes[-1].kill()
            assert await step == "it can't be compiled: the compiler ended with -9"

    assert len(held.processes) == 2


async def test_a_worker_that_stops_leaves_no_compilation(
    interpreters: InterpreterPool, held: Held
) -> None:
    async with world(interpreters) as here:
        step = asyncio.create_task(here.run(plugin(says('{"data":1}'))))
        await eventually(lambda: held.living, what="it is being compiled")
    with pytest.raises(asyncio.CancelledError):
        await step

    assert (len(held.processes), held.living) == (1, [])


async def test_a_module_has_a_bounded_number_of_functions(here: World) -> None:
    text = says('{"data":1}').removesuffix(")") + "(func)" * 50_000 + ")"

    assert await ended(here, plugin(text)) == "it has 50003 functions; the limit is 50000"


async def test_a_memory_bomb_ends_by_name(here: World) -> None:
    grows = module(
        "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))"
        " (unreachable)"
    )
    limits = PluginLimits(memory_bytes=4 << 20)

    grown = await ended(here, plugin(grows, limits=limits))
    from_step = await ended(here, plugin(grows), memory_bytes=1 << 20)
    begun = await ended(
        here, plugin(says("{}").replace('"memory") 1)', '"memory") 1000)'), limits=limits)
    )

    assert grown == "its memory reached the limit of 4194304 bytes"
    assert from_step == "its memory reached the limit of 1048576 bytes"
    assert "memory" in begun


async def test_a_forbidden_call_ends_by_name(here: World) -> None:
    request = '{"url":"http://elsewhere.example/x"}'
    calls = module(f"(call $http (i32.const 16) (i32.const {len(request)}))", data=request)
    wasi = HOST + '(import "wasi_snapshot_preview1" "fd_write" (func (param i32) (result i32)))'

    host = await ended(here, plugin(calls, allowed_hosts=["example.org", "*.example.org"]))
    undeclared = await ended(here, plugin(calls, version=2, uses=["log"]))
    strange = await ended(here, plugin(module(LOOP, host=wasi), version=3))

    assert host == ("it called http for 'elsewhere.example', which is not in its allowed_hosts")
    assert "'noetl.http': 'uses' has to name 'http'" in undeclared
    assert "imports function 'wasi_snapshot_preview1.fd_write', which no worker has" in strange


async def test_an_answer_that_never_comes_ends_with_the_time_of_the_run(here: World) -> None:
    over = threading.Event()
    known = here.server.answer

    def answer(asked: Asked) -> Said:
        if asked.path == "/never":
            over.wait(PATIENCE_SECONDS)
        return known(asked)

    here.server.answer = answer
    text = asks({"url": f"{here.server.url}/never"})
    hosts = [here.server.url.removeprefix("http://")]
    limits = PluginLimits(seconds=0.3)
    try:
        done = await here.run(plugin(text, allowed_hosts=hosts, limits=limits))
        after = await here.run(plugin(says('{"data":1}'), version=2))
    finally:
        over.set()

    assert (done.status, done.error) == ("timeout", "Execution timed out after 0.3 seconds")
    assert after.data == 1


async def test_http_goes_to_allowed_hosts_and_follows_nothing(here: World) -> None:
    port = here.server.url.rpartition(":")[2]
    allowed = {"allowed_hosts": [f"127.0.0.1:{port}"]}
    # The answer is JSON, and so is {"data": it}: here it is the whole result, without `data`.
    request = f'{{"url":"{here.server.url}/x","method":"POST","body":"hi"}}'
    body = f"(call $http (i32.const 16) (i32.const {len(request)}))"
    moved = f'{{"url":"{here.server.url}/moved"}}'
    drop = f"(drop (call $http (i32.const 16) (i32.const {len(moved)})))"

    odd = await ended(here, plugin(module(body, data=request), **allowed))
    await ended(here, plugin(module(f"{drop} (unreachable)", data=moved), version=2, **allowed))

    assert odd == "p/x@1: its result has neither `data` nor `error`"
    assert here.server.paths()[1::2] == ["POST /x", "GET /moved"]
    assert here.server.asked[1].data == b"hi"


async def test_values_are_kept_for_the_execution_and_this_plugin(here: World) -> None:
    # "count" at 16, a result at 24, and a value at 40.
    data = "count   " + '{"data":[4,2]}'.ljust(16) + "[4,2]"
    key, value = "(i32.const 16) (i32.const 5)", "(i32.const 40) (i32.const 5)"
    sets = module(
        f"(call $kv_set {key} {value}) (call $packed (i32.const 24) (i32.const 14))", data=data
    )
    gets = module(
        f"(if (i64.eqz (call $kv_get {key})) (then (unreachable)))"
        " (call $packed (i32.const 24) (i32.const 14))",
        data=data,
    )

    missing = await ended(here, plugin(gets, path="p/y"))
    kept = await here.run(plugin(sets, version=2))
    found = await here.run(plugin(gets, version=3))

    assert "unreachable" in missing
    assert kept.data == found.data == [4, 2]
    assert [(len(name), value) for name, value in here.values.items()] == [(29, [4, 2])]


async def test_what_is_no_module_of_the_interface_is_told(here: World) -> None:
    told = {
        "nonsense": "can't be compiled: ",
        "(module)": "it exports no memory 'memory'",
        says("x"): "its result is no JSON",
        says('{"data":[NaN]}'): "result.data[0] is NaN",
        says("[1]"): "its result has neither `data` nor `error`",
        module("(i64.const -1)"): "its result has 4294967295 bytes",
        module("(i64.const 0x7fffffff00000005)"): "which it hasn't got",
        module("(unreachable)"): "bytes of memory in use",
        module("(i64.div_u (i64.const 1) (i64.const 0))"): "integer divide by zero",
        says("{}").replace("(result i64) ", "(result i64) (local i32) ", 1): "neither",
        says("{}")
        .replace('"alloc") (param $size i32)', '"alloc") (param $size i64)')
        .replace("(local.get $size)", "(i32.wrap_i64 (local.get $size))"): "",
    }

    for number, (text, wanted) in enumerate(told.items(), start=1):
        assert wanted in await ended(here, plugin(text, version=number)), text


async def test_an_execution_without_the_plugin_says_so(here: World) -> None:
    body = plugin(says('{"data":1}'))

    unknown = await ended(here, body, plugin="p/z")
    here.server.answer = lambda _: Said({}, status=404)
    gone = await ended(here, body.model_copy(update={"version": 9}))

    assert unknown == "plug-in 'p/z' was not registered when the execution began"
    assert gone == "p/x@9 is not there any more"
