"""Effects of scripts on their interpreter, on each other and on the worker."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any, Self

import orjson
import psutil
import pytest
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually
from noetl_worker.interpreters.guard import TreeLimits, excesses
from noetl_worker.interpreters.interpreter import Interpreter
from noetl_worker.interpreters.nursery import InterpreterLimits, make_nursery
from noetl_worker.interpreters.pool import InterpreterPool, Keeping, interpreter_pool
from noetl_worker.interpreters.run import InterpreterLost, Run


def make_job(code: str, **changes: Any) -> bytes:
    return orjson.dumps(
        {
            "code": code,
            "name": "<start>",
            "args": {"x": 1},
            "execution_id": 7,
            "step": "start",
            "server_url": "",
            **changes,
        }
    )


async def run(
    pool: InterpreterPool,
    code: str,
    *,
    seconds: float = PATIENCE_SECONDS,
    execution: int | None = 7,
    **changes: Any,
) -> Run:
    return await pool.run(make_job(code, **changes), timeout=seconds, execution=execution)


def all_at_once(count: int) -> str:
    """A script that waits for others in `place`: one after the other, none would ever end."""
    return (
        "import os, time\nopen(f'{args[\"place\"]}/{os.getpid()}', 'w').close()\n"
        f"while len(os.listdir(args['place'])) < {count}: time.sleep(0.01)"
    )


ENDS = {
    "exit": ("import sys; sys.exit(3)", 3),
    "exit without a code": ("import sys; sys.exit()", 0),
    "exit with a text": ("raise SystemExit('bad')", 1),
    "exit function": ("exit(4)", 4),
    "os._exit": ("import os; os._exit(5)", 5),
    "segmentation fault": ("import ctypes; ctypes.string_at(0)", -11),
    "abort": ("import os; os.abort()", -6),
    "kill itself": ("import os; os.kill(os.getpid(), 9)", -9),
    "memory": ("x = bytearray(2 << 30)", 1),
    "growing memory": ("x = []\nwhile True: x.append(bytearray(1 << 20))", 1),
    "deep recursion": ("def f(): return f()\nf()", 1),
    "closed descriptors": ("import os; os.closerange(0, 200); result = 1", 1),
    "closed stdout": ("import sys; sys.stdout.close(); result = 1", 0),
    "raise in a thread": (
        (
            "import threading\nt = threading.Thread(target=lambda: 1/0)\n"
            "t.start(); t.join()\nresult = 1"
        ),
        0,
    ),
    "syntax error": ("def", 1),
    "unprintable exception": (
        "class E(Exception):\n  def __str__(self): raise KeyError\nraise E()",
        1,
    ),
    "keyboard interrupt": ("raise KeyboardInterrupt", 1),
    "generator exit": ("raise GeneratorExit", 1),
    "too large a file": ("f = open('x', 'wb'); f.write(b'x' * (16 << 20)); f.flush()", 1),
    "reading stdin": ("input()", 1),
    "null byte": ("a = '\0'", 1),
}


@pytest.mark.parametrize("name", ENDS)
async def test_a_script_ends_itself_and_nothing_else(
    interpreters: InterpreterPool, name: str
) -> None:
    code, exit_code = ENDS[name]

    ended = await run(interpreters, code)
    after = await run(interpreters, "result = x + 1")

    assert exit_code == ended.exit_code
    assert (after.exit_code, after.value) == (0, 2)


HANGS = {
    "busy": "while True: pass",
    "asleep": "import time; time.sleep(1000)",
    "deaf": (
        "import signal\nfor n in (2, 15, 10):\n  signal.signal(n, signal.SIG_IGN)\nwhile True: pass"
    ),
    "in C": "import re; re.match('(a+)+$', 'a' * 64 + 'b')",
    "stopped": "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
    "in a thread": (
        "import threading, time\nthreading.Thread(target=lambda: time.sleep(1000)).start()"
    ),
    "in an exit function": "import atexit, time; atexit.register(time.sleep, 1000)",
    "in a finalizer": "class A:\n  def __del__(self):\n    while True: pass\na = A()\ndel a",
}


@pytest.mark.parametrize("name", HANGS)
async def test_a_hanging_script_is_killed_when_its_time_is_over(
    interpreters: InterpreterPool, name: str
) -> None:
    ended = await run(interpreters, HANGS[name], seconds=0.3)
    after = await run(interpreters, "result = x")

    assert ended.timed_out
    assert after.value == 1


async def test_a_script_that_stops_its_parent_is_killed_all_the_same(
    interpreters: InterpreterPool,
) -> None:
    ended = await run(
        interpreters,
        "import os, signal\nos.kill(os.getppid(), signal.SIGSTOP)\nwhile True: pass",
        seconds=0.2,
    )
    after = await run(interpreters, "result = x")

    assert ended.timed_out
    assert after.value == 1


async def test_a_script_that_kills_its_parent_is_an_end_of_that_run_only(
    interpreters: InterpreterPool,
) -> None:
    with pytest.raises(InterpreterLost):
        await run(interpreters, "import os\nos.kill(os.getppid(), 9)\nwhile True: pass")
    after = await run(interpreters, "result = x")

    assert after.value == 1


STARTED_BEFORE = {
    "a program": "pid = subprocess.Popen(['sleep', '1000'], start_new_session=True).pid",
    "a fork": "pid = os.fork()\nif not pid:\n    os.setsid()\n    time.sleep(1000)",
}


@pytest.mark.parametrize("name", STARTED_BEFORE)
async def test_what_it_started_before_that_ends_too(
    interpreters: InterpreterPool, tmp_path: Path, name: str
) -> None:
    code = f"""
