"""The addresses of the console, and the page or action behind each."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from noetl_console.api import Api
from noetl_console.pages import (
    actions,
    credentials,
    failures,
    login,
    run,
    runs,
    schedules,
    step,
    system,
    waits,
)
from noetl_console.pages.catalog import edit, playbook, playbooks
from noetl_console.requests import Page, PageRequest, Redirect

type Handler = Callable[[Api, PageRequest], Awaitable[Page | Redirect]]


@dataclass(frozen=True, slots=True)
class ConsoleRoute:
    """One address below `/console`.

    Attributes:
        path: with names of its parts in braces; `{name:path}` takes the rest.
        handler: makes the page, or does what the form asks for.
        changes: whether it is an action, which a console for reading doesn't have.
    """

    method: Literal["GET", "POST"]
    path: str
    handler: Handler
    changes: bool = False


def _page(path: str, handler: Handler) -> ConsoleRoute:
    return ConsoleRoute("GET", path, handler)


def _action(path: str, handler: Handler) -> ConsoleRoute:
    return ConsoleRoute("POST", path, handler, changes=True)


CONSOLE_ROUTES = (
    _page("", runs.runs),
    _action("/runs", runs.act_on_runs),
    _page("/runs/{id}", run.run),
    _page("/runs/{id}/steps/{step}", step.step),
    _action("/runs/{id}/cancel", actions.cancel),
    _action("/runs/{id}/rerun", actions.rerun),
    _action("/runs/{id}/restart", actions.restart),
    _action("/runs/{id}/pause", actions.pause),
    _action("/runs/{id}/waits/{wait}", waits.answer),
    _page("/playbooks", playbooks.playbooks),
    _page("/playbooks/{path:path}", playbook.playbook),
    _action("/start/{path:path}", playbook.start),
    ConsoleRoute("GET", "/edit", edit.edit, changes=True),
    _action("/edit", edit.save),
    _action("/edit/check", edit.check),
    _page("/failures", failures.failures),
    _action("/failures", failures.act_on_failures),
    _page("/waits", waits.waits),
    _page("/schedules", schedules.schedules),
    _page("/schedules/{id}", schedules.schedule),
    _action("/schedules/{id}", schedules.switch),
    _page("/credentials", credentials.credentials),
    _action("/credentials", credentials.store),
    _action("/credentials/{id}/delete", credentials.delete),
    _page("/system", system.system),
    _page("/system/dead-letters", system.given_up),
    _page("/system/settings", system.settings),
    _page("/login", login.login),
    ConsoleRoute("POST", "/login", login.enter),
    ConsoleRoute("POST", "/logout", login.leave),
)
