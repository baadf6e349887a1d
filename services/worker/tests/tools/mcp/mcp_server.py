"""An MCP server of the protocol's own library, run as a program: `mcp_server.py PORT FORM`."""

import sys

from mcp.server import MCPServer
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

server = MCPServer("weather", version="1.2")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def fail() -> str:
    """Fail."""
    raise ValueError("no such city")


@server.tool()
def lines() -> list[str]:
    """Give several contents."""
    return ["one", "two"]


@server.custom_route("/healthz", methods=["GET"])
async def healthz(_request: Request) -> Response:
    """Answer that the server lives."""
    return PlainTextResponse("fine")


if __name__ == "__main__":
    server.run(
        "streamable-http",
        host="127.0.0.1",
        port=int(sys.argv[1]),
        json_response=sys.argv[2] == "json",
        stateless_http=sys.argv[3] == "stateless",
    )