import os, subprocess, time
{STARTED_BEFORE[name]}
with open({str(tmp_path / "pid")!r}, "w") as file:
    file.write(str(pid))
os.kill(os.getppid(), 9)
while True: pass
"""
    with pytest.raises(InterpreterLost):
        await run(interpreters, code)
    pid = int((tmp_path / "pid").read_text())

    await eventually(lambda: not is_alive(pid), what="it has ended")


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("again", ["", "os.mkdir(here)"])
async def test_a_script_that_removes_its_directory_has_its_result(
    interpreters: InterpreterPool, again: str
) -> None:
    code = f"import os, shutil\nhere = os.getcwd()\nshutil.rmtree(here)\n{again}\nresult = 1"

    first = await run(interpreters, code)
    after = await run(interpreters, "import os\nopen('x', 'w').close()\nresult = os.listdir()")

    assert (first.exit_code, first.value) == (0, 1)
    assert after.value == ["x"]


async def test_what_a_script_started_ends_with_it(interpreters: InterpreterPool) -> None:
    code = """
import os, subprocess, time
children = [subprocess.Popen(["sleep", "1000"]).pid]
for _ in range(5):
    pid = os.fork()
    if pid == 0:
        os.setsid()
        time.sleep(1000)
    children.append(pid)
result = children
"""
    ended = await run(interpreters, code)

    assert len(ended.value) == 6
    assert [pid for pid in ended.value if psutil.pid_exists(pid)] == []


def overgrown(pool: InterpreterPool, processes: int) -> dict[int, str]:
    limits = TreeLimits(processes=processes, memory_bytes=0, files=0, files_bytes=0)
    return excesses(pool.script_directories(), limits)


async def test_a_fork_bomb_is_killed_by_its_number_of_processes(
    interpreters: InterpreterPool,
) -> None:
    code = """
import os, time
for _ in range(40):
    if os.fork() == 0:
        time.sleep(1000)
