"""The console's login: its cookie, and the check that forms come from its own pages."""

from http.cookies import CookieError, SimpleCookie

from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.refusals import Refusal

COOKIE = "noetl_console"
_LONGEST_TOKEN = 3800
"""Longest token, in bytes; browsers drop cookies of more than about 4 kB."""


def token_of(request: AnyRequest) -> str:
    """Return the token in a browser's cookie; empty if there is none."""
    for name, value in request.scope["headers"]:
        if name == b"cookie":
            try:
                found = SimpleCookie(value.decode("latin-1")).get(COOKIE)
            except CookieError:
                continue
            if found is not None and found.value.isascii() and found.value.isprintable():
                return found.value
    return ""


def cookie_of(token: str, *, is_secure: bool) -> str:
    """Return the header that sets the cookie of a token, or deletes it for an empty token.

    Raises:
        Refusal: 422, a browser would not keep it.
    """
    if len(token) > _LONGEST_TOKEN or not token.isascii() or not token.isprintable():
        raise Refusal(422, f"Key: at most {_LONGEST_TOKEN} printable characters")
    made: SimpleCookie = SimpleCookie()
    made[COOKIE] = token
    made[COOKIE].update({"path": "/console", "httponly": "true", "samesite": "Lax"})
    if is_secure:
        made[COOKIE]["secure"] = "true"
    if not token:
        made[COOKIE]["max-age"] = "0"
    return made[COOKIE].OutputString()


def refuse_foreign_forms(request: AnyRequest) -> None:
    """Refuse forms of foreign pages, by the origin that the browser sends.

    Raises:
        Refusal: 403, it is another site's.
    """
    headers = request.headers
    site = headers.get("sec-fetch-site")
    origin = headers.get("origin")
    is_ours = site == "same-origin"
    if site is None:
        # Old browsers name the origin alone; what names neither is no browser.
        is_ours = origin is None or origin.partition("://")[2] == headers.get("host", "")
    if not is_ours:
        raise Refusal(403, "This form was sent by another site")
