"""`/console/…`: pages and forms."""

from typing import TYPE_CHECKING, cast
from urllib.parse import parse_qs

from litestar import Response, get, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.types import ASGIApp
from noetl_console.api import Api, Refused, segment
from noetl_console.rendering import static_files
from noetl_console.requests import BadField, PageRequest
from noetl_console.routes import CONSOLE_ROUTES, ConsoleRoute
from noetl_contract.access.rights import Right

from noetl_api_gateway.gateway import TheProcess
from noetl_api_gateway.http.bodies import AnyRequest, read_bytes
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.http.shell import ENCODED_SLASH
from noetl_api_gateway.routes.console.answers import address_of, error_page, refused_page, shown
from noetl_api_gateway.routes.console.sessions import refuse_foreign_forms, token_of
from noetl_api_gateway.routes.own_calls import APPLICATION_STATE, OwnCalls, transport
from noetl_api_gateway.settings import ConsoleMode

if TYPE_CHECKING:
    from collections.abc import Mapping

_FILE_HEADERS = {"cache-control": "public, max-age=31536000, immutable"}
_MOST_FIELDS = 2000
_OPTIONS = {"needs": Right.PUBLIC}
"""Pages are public; their data and actions are calls of the API, which check rights."""


def console_routes(mode: ConsoleMode) -> list[HTTPRouteHandler]:
    """Return the handlers of the console; only those that read if it is for reading."""
    if mode == "off":
        return []
    wanted = [one for one in CONSOLE_ROUTES if mode == "full" or not one.changes]
    return [home, file, output, *(_handler(one, may_change=mode == "full") for one in wanted)]


@get("/", opt=_OPTIONS, include_in_schema=False)
async def home(request: AnyRequest) -> Response[bytes]:
    """Redirect a browser to the console; other clients get a 404."""
    if "text/html" not in request.headers.get("accept", ""):
        raise HTTPException(status_code=404)
    return Response(b"", status_code=302, headers={"location": "/console"})


@get("/console/static/{name:str}", opt=_OPTIONS, include_in_schema=False)
async def file(name: FromPath[str]) -> Response[bytes]:
    """Send a file of the pages; its address changes with it."""
    found = static_files().get(name)
    if found is None:
        raise HTTPException(status_code=404)
    return Response(found.content, media_type=found.media_type, headers=_FILE_HEADERS)


@get("/console/runs/{execution_id:str}/output", opt=_OPTIONS, include_in_schema=False)
async def output(request: AnyRequest, execution_id: FromPath[str]) -> ASGIApp:
    """Stream the output of a run's steps, with the rights of the console's user."""
    calls = OwnCalls(request.app.state[APPLICATION_STATE], request.scope, token_of(request))
    path = f"/noetl/executions/{segment(execution_id)}/events/stream"
    return cast("ASGIApp", calls.passed_on(path, {"output": "only"}))


def _handler(route: ConsoleRoute, *, may_change: bool) -> HTTPRouteHandler:
    async def handle(request: AnyRequest, service: TheProcess) -> Response[bytes]:
        url = service.gateway_settings.public_server_url
        is_secure = request.scope["scheme"] == "https" or url.startswith("https://")
        return await _answer(request, route, may_change=may_change, is_secure=is_secure)

    words = [word.strip("{}").replace(":", "_") for word in route.path.split("/") if word]
    handle.__name__ = "_".join(["console", route.method.lower(), *words])
    make = get if route.method == "GET" else post
    path = "/console" + "/".join(_typed(word) for word in route.path.split("/"))
    return make(path, opt=_OPTIONS, status_code=200, include_in_schema=False)(handle)


def _typed(word: str) -> str:
    return f"{word[:-1]}:str}}" if word.startswith("{") and ":" not in word else word


async def _answer(
    request: AnyRequest, route: ConsoleRoute, *, may_change: bool, is_secure: bool
) -> Response[bytes]:
    form: Mapping[str, list[str]] = {}
    if route.method == "POST":
        refuse_foreign_forms(request)
        form = await _form(request)
    token = token_of(request)
    page_request = PageRequest(
        path=address_of(request),
        names={name: _name(value) for name, value in request.path_params.items()},
        query=dict(request.query_params.items()),
        form=form,
        may_change=may_change,
        has_login=bool(token),
        is_partial="hx-request" in request.headers,
    )
    if route.path == "/login" and route.method == "POST":
        token = page_request.field("token").strip()
    api = Api(transport(request.app.state[APPLICATION_STATE], request.scope, token))
    try:
        given = await route.handler(api, page_request)
    except Refused as refused:
        return refused_page(refused, page_request, request)
    except BadField as bad:
        return error_page(page_request, request, "This can't be taken", bad.text, 422)
    return await shown(given, page_request, is_secure=is_secure, bytes_read=api.bytes_read)


def _name(value: object) -> str:
    """Return a part of the path, without the slash before a part that takes the rest."""
    return str(value).removeprefix("/").replace(ENCODED_SLASH, "/")


async def _form(request: AnyRequest) -> dict[str, list[str]]:
    text = (await read_bytes(request)).decode("utf-8", "replace")
    try:
        form = parse_qs(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise Refusal(422, f"A form has at most {_MOST_FIELDS} fields") from error
    # Browsers send every end of a line as CR and LF, whatever the page had.
    return {
        name: [value.replace("\r\n", "\n") for value in values] for name, values in form.items()
    }