time.sleep(1000)
"""
    running = asyncio.create_task(run(interpreters, code))
    await eventually(lambda: overgrown(interpreters, 20), what="too many processes")
    (pid,) = overgrown(interpreters, 20)
    bomb = psutil.Process(pid).children(recursive=True)
    interpreters.kill_script_of(pid)

    assert (await running).exit_code == -9
    assert len(bomb) > 20
    # Dead, if perhaps not yet buried by their new parent.
    await eventually(lambda: not any(is_alive(one.pid) for one in bomb), what="all have ended")


async def test_output_is_bounded_and_says_so(interpreters: InterpreterPool) -> None:
    ended = await run(
        interpreters,
        "import sys\nprint('o' * 3_000_000)\nprint('e' * 3_000_000, file=sys.stderr)\nresult = 1",
    )

    assert ended.value == 1
    for text in (ended.stdout, ended.stderr):
        assert len(text) < 66_000
        assert text.endswith("more bytes were dropped]")


async def test_a_result_above_the_limit_fails_its_run(interpreters: InterpreterPool) -> None:
    ended = await run(interpreters, "result = 'z' * 20_000_000")
    after = await run(interpreters, "result = x")

    assert ended.too_large
    assert not ended.has_value
    assert after.value == 1


@pytest.mark.parametrize("prefix", ["", "import os\n"])
async def test_a_result_that_cannot_be_decoded_ends_its_run(
    interpreters: InterpreterPool, prefix: str
) -> None:
    deep = await run(interpreters, f"{prefix}result = 1\nfor _ in range(5000): result = [result]")
    after = await run(interpreters, "result = x")

    assert (deep.unreadable, deep.timed_out, deep.has_value) == (True, False, False)
    assert (after.unreadable, after.value) == (False, 1)


async def test_a_large_job_and_a_large_result_come_through(interpreters: InterpreterPool) -> None:
    text = "é" * 1_000_000

    ended = await run(interpreters, "result = x[::-1]", args={"x": text + "!"})

    assert "!" + text == ended.value


VALUES: dict[str, tuple[str, Any]] = {
    "nothing": ("pass", None),
    "unicode": ("result = 'é☃💥'", "é☃💥"),
    "half a surrogate pair": (r"result = '\ud800x'", "\ufffdx"),
    "set": ("result = {2, 1}", [1, 2]),
    "date": ("import datetime\nresult = datetime.date(2026, 1, 2)", "2026-01-02"),
    "integer keys": ("result = {1: 2}", {"1": 2}),
    "return": ("if x:\n    return {'t': '''a\n  b'''}", {"t": "a\n  b"}),
    "return none": ("if not x:\n    return 5", None),
    "main": ("def main(x, y=2): return [x, y]", [1, 2]),
    "main with the rest": ("def main(**rest): return rest", {"x": 1}),
    "async main": ("async def main(x): return x", 1),
    "result wins over main": ("result = 3\ndef main(): return 4", 3),
    "globals": (
        "result = [args, input_data, execution_id, step, x]",
        [{"x": 1}, {"x": 1}, 7, "start", 1],
    ),
    "loaded modules": ("result = json.loads('[1]') + [sys.version_info[0]]", [1, 3]),
    "pickled class": (
        "import pickle\nclass A: pass\nresult = type(pickle.loads(pickle.dumps(A()))).__name__",
        "A",
    ),
    "dataclass": (
        "from dataclasses import dataclass\n@dataclass\nclass A:\n  x: 'int'\nresult = A(2).x",
        2,
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("args", "seen"),
    [
        ({"input_data": 5}, {"input_data": 5}),
        (
            {"input_data": {"a": 1, "b": 2}, "b": 3},
            {"input_data": {"a": 1, "b": 2}, "a": 1, "b": 3},
        ),
        # What templates see of an object: with a copy of itself, which was not passed.
        (
            {"input_data": {"a": 1, "data": {"a": 1}}},
            {"input_data": {"a": 1, "data": {"a": 1}}, "a": 1},
        ),
        ({"input_data": {"data": [1]}}, {"input_data": {"data": [1]}, "data": [1]}),
    ],
)
async def test_an_argument_called_input_data(
    interpreters: InterpreterPool, args: dict[str, Any], seen: dict[str, Any]
) -> None:
    code = "def main(**given): return [input_data, given]"

    ended = await run(interpreters, code, args=args)

    assert ended.value == [seen, args], ended.stderr


@pytest.mark.parametrize("name", VALUES)
async def test_the_value_of_a_script(interpreters: InterpreterPool, name: str) -> None:
    code, value = VALUES[name]

    ended = await run(interpreters, code)

    assert (0, True, value) == (ended.exit_code, ended.has_value, ended.value), ended.stderr


REFUSED = {
    "not a number": ("result = {'n': float('nan')}", "result.n is NaN: "),
    "infinity": ("result = [1, {'a b': [-1e308 * 10]}]", "result[1]['a b'][0] is -Infinity: "),
    "of a main": ("def main(): return {'rows': [{'price': 1e999}]}", "result.rows[0].price is Inf"),
    "decimal": ("from decimal import Decimal\nresult = [Decimal('nan')]", "result[0] is NaN: "),
    "circle": ("result = {'a': []}\nresult['a'].append(result)", "result.a[0] holds itself"),
    "tuple keys": ("result = {'t': {(1, 2): 3}}", "result.t has the key (1, 2): keys are texts"),
    "generator": ("result = {'g': (x for x in 'ab')}", "result.g is a generator (<generator "),
    "object": ("class A: pass\nresult = [A()]", "result[0] is a A (<__main__.A object at "),
    "function": ("def f(): pass\nresult = f", "result is a function (<function f at "),
    "many digits": ("result = {'n': 10**5000}", "result.n is an integer of more than 300 digits"),
    "digits beyond doubles": ("result = [10**400]", "result[0] is an integer of more than 300"),
    "a long key": ("result = {10**5000: 1}", "result has a key that is an integer of more than"),
    "a number of 65 bits": ("result = {'n': 2**64}", "result.n is an integer beyond 64 bits"),
    "too deep": (
        "result = [float('nan')]\nfor _ in range(3000): result = [result]",
        "is nested more than 100 levels deep",
    ),
    "range": ("result = range(10**12)", "result has 1000000000000 rows or values, which are more"),
    "a broken method": (
        "class A:\n  def __str__(self): raise KeyError('inside')\nresult = {'a': A()}",
        "result.a has no JSON: the A can't be read ('inside')",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_has_no_json_is_refused_by_name(
    interpreters: InterpreterPool, name: str
) -> None:
    code, why = REFUSED[name]

    ended = await run(interpreters, code)

    assert ended.refused is not None, ended
    assert why in ended.refused
    assert not ended.has_value
    assert (ended.exit_code, ended.stdout, ended.stderr) == (0, "", "")


async def test_a_traceback_shows_the_script_alone(interpreters: InterpreterPool) -> None:
    ended = await run(interpreters, "def f(n):\n    return 1 / n\n\nf(0)")

    assert (
        'Traceback (most recent call last):\n  File "<start>", line 4, in <module>\n    f(0)\n'
        in ended.stderr
    )
    assert "return 1 / n" in ended.stderr
    assert "ZeroDivisionError" in ended.stderr
    assert "host" not in ended.stderr


async def test_a_script_finds_no_module_of_ours(interpreters: InterpreterPool) -> None:
    code = """
