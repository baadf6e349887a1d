"""The shell tool: run a command line.

In a process of a warm interpreter, which becomes the shell: so a command has the limits, the
clean environment and the private directory of a script, and ends with all it started when its
time is over, when the command is given up, and when the worker dies.
"""

import sys
from time import perf_counter

from noetl_contract.json import JsonObject

from noetl_worker import jsonb
from noetl_worker.hosting.fork_server import StartFailed
from noetl_worker.interpreters.pool import InterpreterPool
from noetl_worker.interpreters.run import InterpreterLost, Run
from noetl_worker.tools.errors import NeverBegan
from noetl_worker.tools.fields import Fields
from noetl_worker.tools.tool import (
    Failure,
    Tool,
    ToolContext,
    ToolError,
    ToolParts,
    ToolResult,
    over_time,
)

# Nothing of the interpreter may reach the shell: neither its pipes nor the signals it ignores.
# Only a shell that can't be started leaves a result.
_BECOME_SHELL = """
import os, signal
for number in (signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(number, signal.SIG_DFL)
for name in os.listdir("/dev/fd"):
    if int(name) > 2:
        try:
            os.set_inheritable(int(name), False)
        except OSError:
            pass
command = args["command"]
if os.path.basename(args["shell"]) in ("ash", "bash", "dash", "ksh", "mksh", "sh", "zsh"):
    # Everybody may read the arguments of processes, nobody else their environment.
    os.environ["NOETL_SHELL_COMMAND"] = command
    command = 'eval "unset NOETL_SHELL_COMMAND; $NOETL_SHELL_COMMAND"'
try:
    os.execvp(args["shell"], [args["shell"], "-c", command])
except (OSError, ValueError) as error:
    number = getattr(error, "errno", None)
    result = f"{error.strerror} (os error {number})" if number else str(error)
"""


class Shell:
    """The shell tool."""

    def __init__(self, interpreters: InterpreterPool) -> None:
        self._interpreters = interpreters

    async def run(self, config: JsonObject, context: ToolContext) -> ToolResult:
        """Run a command line and wait for its end."""
        started = perf_counter()
        fields = Fields(context.render(config), kind="shell")
        command = fields.text("command")
        shell = fields.optional_text("shell") or "sh"
        captured = fields.flag("capture", default=True)
        seconds = context.timeout
        if seconds is None:
            seconds = fields.optional_unsigned("timeout_seconds")
        job = {
            "code": _BECOME_SHELL,
            "name": "<shell>",
            "args": {"shell": shell, "command": command},
            "execution_id": context.execution_id,
            "step": context.step,
            "server_url": context.server_url,
            "env": fields.texts("env"),
            "cwd": fields.optional_text("cwd"),
        }
        try:
            run = await self._interpreters.run(
                jsonb.encode(job), timeout=seconds, listener=context.listener if captured else None
            )
        except StartFailed as error:
            may_move = context.may_move and error.may_pass
            raise _not_started(str(error), may_move=may_move) from error
        except InterpreterLost as error:
            run = Run(exit_code=-1, stderr=str(error))
        if run.cwd_error is not None:
            raise _not_started(run.cwd_error)
        if run.has_value and run.value is not None:
            raise _not_started(str(run.value))
        duration_ms = int((perf_counter() - started) * 1000)
        if run.timed_out and seconds is not None:
            return over_time(
                seconds,
                duration_ms=duration_ms,
                stdout=_lines(run.stdout) if captured else "",
                stderr=_lines(run.stderr) if captured else "",
            )
        return _result(run, captured=captured, duration_ms=duration_ms)


def _not_started(reason: str, *, may_move: bool = False) -> ToolError:
    raised = NeverBegan if may_move else ToolError
    return raised("Process error", f"Failed to spawn process: {reason}")


def _result(run: Run, *, captured: bool, duration_ms: int) -> ToolResult:
    exit_code = max(run.exit_code, -1)
    stdout, stderr = _lines(run.stdout), _lines(run.stderr)
    if not captured:
        sys.stdout.write(stdout)
        sys.stderr.write(stderr)
        stdout = stderr = ""
    return ToolResult(
        status="success" if exit_code == 0 else "error",
        data={"exit_code": exit_code, "stdout": stdout, "stderr": stderr},
        error=_error(run, exit_code),
        stdout=stdout,
        stderr=stderr,
        exit_code=exit_code,
        duration_ms=duration_ms,
        failure=None if exit_code == 0 else Failure(),
    )


def _error(run: Run, exit_code: int) -> str | None:
    if run.excess is not None:
        return f"Command was killed: {run.excess}"
    return None if exit_code == 0 else f"Command exited with code {exit_code}"


def _lines(text: str) -> str:
    """Return the text as the original worker reads it: line by line, each with its end."""
    text = text.replace("\r\n", "\n")
    return f"{text}\n" if text and not text.endswith("\n") else text


def create(parts: ToolParts) -> Tool:
    """Make the tool."""
    return Shell(parts.interpreters)
