"""The routes of the edge, as its OpenAPI document names them."""

import json

from litestar import Litestar
from noetl_api_gateway.app import create_app
from noetl_contract.json import JsonObject

__all__ = ["APP", "DOCUMENT", "OPERATIONS"]


def _routed() -> Litestar:
    return create_app()._app.litestar


APP = _routed()
DOCUMENT: JsonObject = json.loads(json.dumps(APP.openapi_schema.to_schema()))
OPERATIONS: dict[str, JsonObject] = {
    f"{method.upper()} {path}": operation
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
}