import sys
def is_there(name):
    try:
        __import__(name)
    except ImportError:
        return False
    return True
ours = ["noetl_worker", "noetl_worker.hosting.host.limits", "host", "host.limits"]
result = [name for name in ours if name in sys.modules or is_there(name)]
"""

    assert (await run(interpreters, code)).value == []


LEAKS = {
    "a global": ("left = 1", "result = 'left' in globals()"),
    "a patched module": ("import json\njson.dumps = None", "result = json.dumps is None"),
    "a patched class": (
        "import json\njson.JSONEncoder.marked = 1",
        "import json\nresult = hasattr(json.JSONEncoder, 'marked')",
    ),
    "a patched builtin": (
        "import builtins\nbuiltins.left = 1",
        "result = 'left' in dir(__builtins__)",
    ),
    "a class patched by a name in a text": (
        (
            "import json, operator\n"
            "operator.methodcaller('__setattr__', json.JSONDecoder, 'decode', len)(type)"
        ),
        "import json\nresult = json.JSONDecoder.decode is len",
    ),
    "a setattr": ("setattr(json, 'left', 1)", "result = hasattr(json, 'left')"),
    "an environment variable": (
        "import os\nos.environ['LEFT'] = '1'",
        "import os\nresult = 'LEFT' in os.environ",
    ),
    "an environment variable by update": (
        "import os\nos.environ.update(LEFT='1')",
        "import os\nresult = 'LEFT' in os.environ",
    ),
    "a directory": ("import os\nos.chdir('/')", "import os\nresult = os.getcwd() == '/'"),
    "a file": ("open('left', 'w').close()", "import os\nresult = os.path.exists('left')"),
    "a module": ("import wave", "import sys\nresult = 'wave' in list(sys.modules)"),
    "a path": ("sys.path.append('/left')", "import sys\nresult = '/left' in list(sys.path)"),
    "a logger": (
        "import logging\nlogging.basicConfig()",
        "import logging\nresult = bool(logging.root.handlers)",
    ),
    "a signal handler": (
        "import signal\nsignal.signal(signal.SIGUSR2, signal.SIG_IGN)",
        "import signal\nresult = signal.getsignal(signal.SIGUSR2) == signal.SIG_IGN",
    ),
    "a decimal precision": (
        "import decimal\ndecimal.getcontext().prec = 3",
        "import decimal\nresult = decimal.getcontext().prec == 3",
    ),
    "a recursion limit": (
        "sys.setrecursionlimit(50_000)",
        "import sys\nresult = sys.getrecursionlimit() == 50_000",
    ),
    "a dialect": (
        "import csv\ncsv.register_dialect('left')",
        "import csv\nresult = 'left' in csv.list_dialects()",
    ),
    "a trace of the old result": ("result = 5", "result = 'result' in globals()"),
    "a renamed self": (
        "import json\nself = json\nself.left = 1",
        "import json\nresult = hasattr(json, 'left')",
    ),
    "a printed finalizer": (
        "class A:\n  def __del__(self): print('left')\na = A()\na.me = a",
        "result = False",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LEAKS)
async def test_a_script_does_not_meet_another_one(interpreters: InterpreterPool, name: str) -> None:
    leaving, finding = LEAKS[name]

    left = await run(interpreters, leaving, execution=1)
    found = await run(interpreters, finding, execution=2)

    assert left.exit_code == 0, left.stderr
    assert (found.exit_code, found.value, found.stdout) == (0, False, ""), found.stderr


# A module of the standard library may be there already: that is no more than a faster import.
@pytest.mark.parametrize("name", sorted(LEAKS.keys() - {"a module"}))
async def test_a_script_does_not_meet_another_one_of_its_execution(
    interpreters: InterpreterPool, name: str
) -> None:
    leaving, finding = LEAKS[name]

    left = await run(interpreters, leaving)
    found = await run(interpreters, finding)

    assert left.exit_code == 0, left.stderr
    assert (found.exit_code, found.value, found.stdout) == (0, False, ""), found.stderr


PID = "import os\nresult = os.getpid()"


async def test_scripts_of_an_execution_share_a_process(interpreters: InterpreterPool) -> None:
    pids = {(await run(interpreters, PID)).value for _ in range(5)}

    assert len(pids) == 1


async def test_executions_share_no_process(interpreters: InterpreterPool) -> None:
    pids = [(await run(interpreters, PID, execution=number % 7)).value for number in range(21)]

    by_pid = {pid: {at % 7 for at in range(21) if pids[at] == pid} for pid in pids}
    assert [executions for executions in by_pid.values() if len(executions) > 1] == []


async def test_a_script_without_an_execution_has_a_process_of_its_own(
    interpreters: InterpreterPool,
) -> None:
    pids = [(await run(interpreters, PID, execution=number)).value for number in (None, None, 7)]

    assert len(set(pids)) == 3


TRACES = {
    "a failure": "1 / 0",
    "an exit": "raise SystemExit(3)",
    "a daemon thread": (
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()"
    ),
    "a process": "import subprocess\nsubprocess.Popen(['sleep', '1000'])",
    "a shell": "import os\nos.system('true')",
    "a fork": "import os\nif not os.fork(): os._exit(0)",
    "a file": "open('left', 'w').close()",
    "an open file": "import os\nos.open('/dev/null', 0)",
    "another stdout": "import os\nos.dup2(0, 1)",
    "a stdout object": "import io\nsys.stdout = io.StringIO()",
    "a directory": "import os\nos.chdir('/')",
    "an environment variable": "import os\nos.environ['LEFT'] = '1'",
    "a mask of files": "import os\nos.umask(0o1)",
    "a signal handler": "import signal\nsignal.signal(signal.SIGUSR2, signal.SIG_IGN)",
    "an alarm": "import signal\nsignal.alarm(1000)",
    "a builtin": "import builtins\nbuiltins.len = abs",
    "a patched class": "json.JSONEncoder.item_separator = 1",
    "an import path": "sys.path.append('/left')",
    "a module": "import types\nsys.modules['left'] = types.ModuleType('left')",
    "memory": "result = None\nx = bytearray(96 << 20)",
    "an exit function": "import atexit\natexit.register(print)",
    "a collector switched off": "import gc\ngc.disable()",
    "a warning filter": "import warnings\nwarnings.simplefilter('error')",
    "a timeout of sockets": "import socket\nsocket.setdefaulttimeout(1)",
    "native code": "import ctypes\nctypes.CDLL(None)",
    "a limit": "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (1000, 1000))",
}


@pytest.mark.parametrize("name", TRACES)
async def test_a_process_ends_with_the_script_that_left_a_trace(
    interpreters: InterpreterPool, name: str
) -> None:
    before = (await run(interpreters, PID)).value
    left = await run(interpreters, f"{TRACES[name]}\n")
    after = (await run(interpreters, PID)).value

    assert not left.timed_out
    assert before != after


@pytest.mark.parametrize("changes", [{"env": {"A": "b"}}, {"cwd": "/"}])
async def test_a_process_with_its_own_surroundings_is_not_kept(
    interpreters: InterpreterPool, changes: dict[str, Any]
) -> None:
    pids = [(await run(interpreters, PID, **given)).value for given in (changes, {}, {})]

    assert pids[0] != pids[1] == pids[2]


async def test_a_process_stays_after_a_harmless_script(interpreters: InterpreterPool) -> None:
    code = """
