"""Pages as answers with their headers, and the pages that answer refusals."""

import asyncio
from collections.abc import Callable
from typing import cast
from urllib.parse import quote, urlsplit

import orjson
from litestar import Response
from litestar.types import ExceptionHandlersMap
from noetl_console.api import Refused
from noetl_console.rendering import render
from noetl_console.requests import Page, PageRequest, Redirect

from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.shell import ENCODED_SLASH
from noetl_api_gateway.routes.console.sessions import cookie_of, token_of

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_PAGE_HEADERS = {
    "content-security-policy": _POLICY,
    "cache-control": "no-store",
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
}
type _Handler = Callable[[AnyRequest, Exception], Response[bytes]]

_LARGE = 100_000
"""Bytes of answers above which a page is rendered in a thread."""


def address_of(request: AnyRequest) -> str:
    """Return the path of a page with its query, as a link to it."""
    query = request.scope["query_string"].decode("latin-1")
    path = "%2F".join(quote(part) for part in request.scope["path"].split(ENCODED_SLASH))
    return f"{path}?{query}" if query else path


async def shown(
    given: Page | Redirect, page_request: PageRequest, *, is_secure: bool, bytes_read: int
) -> Response[bytes]:
    """Answer with a page, or redirect to another one."""
    if isinstance(given, Redirect):
        headers = {"location": given.to, **_PAGE_HEADERS}
        if given.token is not None:
            headers["set-cookie"] = cookie_of(given.token, is_secure=is_secure)
        return Response(b"", status_code=303, headers=headers)
    if given.is_same:
        return Response(b"", status_code=204, headers=_PAGE_HEADERS)
    if given.is_stale:
        return Response(b"", status_code=200, headers={**_PAGE_HEADERS, "hx-refresh": "true"})
    if bytes_read > _LARGE:
        return _html(await asyncio.to_thread(render, given, page_request), given.status)
    return _html(render(given, page_request), given.status)


def refused_page(
    refused: Refused, page_request: PageRequest, request: AnyRequest
) -> Response[bytes]:
    """Answer a refused page with the login page, or with the reason."""
    is_form = request.method == "POST"
    at_login = page_request.path.partition("?")[0] == "/console/login"
    if refused.status != 401:
        return error_page(page_request, request, "Not possible", refused.text, refused.status)
    if at_login:
        about = {"next": page_request.field("next"), "text": f"Not let in: {refused.text}"}
        return _html(render(Page("login.html", about, title="Log in"), page_request), 401)
    to = f"/console/login?next={quote('/console' if is_form else page_request.path)}"
    if page_request.is_partial:
        return Response(b"", status_code=200, headers={**_PAGE_HEADERS, "hx-redirect": to})
    return Response(b"", status_code=303, headers={"location": to, **_PAGE_HEADERS})


def error_page(
    page_request: PageRequest, request: AnyRequest, title: str, text: str, status: int
) -> Response[bytes]:
    """Answer a refused form with the reason and a link back to its page."""
    back = _own_page(request)
    is_itself = back == page_request.path and request.method != "POST"
    about = {"text": text, "status": status, "back": "" if is_itself else back}
    page = Page("error.html", about, title=title)
    return _html(render(page, page_request), status)


def console_exceptions(handlers: ExceptionHandlersMap, *, may_change: bool) -> ExceptionHandlersMap:
    """Return handlers of errors that answer with a page below `/console`.

    Of unknown addresses, and of what was refused before it came to its page.

    Args:
        handlers: those of the API, whose status, text and headers the pages have.
        may_change: whether the console has actions.
    """

    def as_page(handler: _Handler) -> _Handler:
        def on_error(request: AnyRequest, error: Exception) -> Response[bytes]:
            plain = handler(request, error)
            if not f"{request.scope['path']}/".startswith("/console/"):
                return plain
            page_request = PageRequest(
                address_of(request), may_change=may_change, has_login=bool(token_of(request))
            )
            title, text = "Not possible", str(orjson.loads(plain.content)["error"])
            if plain.status_code in {404, 405}:
                title, text = "Not found", "This console has no such page or action."
            page = error_page(page_request, request, title, text, plain.status_code or 500)
            page.headers.update(plain.headers)
            return page

        return on_error

    return {kind: as_page(cast("_Handler", one)) for kind, one in handlers.items()}


def _own_page(request: AnyRequest) -> str:
    """Return the page of the console that a form was sent from; empty if there is none."""
    came_from = urlsplit(request.headers.get("referer", ""))
    is_ours = came_from.netloc == request.headers.get("host", "")
    path = f"{came_from.path}?{came_from.query}" if came_from.query else came_from.path
    return path if is_ours and f"{came_from.path}/".startswith("/console/") else ""


def _html(text: str, status: int) -> Response[bytes]:
    return Response(
        text.encode(),
        status_code=status,
        media_type="text/html",
        headers=_PAGE_HEADERS,
    )
