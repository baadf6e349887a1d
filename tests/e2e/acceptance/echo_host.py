"""A host that answers with its requests, so that a test sees those of a tool."""

from noetl_testkit.web import Request, Response

ECHO = "http://echo.test-server.svc.cluster.local:5556"


def echo(request: Request) -> Response:
    """Answer with the request that came in; below paths of its own only."""
    # Header names are told as "X-Number": the scrubber would hide one called "authorization".
    seen = {
        "method": request.method,
        "query": request.query_lists,
        "body": request.body.decode(),
        "kind": request.headers.get("content-type"),
        "number": request.headers.get("x-number"),
        "text": request.headers.get("x-text"),
        "right_header": request.headers.get("authorization") == "Bearer b-1234",
    }
    return Response(seen, 200 if request.path in {"/echo", "/health"} else 404)