import csv, datetime, decimal, io, os, re, tempfile, wave
with tempfile.TemporaryFile() as file:
    file.write(b"x")
with open("gone", "w") as file:
    file.write("x")
os.unlink("gone")
class A:
    def __init__(self):
        self.me = self
print(A(), re.findall("a+", "aa"), datetime.date.today())
rows = list(csv.reader(io.StringIO("a,b")))
with decimal.localcontext() as context:
    context.prec = 3
result = os.getpid()
"""
    pids = {(await run(interpreters, code)).value for _ in range(4)}

    assert len(pids) == 1


async def test_a_killed_script_takes_its_kept_process_with_it(
    interpreters: InterpreterPool,
) -> None:
    before = (await run(interpreters, PID)).value
    hung = await run(interpreters, "while True: pass", seconds=0.2)
    after = (await run(interpreters, PID)).value

    assert (hung.timed_out, hung.has_value) == (True, False)
    assert not psutil.pid_exists(before)
    assert before != after


async def test_a_kept_process_that_dies_fails_no_script_of_another_execution(
    interpreters: InterpreterPool,
) -> None:
    for number in range(8):
        pid = (await run(interpreters, PID, execution=number)).value
        psutil.Process(pid).kill()

    assert [(await run(interpreters, "result = x", execution=n)).value for n in (20, 21)] == [1, 1]


async def test_a_kept_process_ends_when_it_has_waited_for_long(
    interpreter_limits: InterpreterLimits,
) -> None:
    async with interpreter_pool(
        executable=None, limits=interpreter_limits, size=2, warm=0, keeping=Keeping(2, 0.2)
    ) as pool:
        pid = (await run(pool, PID)).value

        await eventually(lambda: not psutil.pid_exists(pid), what="it is gone")
        assert (await run(pool, "result = x")).value == 1


async def test_interpreters_of_a_rush_end_with_the_processes_that_they_kept(
    interpreter_limits: InterpreterLimits, tmp_path: Path
) -> None:
    async with interpreter_pool(
        executable=None, limits=interpreter_limits, size=12, warm=2, keeping=Keeping(12, 1.0)
    ) as pool:
        rush = f"{all_at_once(10)}\nresult = os.getcwd()"
        given = {"place": str(tmp_path)}
        ends = await asyncio.gather(*(run(pool, rush, execution=n, args=given) for n in range(10)))
        directories = [Path(ended.value) for ended in ends]
        assert len(set(directories)) == 10

        await eventually(
            lambda: sum(one.exists() for one in directories) <= 3, what="most of them are gone"
        )
        await eventually(lambda: len(pool._all) == 3, what="some stay for the next executions")
        again = [run(pool, "result = x", execution=20 + n) for n in range(5)]
        assert [ended.value for ended in await asyncio.gather(*again)] == [1] * 5


async def test_no_more_processes_are_kept_than_allowed(
    interpreter_limits: InterpreterLimits,
) -> None:
    async with interpreter_pool(
        executable=None, limits=interpreter_limits, size=4, warm=4, keeping=Keeping(1, 60)
    ) as pool:
        first = (await run(pool, PID, execution=1)).value
        second = (await run(pool, PID, execution=2)).value

        await eventually(lambda: not psutil.pid_exists(first), what="the oldest is gone")
        assert (await run(pool, PID, execution=2)).value == second


async def test_keeping_none_gives_each_script_a_process(
    interpreter_limits: InterpreterLimits,
) -> None:
    async with interpreter_pool(
        executable=None, limits=interpreter_limits, size=1, warm=0, keeping=Keeping(0, 60)
    ) as pool:
        pids = {(await run(pool, PID)).value for _ in range(3)}

    assert len(pids) == 3


async def test_many_executions_at_once_on_few_processes(interpreters: InterpreterPool) -> None:
    async def chain(number: int) -> list[Any]:
        return [
            (await run(interpreters, "result = x", execution=number, args={"x": step})).value
            for step in range(8)
        ]

    chains = await asyncio.gather(*(chain(number) for number in range(12)))

    assert chains == [list(range(8))] * 12


async def test_the_same_seed_is_not_used_twice(interpreters: InterpreterPool) -> None:
    await run(interpreters, "import random\nrandom.seed(1)\nresult = 1")
    values = {
        (await run(interpreters, "import random\nresult = random.random()")).value for _ in range(3)
    }

    assert len(values) == 3
    assert 0.13436424411240122 not in values


async def test_scripts_see_the_standard_library_and_nothing_of_ours(
    interpreters: InterpreterPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOETL_TEST_SECRET", "s3cret")
    code = """
