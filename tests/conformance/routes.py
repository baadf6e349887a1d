"""The routes of the edge, as its OpenAPI document names them."""

import json
from typing import Any

from litestar import Litestar
from noetl_api_gateway.app import create_app

__all__ = ["APP", "DOCUMENT", "OPERATIONS"]

type Object = dict[str, Any]


def _routed() -> Litestar:
    app = create_app()._app
    assert isinstance(app, Litestar)
    return app


APP = _routed()
DOCUMENT: Object = json.loads(json.dumps(APP.openapi_schema.to_schema()))
OPERATIONS: dict[str, Object] = {
    f"{method.upper()} {path}": operation
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
}
