"""The OpenAPI document says of every route all that a caller needs."""

import re
from html.parser import HTMLParser

import jsonschema
import pytest
from litestar.routes import HTTPRoute
from noetl_api_gateway.http.openapi_page import ReadingPage
from routes import APP, DOCUMENT, OPERATIONS

# Refusals (what is not part of this server among them), `{path}/ui_schema` below a static name,
# what no person calls, and another protocol.
UNDOCUMENTED = {
    "GET /api/catalog/playbooks/{path}",
    "GET /graphql",
    "GET /metrics",
    "POST /api/auth/login",
    "POST /api/catalog/playbooks/explain/ai",
    "POST /api/catalog/playbooks/generate/ai",
    "POST /api/executions/{execution_id}/analyze/ai",
    "POST /api/gcp/token",
    "POST /api/keychain/catalog/{catalog_id}",
    "POST /mcp",
}
ERROR_KEYS = ["error", "status", "detail"]
# Shapes of their own: how a sick system answers, pages for people, words for senders.
OWN_SHAPES = {
    ("GET /api/health", "503"),
    *(("GET /api/links/{link}", status) for status in ("404", "410")),
    *(("POST /api/links/{link}", status) for status in ("404", "409", "410")),
    *(("POST /ingress/{listener}", status) for status in ("401", "403", "404")),
}


def is_for_eyes(path: str) -> bool:
    """Whether a route is no part of the API: the document's own pages and the console."""
    return path == "/" or path.startswith(("/schema", "/console"))


def test_every_route_is_in_the_document() -> None:
    served = {
        f"{method} {re.sub(r':[a-z]+}', '}', route.path_format)}"
        for route in APP.routes
        if isinstance(route, HTTPRoute)
        for method in route.route_handler_map
        if method != "OPTIONS" and not is_for_eyes(route.path)
    }
    assert served - set(OPERATIONS) <= UNDOCUMENTED
    assert set(OPERATIONS) <= served


def assert_a_route_says_what_it_is_for(name: str) -> None:
    operation = OPERATIONS[name]
    for key in ("summary", "description", "tags", "operationId"):
        assert operation.get(key), key


def assert_parameters_have_type_and_meaning(name: str) -> None:
    parameters = OPERATIONS[name].get("parameters", [])
    for parameter in parameters:
        assert parameter.get("description"), parameter["name"]
        assert parameter.get("schema"), parameter["name"]
    in_path = [found["name"] for found in parameters if found["in"] == "path"]
    assert sorted(in_path) == sorted(re.findall(r"{(\w+)}", name))


def assert_a_body_has_a_schema_and_an_example_that_fits(name: str) -> None:
    body = OPERATIONS[name].get("requestBody")
    takes_one = name.split(maxsplit=1)[0] in {"POST", "PUT"} and name not in WITHOUT_BODY
    assert (body is not None) == (takes_one or name == "DELETE /api/worker/pool/deregister")
    if body is not None:
        media = body["content"]["application/json"]
        assert "example" in media
        jsonschema.validate(media["example"], media["schema"])


WITHOUT_BODY = {
    "POST /api/db/init",
    "POST /api/executions/{execution_id}/analyze",
    "POST /api/schedules/{schedule_id}/pause",
    "POST /api/schedules/{schedule_id}/resume",
    "POST /api/profiler/memory/start",
    "POST /api/profiler/memory/stop",
    "POST /api/subscriptions/{subscription_id}/{action}",
}


def assert_answers_have_schemas_and_refusals_show_their_body(name: str) -> None:
    answers = OPERATIONS[name]["responses"]
    assert [status for status in answers if status.startswith("2")]
    assert "503" in answers
    for status, answer in answers.items():
        (media,) = answer["content"].values()
        assert "schema" in media
        if status.startswith(("4", "5")) and (name, status) not in OWN_SHAPES:
            assert list(media["example"]) == ERROR_KEYS
            assert media["example"]["status"] == int(status)
            jsonschema.validate(media["example"], media["schema"])


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_a_route_is_told_of_in_full(name: str) -> None:
    assert_a_route_says_what_it_is_for(name)
    assert_parameters_have_type_and_meaning(name)
    assert_a_body_has_a_schema_and_an_example_that_fits(name)
    assert_answers_have_schemas_and_refusals_show_their_body(name)


def test_the_page_shows_every_route_and_loads_nothing() -> None:
    class Reader(HTMLParser):
        loads: list[str]
        shown: set[str]

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            values = dict(attrs)
            if tag in {"script", "link", "img", "iframe"} or "src" in values:
                self.loads.append(tag)
            if tag == "details" and values.get("id"):
                self.shown.add(str(values["id"]))

    reader = Reader()
    reader.loads, reader.shown = [], set()
    page = ReadingPage(path="/swagger").render(None, DOCUMENT).decode()
    reader.feed(page)
    assert reader.loads == []
    assert "url(" not in page
    assert "`" not in re.sub("<pre>.*?</pre>", "", page, flags=re.DOTALL)
    assert reader.shown == {operation["operationId"] for operation in OPERATIONS.values()}