import importlib.util, os, sys
result = {
    "found": [n for n in ("noetl_worker", "orjson", "pip") if importlib.util.find_spec(n)],
    "names": sorted(os.environ),
    "path": sys.path,
    "argv": sys.argv,
}
"""
    # A fresh interpreter: the environment is that of its start.
    seen = (await interpreters.run(make_job(code), timeout=PATIENCE_SECONDS, executable=None)).value

    assert seen["found"] == []
    assert "NOETL_TEST_SECRET" not in seen["names"]
    assert {"HOME", "LANG", "LC_ALL", "PATH", "PYTHONDONTWRITEBYTECODE", "TMPDIR"} <= set(
        seen["names"]
    )
    assert not [entry for entry in seen["path"] if "site-packages" in entry or "noetl" in entry]


async def test_environment_and_directory_of_a_job(
    interpreters: InterpreterPool, tmp_path: Path
) -> None:
    ended = await run(
        interpreters,
        "import os\nresult = [os.environ['A'], os.getcwd()]",
        env={"A": "b"},
        cwd=str(tmp_path),
    )
    missing = await run(interpreters, "result = 1", cwd=str(tmp_path / "missing"))

    assert ["b", str(tmp_path)] == ended.value
    assert missing.cwd_error == "No such file or directory (os error 2)"


async def test_cancelling_a_run_kills_the_script(interpreters: InterpreterPool) -> None:
    running = asyncio.create_task(run(interpreters, "while True: pass"))
    await eventually(interpreters.script_pids, what="it runs")
    (zygote,) = interpreters.script_pids()
    await eventually(lambda: busy_below(zygote), what="it is busy")
    (script,) = busy_below(zygote)

    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    await eventually(lambda: not script.is_running(), what="it is gone")
    assert (await run(interpreters, "result = x")).value == 1


def busy_below(pid: int) -> list[psutil.Process]:
    return [one for one in psutil.Process(pid).children() if one.cpu_times().user > 0.05]


async def test_scripts_run_side_by_side(interpreters: InterpreterPool, tmp_path: Path) -> None:
    code = f"{all_at_once(4)}\nresult = 1"
    scripts = [run(interpreters, code, args={"place": str(tmp_path)}) for _ in range(4)]

    assert [one.value for one in await asyncio.gather(*scripts)] == [1, 1, 1, 1]


def nursery_of(pool: InterpreterPool) -> psutil.Process:
    process = pool._nursery._process
    assert process is not None
    return psutil.Process(process.pid)


class Turns:
    """Counts the turns of the loop for others: a handful when something blocks it."""

    def __init__(self) -> None:
        self.count = 0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0.001)
            self.count += 1


async def test_a_nursery_that_was_killed_is_started_again(
    interpreter_limits: InterpreterLimits,
) -> None:
    async with interpreter_pool(
        executable=None, limits=interpreter_limits, size=1, warm=1, keeping=Keeping(1, 60)
    ) as pool:
        nursery_of(pool).kill()
        await eventually(lambda: not pool._all, what="its zygote has ended")

        assert (await run(pool, "result = x")).value == 1


async def test_a_zygote_awaits_its_end_and_its_scripts_are_open_to_signals(
    interpreters: InterpreterPool,
) -> None:
    """A signal that is handled may come just before the wait for a script, which then goes on."""
    code = (
        "import os, signal, time\n"
        "result = [os.getppid(), list(signal.pthread_sigmask(signal.SIG_BLOCK, [])),"
        " signal.getsignal(signal.SIGTERM) == signal.SIG_DFL]"
    )
    zygote, blocked, is_usual = (await run(interpreters, code)).value
    lines = Path(f"/proc/{zygote}/status").read_text().splitlines()  # noqa: ASYNC240 -- a look
    caught = int(next(line for line in lines if line.startswith("SigCgt:")).split()[1], 16)

    assert not caught >> (signal.SIGTERM - 1) & 1
    assert (blocked, is_usual) == ([], True)


async def test_scripts_whose_nursery_is_killed_fail_and_the_next_ones_run(
    interpreter_limits: InterpreterLimits,
) -> None:
    async with interpreter_pool(
        executable=None, limits=interpreter_limits, size=2, warm=2, keeping=Keeping(2, 60)
    ) as pool:
        running = [
            asyncio.create_task(run(pool, "while True: pass", execution=number))
            for number in (1, 2)
        ]
        await eventually(lambda: len(pool.script_pids()) == 2, what="both run")
        directories = [psutil.Process(pid).cwd() for pid in pool.script_pids()]
        waiting = asyncio.create_task(run(pool, "result = x", execution=3))
        async with Turns() as turns:
            nursery_of(pool).kill()

            ends = await asyncio.wait_for(
                asyncio.gather(*running, return_exceptions=True), PATIENCE_SECONDS
            )
            assert (await asyncio.wait_for(waiting, PATIENCE_SECONDS)).value == 1

    assert [type(end) for end in ends] == [InterpreterLost, InterpreterLost]
    assert [one for one in directories if os.path.exists(one)] == []  # noqa: ASYNC240, PTH110  a look, nothing slow
    assert turns.count > 10


async def test_a_stopped_nursery_goes_on_and_holds_nothing_up(
    interpreter_limits: InterpreterLimits,
) -> None:
    async with interpreter_pool(
        executable=None, limits=interpreter_limits, size=2, warm=1, keeping=Keeping(2, 60)
    ) as pool:
        first = asyncio.create_task(run(pool, "import time\ntime.sleep(2.5)\nresult = x"))
        await eventually(pool.script_pids, what="it runs")
        async with Turns() as turns:
            nursery_of(pool).suspend()

            # The pool has to grow for it.
            assert (await run(pool, "result = x", execution=8)).value == 1
        assert (await first).value == 1

    assert turns.count > 10


async def test_a_start_is_given_up_while_the_nursery_does_not_answer(
    interpreter_limits: InterpreterLimits,
) -> None:
    async with interpreter_pool(
        executable=None, limits=interpreter_limits, size=2, warm=1, keeping=Keeping(2, 60)
    ) as pool:
        first = asyncio.create_task(run(pool, "while True: pass"))
        await eventually(pool.script_pids, what="it runs")
        nursery_of(pool).suspend()
        second = asyncio.create_task(run(pool, "result = x", execution=8))
        await eventually(lambda: pool._starting, what="the next one starts")

    ends = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(end) for end in ends] == [InterpreterLost, InterpreterLost]


async def test_closing_ends_running_scripts_and_removes_their_files(
    interpreter_limits: InterpreterLimits,
) -> None:
    async with interpreter_pool(
        executable=None, limits=interpreter_limits, size=2, warm=0, keeping=Keeping(2, 5)
    ) as pool:
        code = "import subprocess\nsubprocess.Popen(['sleep', '1000'])\nwhile True: pass"
        running = asyncio.create_task(run(pool, code))
        await eventually(lambda: overgrown(pool, 1), what="it runs")
        below = psutil.Process(pool.script_pids()[0]).children(recursive=True)
        directory = psutil.Process(pool.script_pids()[0]).cwd()

    with pytest.raises(InterpreterLost):
        await running
    assert not os.path.exists(directory)  # noqa: ASYNC240, PTH110  a look, nothing slow
    assert [one for one in below if one.is_running()] == []


async def test_a_worker_that_is_gone_leaves_no_directory_whatever_tells_first(
    interpreter_limits: InterpreterLimits,
) -> None:
    """The kernel closes its pipes before it sends the signal of its death."""
    nursery = make_nursery(executable=None, limits=interpreter_limits)
    interpreter = await Interpreter.start(
        nursery=nursery, limits=interpreter_limits, on_free=lambda _: None
    )
    asyncio.get_running_loop().remove_reader(interpreter._control)
    with Path(os.devnull).open("rb") as nothing:  # noqa: ASYNC230  it never blocks
        for descriptor in (interpreter._job, interpreter._control):
            os.dup2(nothing.fileno(), descriptor)

    try:
        await eventually(
            lambda: not Path(interpreter._directory).exists(), what="the directory is gone"
        )
    finally:
        await interpreter.close()
        await nursery.close()


STARTS_AND_DIES = """
import asyncio, os
from noetl_worker.hosting.fork_server import both_ends
from noetl_worker.interpreters.nursery import PREFIX, InterpreterLimits, make_nursery
async def start():
    limits = InterpreterLimits(
        memory_bytes=0, file_bytes=0, output_bytes=1000, result_bytes=1000
    )
    with both_ends() as ends:
        directory = ends.directory(PREFIX, "")
        pipes = [ends.to_write(), *(ends.to_read() for _ in range(4))]
        await make_nursery(executable=None, limits=limits).fork(directory.encode(), ends)
        print(directory, flush=True)
        os.kill(os.getpid(), 9)
