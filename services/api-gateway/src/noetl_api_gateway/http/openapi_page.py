"""The OpenAPI document as one page to read, which loads nothing from elsewhere."""

import json
import re
from collections.abc import Iterator
from html import escape

from litestar.openapi.plugins import OpenAPIRenderPlugin
from noetl_contract.json import Json, JsonObject

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1rem;color:#1a1a1a}
h1{margin:.5rem 0}h2{margin:2rem 0 .5rem;border-bottom:1px solid #ccc}h3{margin:1rem 0 .3rem}
details{border:1px solid #ddd;border-radius:4px;margin:.3rem 0}
details details{margin:.3rem .8rem}
summary{cursor:pointer;padding:.35rem .6rem}
.in{padding:0 .8rem .8rem}
code,pre{font:13px/1.4 ui-monospace,monospace}
pre{background:#f5f5f5;padding:.6rem;overflow-x:auto;margin:.3rem 0}
b.m{display:inline-block;min-width:4.2rem}
b.get{color:#0b5}b.post{color:#06c}b.put{color:#a60}b.delete{color:#c22}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.2rem .6rem .2rem 0}
td{border-top:1px solid #eee;vertical-align:top}
nav a{margin-right:.8rem;display:inline-block}.s{color:#555}
@media(prefers-color-scheme:dark){body{background:#161616;color:#ddd}pre{background:#222}
details,h2{border-color:#444}td{border-color:#333}.s{color:#aaa}}
"""


class ReadingPage(OpenAPIRenderPlugin):
    """Renders routes by tag: parameters, bodies, examples and refusals, without scripts.

    The framework's own pages fetch theirs from a public network, where an edge often has none.
    """

    def render(self, request: object, openapi_schema: JsonObject) -> bytes:
        """Return the page."""
        del request
        return "".join(_page(openapi_schema)).encode()


def _page(document: JsonObject) -> Iterator[str]:
    info = document["info"]
    tags = _operations_by_tag(document)
    yield f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(info['title'])}</title>"
    yield "<meta name=viewport content='width=device-width'>"
    yield f"<style>{_STYLE}</style><h1>{escape(info['title'])} {escape(info['version'])}</h1>"
    yield f"<p>{_prose(info.get('description', ''))}</p><nav>"
    yield from (f"<a href='#{escape(tag)}'>{escape(tag)}</a>" for tag in tags)
    yield "</nav>"
    for tag, operations in tags.items():
        yield f"<h2 id='{escape(tag)}'>{escape(tag)}</h2>"
        for method, path, operation in operations:
            yield from _operation(method, path, operation)


def _operations_by_tag(document: JsonObject) -> dict[str, list[tuple[str, str, JsonObject]]]:
    tags: dict[str, list[tuple[str, str, JsonObject]]] = {}
    for path, item in sorted(document["paths"].items()):
        for method, operation in item.items():
            for tag in operation.get("tags", ["other"]):
                tags.setdefault(tag, []).append((method, path, operation))
    return dict(sorted(tags.items()))


def _operation(method: str, path: str, operation: JsonObject) -> Iterator[str]:
    yield f"<details id='{escape(operation['operationId'])}'><summary>"
    yield f"<b class='m {method}'>{method.upper()}</b><code>{escape(path)}</code> "
    yield f"<span class=s>{_prose(operation.get('summary', ''))}</span></summary><div class=in>"
    yield f"<p>{_prose(operation.get('description', ''))}</p>"
    if parameters := operation.get("parameters"):
        yield "<h3>Parameters</h3><table><tr><th>name<th>in<th>type<th>meaning"
        for found in parameters:
            wanted = " (required)" if found.get("required") else ""
            yield f"<tr><td><code>{escape(found['name'])}</code><td>{escape(found['in'])}{wanted}"
            yield f"<td>{escape(_type(found.get('schema', {})))}"
            yield f"<td>{_prose(found.get('description', ''))}"
        yield "</table>"
    if body := operation.get("requestBody"):
        yield f"<h3>Request body{'' if body.get('required') else ' (optional)'}</h3>"
        yield from _content(body["content"])
    yield "<h3>Answers</h3>"
    for status, answer in operation["responses"].items():
        yield f"<details><summary><b>{escape(status)}</b> {_prose(answer['description'])}</summary>"
        yield from _content(answer.get("content", {}))
        yield "</details>"
    yield "</div></details>"


def _content(content: JsonObject) -> Iterator[str]:
    for kind, media in content.items():
        yield f"<div class=in><code>{escape(kind)}</code>"
        if "example" in media:
            yield _code(media["example"])
        yield f"<details><summary>Schema</summary>{_code(media.get('schema', {}))}</details></div>"


def _type(schema: JsonObject) -> str:
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return " or ".join(_type(choice) for choice in choices)
    if words := schema.get("enum"):
        return ", ".join(map(str, words))
    return str(schema.get("type", "any"))


def _prose(text: str) -> str:
    """Return text as HTML, with words in backticks as code."""
    return re.sub("(`+)([^`]+)\\1", r"<code>\2</code>", escape(text))


def _code(value: Json) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False, default=str))}</pre>"
