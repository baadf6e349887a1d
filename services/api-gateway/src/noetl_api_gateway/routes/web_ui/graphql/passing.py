"""`proxyRequest`: one call to our own API, with the checks of the route that it names."""

import re
from urllib.parse import parse_qsl

import orjson
from noetl_console.api import Refused
from noetl_contract.json import Json, JsonObject

from noetl_api_gateway.routes.web_ui.graphql.starts import Asking, encoded

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_PATH = re.compile(r"/?[\w.~!$&'()*+,;=:@%-]+(/[\w.~!$&'()*+,;=:@%-]+)*", re.ASCII)
_ROOTS = ("api/", "noetl/")
_MOST_PARAMETERS = 100


async def passed_on(asking: Asking, method: str, endpoint: str, body: Json) -> JsonObject:
    """Return the answer of a route of the API; a refusal is an answer, too.

    Raises:
        Refused: 422, the call names no route of the API.
    """
    verb = method.strip().upper()
    if verb not in _METHODS:
        raise Refused(422, f"method '{method[:20]}' is none of {', '.join(_METHODS)}")
    path, query = _parts(endpoint)
    # Below `/noetl` ids are texts, as pages need them.
    content = None if body is None else encoded(body, "body")
    answer = await asking.calls()(verb, f"/noetl/{path}", query, content)
    found = _decoded(answer.body)
    if answer.status < 300:
        return {"success": True, "data": found, "error": None}
    return {"success": False, "data": None, "error": _reason(found, answer.status)}


def _parts(endpoint: str) -> tuple[str, dict[str, str]]:
    """Return the path below `/api` and the parameters that an endpoint names."""
    path, _, query = endpoint.strip().partition("?")
    if not _PATH.fullmatch(path):
        text = "is no percent-encoded path of the API, such as /executions?limit=5"
        raise Refused(422, f"endpoint '{endpoint[:100]}' {text}")
    path = path.removeprefix("/")
    for root in _ROOTS:
        path = path.removeprefix(root)
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
    except ValueError as error:
        text = f"has more than {_MOST_PARAMETERS} parameters"
        raise Refused(422, f"endpoint '{endpoint[:100]}' {text}") from error
    parameters = dict(pairs)
    if len(parameters) < len(pairs):
        raise Refused(422, f"endpoint '{endpoint[:100]}' names a parameter twice")
    return path, parameters


def _decoded(body: bytes) -> Json:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace") or None


def _reason(found: Json, status: int) -> str:
    reason = found.get("error") if isinstance(found, dict) else None
    return f"status {status}" if reason is None else str(reason)
