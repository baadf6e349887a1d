"""The login of people: a key or a token, which the browser keeps for this console alone."""

from noetl_console.api import Api, Refused
from noetl_console.requests import BadField, Page, PageRequest, Redirect

_HOME = "/console"


async def login(api: Api, request: PageRequest) -> Page:
    """Show the form."""
    del api
    return Page("login.html", {"next": _local(request.query.get("next", ""))}, title="Log in")


async def enter(api: Api, request: PageRequest) -> Redirect:
    """Begin a login; the transport of this request already carries the key that was typed."""
    token = request.field("token").strip()
    if not token:
        raise BadField("Key: a value is needed")
    try:
        await api.ping()
    except Refused as refused:
        # Who may read no executions has a good key all the same.
        if refused.status != 403:
            raise
    return Redirect(_local(request.field("next")), token=token)


async def leave(api: Api, request: PageRequest) -> Redirect:
    """End the login."""
    del api, request
    return Redirect("/console/login", token="")


def _local(path: str) -> str:
    """Return a path of the console; its home for anything else."""
    is_ours = path == _HOME or path.startswith((f"{_HOME}/", f"{_HOME}?"))
    is_plain = path.isascii() and path.isprintable() and "\\" not in path
    return path if is_ours and is_plain else _HOME
