"""Ask on the terminal for the payload of a wait, and send the answer as its signal."""

import asyncio
import os
import sys
from contextlib import suppress

from noetl_contract.json import Json, JsonObject
from noetl_contract.waits.form import (
    BadForm,
    BadPayload,
    Field,
    Form,
    filled,
    in_order,
    read_form,
    typed,
)

from noetl.follow.edge import Edge
from noetl.follow.view import View
from noetl.stack.errors import StackError

_MOST_BYTES = 65_536
_ENDS = frozenset({"command.completed", "command.failed"})


class Asker:
    """Prompts for the signals of waits, one wait at a time; a wait that has ended is left out.

    Args:
        edge: gets the signals.
        view: leaves the terminal free during a prompt.
        execution_id: the execution that is followed.
    """

    def __init__(self, edge: Edge, view: View, execution_id: str) -> None:
        self._edge = edge
        self._view = view
        self._execution_id = execution_id
        self._open: dict[str, JsonObject] = {}
        self._asked: str | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_deaf = not (sys.stdin.isatty() and sys.stderr.isatty())

    def take(self, event: JsonObject) -> None:
        """Take the next event of the execution."""
        context = (event.get("result") or {}).get("context")
        said = context if isinstance(context, dict) else {}
        command_id = str(said.get("command_id"))
        kind = event.get("event_type")
        if kind == "wait.started" and said.get("kind") == "wait":
            self._open[command_id] = {**said, "step": event.get("node_name")}
            if self._is_deaf:
                self._view.say(self._how_to(said, str(event.get("node_name"))))
        elif kind in _ENDS:
            self._forget(command_id)
        self._ask_next()

    def _forget(self, command_id: str) -> None:
        was_open = self._open.pop(command_id, None) is not None
        if was_open and command_id == self._asked and self._task is not None:
            self._task.cancel()

    async def close(self) -> None:
        """Ask no more."""
        self._is_deaf = True
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def _ask_next(self) -> None:
        is_busy = self._task is not None and not self._task.done()
        if self._is_deaf or is_busy or not self._open:
            return
        self._asked, wait = next(iter(self._open.items()))
        self._task = asyncio.create_task(self._ask(wait))
        self._task.add_done_callback(lambda _: self._ask_next())

    async def _ask(self, wait: JsonObject) -> None:
        try:
            form = read_form(in_order(wait.get("form"), wait.get("fields")))
            with self._view.aside():
                payload = await _answer(wait, form)
            body = {"id": f"run:{wait['wait_id']}", "payload": payload, "wait_id": wait["wait_id"]}
            await self._edge.signal(self._execution_id, str(wait["signal"]), body)
        except EOFError:
            self._is_deaf = True
            self._view.say(self._how_to(wait, str(wait["step"])))
        except (BadForm, StackError) as error:
            self._view.say(str(error))
        self._open.pop(str(self._asked), None)

    def _how_to(self, wait: JsonObject, step: str) -> str:
        path = f"/api/executions/{self._execution_id}/signals/{wait.get('signal')}"
        return f"step {step} waits for signal {wait.get('signal')!r}: POST {path}"


async def _answer(wait: JsonObject, form: Form) -> Json:
    title = str(wait.get("title") or "") or f"{wait['step']}: {wait['signal']}"
    _write(f"\n{title}\n")
    if wait.get("description"):
        _write(f"{wait['description']}\n")
    if not form:
        await _line("Press Enter to go on: ")
        return None
    values: JsonObject = {}
    for field in form:
        value = await _field(field)
        if value is not None:
            values[field.name] = value
    return values


async def _field(field: Field) -> Json:
    """Ask until the value fits."""
    if field.description:
        _write(f"  {field.description}\n")
    while True:
        value = typed(field, (await _line(_prompt(field))).rstrip("\n"))
        given: JsonObject = {} if value is None else {field.name: value}
        try:
            filled((field,), given)
        except BadPayload as problem:
            _write(f"  {problem.problems[field.name]}\n")
            continue
        return value


def _prompt(field: Field) -> str:
    choices = [_text_of(choice) for choice in field.choices]
    if not choices and field.type == "boolean":
        choices = ["yes", "no"]
    listed = f" [{'/'.join(choices)}]" if choices else ""
    default = "" if field.default is None else f" ({_text_of(field.default)})"
    mark = " *" if field.is_required and field.default is None else ""
    return f"  {field.shown}{mark}{listed}{default}: "


def _text_of(value: Json) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


async def _line(prompt: str) -> str:
    """Return a line from the terminal, without a thread that can't be ended.

    Raises:
        EOFError: nothing more will be typed.
    """
    _write(prompt)
    loop, number = asyncio.get_running_loop(), sys.stdin.fileno()
    came = loop.create_future()

    def read() -> None:
        if not came.done():
            try:
                came.set_result(os.read(number, _MOST_BYTES))
            except OSError:
                came.set_result(b"")

    loop.add_reader(number, read)
    try:
        data: bytes = await came
    finally:
        loop.remove_reader(number)
    if not data:
        raise EOFError
    return data.decode(errors="replace")


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
