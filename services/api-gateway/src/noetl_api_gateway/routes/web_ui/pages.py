"""`/ui`: a built web UI, in front of the routes; with it one origin has pages and API."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import orjson

from noetl_api_gateway.routes.web_ui.files import ENV_FILE, UI, BuiltUi, UiFile
from noetl_api_gateway.settings import Settings

if TYPE_CHECKING:
    from noetl_api_gateway.http.shell import Application, Header, Receive, Scope, Send

_FIXED = "public, max-age=31536000, immutable"
_EDITOR = "https://cdn.jsdelivr.net"
"""The origin from which the UI loads its YAML editor."""
_FOLLOW = """\
  // This UI was built for the root of its host: its own addresses are those without the prefix.
  var path = location.pathname;
  if (path === "%(ui)s" || path.indexOf("%(ui)s/") === 0) {
    path = (path.slice(%(cut)d) || "/") + location.search + location.hash;
    history.replaceState(history.state, "", path);
  }
"""


class UiPages:
    """The routes, and before them a built UI.

    Args:
        app: the routes.
        ui: the UI.
        values: its settings; addresses of this server are filled in by the page itself.
        policy: its content security policy; empty for the default, which lets it work.
        reserved: first parts of the paths that are not the UI's.
    """

    def __init__(
        self,
        app: "Application",
        ui: BuiltUi,
        *,
        values: Mapping[str, str],
        policy: str,
        reserved: Collection[str],
    ) -> None:
        self._app = app
        self._ui = ui
        self._env = UiFile.of(ENV_FILE, env_script(values, is_rooted=ui.is_rooted).encode())
        self._policy = (policy or policy_of(ui, values)).encode()
        self._reserved = frozenset(reserved)

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer with a file or the page, or leave the request to the routes."""
        found = self._found(scope) if scope["method"] == "GET" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        scope["path_template"] = UI
        sent = next((value for name, value in scope["headers"] if name == b"if-none-match"), b"")
        is_same = found.etag.encode() in sent
        headers = [*self._headers(found)]
        if not is_same:
            headers.append((b"content-length", b"%d" % len(found.content)))
        status = 304 if is_same else 200
        await send({"type": "http.response.start", "status": status, "headers": headers})
        body = b"" if is_same else found.content
        await send({"type": "http.response.body", "body": body, "more_body": False})

    def _found(self, scope: "Scope") -> UiFile | None:
        path: str = scope["path"]
        if path == UI or path.startswith(f"{UI}/"):
            return self._below(path[len(UI) + 1 :])
        if not self._ui.is_rooted or path.split("/")[1] in self._reserved:
            return None
        if path[1:] in self._ui.files or path[1:] == ENV_FILE:
            return self._file(path[1:])
        return self._ui.page if _is_for_people(scope) else None

    def _below(self, name: str) -> UiFile | None:
        found = self._file(name)
        is_page = "." not in name.rpartition("/")[2] or name == "index.html"
        return found if found is not None or not is_page else self._ui.page

    def _file(self, name: str) -> UiFile | None:
        return self._env if name == ENV_FILE else self._ui.files.get(name)

    def _headers(self, file: UiFile) -> "tuple[Header, ...]":
        cached = _FIXED if file.is_fixed else "no-cache"
        common = (
            (b"content-type", file.media_type.encode()),
            (b"cache-control", cached.encode()),
            (b"etag", file.etag.encode()),
            (b"referrer-policy", b"same-origin"),
        )
        if file is not self._ui.page:
            return common
        return (*common, (b"content-security-policy", self._policy), (b"x-frame-options", b"DENY"))


def env_script(values: Mapping[str, str], *, is_rooted: bool) -> str:
    """Return the script in which the UI reads its settings."""
    own = orjson.dumps(dict(values)).decode()
    follow = _FOLLOW % {"ui": UI, "cut": len(UI)} if is_rooted else ""
    return (
        "(function () {\n"
        "  var here = location.origin;\n"
        "  window.__NOETL_ENV__ = Object.assign(\n"
        f"    {{VITE_API_BASE_URL: here, VITE_GATEWAY_URL: here}}, {own});\n"
        f"{follow}"
        "})();\n"
    )


def ui_values(settings: Settings, *, is_login_needed: bool) -> dict[str, str]:
    """Return the UI's settings: derived from this server's, overridden by the configured ones."""
    login = settings.login_provider()
    names = {"domain": "DOMAIN", "client_id": "CLIENT_ID", "redirect_uri": "REDIRECT_URI"}
    return {
        "VITE_API_MODE": "gateway" if is_login_needed else "direct",
        "VITE_ALLOW_SKIP_AUTH": "false" if is_login_needed else "true",
        **{f"VITE_AUTH0_{names[one]}": login[one] for one in names if one in login},
        **settings.ui_values(),
    }


def policy_of(ui: BuiltUi, values: Mapping[str, str]) -> str:
    """Return the content security policy: the UI's own files, its editor, and configured hosts.

    Its test lab compiles what its users write, so scripts may be made of text there.
    """
    domain = values.get("VITE_AUTH0_DOMAIN", "")
    login = f"https://{domain}" if domain else ""
    named = {origin for value in values.values() if (origin := _origin_of(value))} | {login}
    others = " ".join(sorted(filter(None, named)))
    scripts = " ".join(("'self' 'unsafe-eval'", _EDITOR, *ui.script_hashes))
    parts = (
        "default-src 'self'",
        f"script-src {scripts}",
        f"style-src 'self' 'unsafe-inline' {_EDITOR} https://fonts.googleapis.com",
        f"font-src 'self' data: {_EDITOR} https://fonts.gstatic.com",
        "img-src 'self' data: blob:",
        f"connect-src 'self' {_EDITOR} {others}".strip(),
        "worker-src 'self' blob:",
        f"frame-src 'self' {login}".strip(),
        "object-src 'none'",
        "base-uri 'self'",
        f"form-action 'self' {login}".strip(),
        "frame-ancestors 'none'",
    )
    return "; ".join(parts)


def _origin_of(value: str) -> str:
    parts = urlsplit(value)
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in {"http", "https"} else ""


def _is_for_people(scope: "Scope") -> bool:
    """Return whether a browser navigates to a path, rather than a program asks for a file."""
    accepts = (value for name, value in scope["headers"] if name == b"accept")
    is_page = "." not in scope["path"].rpartition("/")[2]
    return is_page and any(b"text/html" in value for value in accepts)
