"""The page behind a link: the question, and the form to answer it."""

from collections.abc import Mapping
from html import escape

from litestar import Response
from noetl_contract.http.executions.waits import WaitEntry
from noetl_contract.json import Json
from noetl_contract.waits.form import Field, Form

_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-robots-tag": "noindex",
}
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}"
    "label{display:block;margin:1rem 0 .2rem;font-weight:600}small{display:block;color:#666}"
    "input,select,textarea{font:inherit;width:100%;box-sizing:border-box;padding:.4rem}"
    "button{font:inherit;margin-top:1.5rem;padding:.5rem 1.5rem}.wrong{color:#b00}"
    "dt{font-weight:600}pre{white-space:pre-wrap;font:inherit}"
)
_INPUTS = {"number": "number", "integer": "number", "date": "date"}


def message_page(title: str, text: str, *, status: int = 200) -> Response[bytes]:
    """Return a page with a message and no form."""
    return _page(title, f"<p>{escape(text)}</p>", status)


def form_page(
    wait: WaitEntry,
    form: Form,
    *,
    decided: Mapping[str, Json],
    values: Mapping[str, str] | None = None,
    problems: Mapping[str, str] | None = None,
) -> Response[bytes]:
    """Return the page with the form; only its button acts.

    Args:
        wait: what waits.
        form: the fields that are asked for.
        decided: fields that the link decides.
        values: what was typed before, where it was refused.
        problems: why it was refused, by field.
    """
    title = wait.title or f"{wait.path}: {wait.signal}"
    wrong = dict(problems or {})
    parts = [f"<pre>{escape(wait.description)}</pre>"] if wait.description else []
    if decided:
        fixed = "".join(
            f"<dt>{escape(name)}<dd>{escape(str(value))}" for name, value in decided.items()
        )
        parts.append(f"<dl>{fixed}</dl>")
    said = values or {}
    parts.append("<form method=post>")
    parts += [_field(field, said.get(field.name), wrong.pop(field.name, None)) for field in form]
    parts += [f"<p class=wrong>{escape(name)}: {escape(text)}</p>" for name, text in wrong.items()]
    parts.append("<button type=submit>Send the answer</button></form>")
    about = f"{wait.path}, step {wait.step}, execution {wait.execution_id}"
    parts.append(f"<small>{escape(about)}, until {escape(wait.due_at)}</small>")
    return _page(title, "".join(parts), 422 if problems else 200)


def _field(field: Field, typed: str | None, wrong: str | None) -> str:
    name = escape(field.name, quote=True)
    value = _text_of(field.default) if typed is None else typed
    mark = " *" if field.is_required else ""
    parts = [f"<label for='{name}'>{escape(field.shown)}{mark}</label>"]
    if field.description:
        parts.append(f"<small>{escape(field.description)}</small>")
    if field.choices or field.type == "boolean":
        texts = [_text_of(one) for one in field.choices] or ["true", "false"]
        parts.append(_choice(name, texts, value))
    elif field.type == "text":
        parts.append(f"<textarea id='{name}' name='{name}' rows=5>{escape(value)}</textarea>")
    else:
        kind = _INPUTS.get(field.type, "text")
        step = " step=any" if field.type == "number" else ""
        shown = escape(value, quote=True)
        parts.append(f"<input id='{name}' name='{name}' type={kind}{step} value='{shown}'>")
    if wrong:
        parts.append(f"<small class=wrong>{escape(wrong)}</small>")
    return "".join(parts)


def _choice(name: str, texts: list[str], value: str) -> str:
    options = ["<option value=''></option>"]
    for text in texts:
        chosen = " selected" if text == value else ""
        options.append(
            f"<option value='{escape(text, quote=True)}'{chosen}>{escape(text)}</option>"
        )
    return f"<select id='{name}' name='{name}'>{''.join(options)}</select>"


def _text_of(value: Json) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _page(title: str, body: str, status: int) -> Response[bytes]:
    text = (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width,initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{_STYLE}</style>"
        f"<h1>{escape(title)}</h1>{body}</html>"
    )
    return Response(text.encode(), status_code=status, media_type="text/html", headers=_HEADERS)