asyncio.run(start())
"""


async def test_an_interpreter_that_starts_while_its_worker_dies_leaves_no_directory() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STARTS_AND_DIES, stdout=asyncio.subprocess.PIPE
    )
    said = (await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS))[0].decode().strip()

    assert "noetl-python-" in said
    await eventually(lambda: not Path(said).exists(), what="the directory is gone")


@pytest.mark.parametrize("next_execution", [1, 2])
async def test_a_run_cancelled_as_its_script_ends_leaves_the_next_one_alone(
    interpreter_limits: InterpreterLimits, next_execution: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = Interpreter._finish

    async with interpreter_pool(
        executable=None, limits=interpreter_limits, size=1, warm=1, keeping=Keeping(1, 60)
    ) as pool:
        first = asyncio.create_task(run(pool, "result = 1", execution=1))
        second = asyncio.create_task(
            run(pool, "import time; time.sleep(0.02); result = 2", execution=next_execution)
        )

        def finish_and_cancel(interpreter: Interpreter, found: Run) -> None:
            finish(interpreter, found)
            if not first.done():
                asyncio.get_running_loop().call_soon(first.cancel)

        monkeypatch.setattr(Interpreter, "_finish", finish_and_cancel)
        _, found = await asyncio.gather(first, second, return_exceptions=True)

    assert isinstance(found, Run)
    assert (found.exit_code, found.value) == (0, 2)


async def test_a_changed_process_leaves_the_next_job_to_another_one(
    interpreters: InterpreterPool,
) -> None:
    changed = await run(interpreters, "import os\nos.environ['MINE'] = '1'\nresult = os.getpid()")
    after = await run(interpreters, "import os\nresult = [os.getpid(), os.environ.get('MINE')]")

    assert after.value[0] != changed.value
    assert after.value[1] is None


async def test_the_signal_of_a_changed_process_given_by_a_script_is_its_end(
    interpreters: InterpreterPool,
) -> None:
    await run(interpreters, "result = 1")
    ended = await run(interpreters, "import os\nos.kill(os.getpid(), 64)")
    after = await run(interpreters, "result = x")

    assert (ended.exit_code, ended.has_value) == (-64, False)
    assert after.value == 1
