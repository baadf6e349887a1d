"""A client that sends and reads as a web page does."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Self

import httpx
from noetl_contract.json import Json, JsonObject
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_until

ORIGIN = "http://localhost:5173"
TERMINAL = {"COMPLETED", "FAILED", "CANCELED", "CANCELLED", "ERROR"}

type Shape = Mapping[str, object]


def double(digits: str) -> int:
    """Read an integer as JavaScript does; one beyond 2^53 loses digits."""
    return int(float(digits))


def printed(number: int) -> str:
    """Print a number as JavaScript does: the shortest digits that give the same double."""
    return f"{Decimal(repr(float(number))):f}".removesuffix(".0")


@dataclass(frozen=True)
class Mode:
    """Way in which a page reaches the edge."""

    prefix: str
    headers: Mapping[str, str]


MODES = {
    # A page that the edge itself serves: its GETs carry no Origin, and nobody logged in.
    "same-origin": Mode("/api", {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}),
    "referer-only": Mode("/api", {"Referer": "http://localhost:8082/executions"}),
    "direct": Mode("/api", {"Origin": ORIGIN, "Sec-Fetch-Site": "same-site"}),
    "gateway": Mode(
        "/noetl",
        {
            "Origin": ORIGIN,
            "Sec-Fetch-Site": "same-site",
            "Authorization": "Bearer a-token",
            "X-Session-Token": "a-token",
        },
    ),
}


class Page:
    """One open page."""

    def __init__(self, base_url: str, mode: Mode) -> None:
        self.mode = mode
        self._client = httpx.Client(
            base_url=base_url, timeout=PATIENCE_SECONDS, headers=dict(mode.headers)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(
        self, method: str, path: str, body: object = None, *, status: int = 200, **query: object
    ) -> Json:
        """Call a route and return its body as a page reads it."""
        answer = self._client.request(
            method,
            f"{self.mode.prefix}{path}",
            json=body,
            params={name: str(value) for name, value in query.items()},
        )
        assert answer.status_code == status, (method, path, answer.status_code, answer.text)
        if "Origin" in self.mode.headers:
            # Without it the page could not read the answer; errors need it as well.
            assert answer.headers["access-control-allow-origin"] in {ORIGIN, "*"}
        body = json.loads(answer.text, parse_int=double)
        if status >= 400:
            # The Run dialog shows `detail`.
            assert isinstance(body, dict)
            assert (body["status"], body["detail"]) == (status, body["error"])
        return body

    def get(self, path: str, **query: object) -> Json:
        """Read a route."""
        return self.ask("GET", path, **query)

    def post(self, path: str, body: object, **query: object) -> Json:
        """Post to a route."""
        return self.ask("POST", path, body, **query)

    def register(self, text: str) -> JsonObject:
        """Register a document as the editor does: as plain text."""
        body = self.post("/catalog/register", {"content": text, "resource_type": "Playbook"})
        return dict(body)

    def listed(self, path: str, is_good: Callable[[Json], bool]) -> Json:
        """Poll the list, as each open page does, until a playbook's newest entry is good."""
        return until(
            lambda: next((e for e in self.get("/executions") if e["path"] == path), None), is_good
        )

    def ended(self, execution_id: str) -> str:
        """Poll the status until it is final and return it."""
        body = until(
            lambda: self.get(f"/executions/{execution_id}/status"),
            lambda body: body["status"].upper() in TERMINAL,
        )
        return str(body["status"])

    @contextlib.contextmanager
    def source(self, path: str, **headers: str) -> Iterator[Iterator[dict[str, str]]]:
        """Open an EventSource and yield its messages: their fields by name."""
        sent = {"Accept": "text/event-stream", "Cache-Control": "no-cache", **headers}
        with self._client.stream("GET", f"{self.mode.prefix}{path}", headers=sent) as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield _messages(answer.iter_lines())


def _messages(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    message: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(":")
            message[name] = value.removeprefix(" ")
        elif message and not line:
            yield message
            message = {}


def until(ask: Callable[[], Json], is_good: Callable[[Json], bool]) -> Json:
    """Ask until the answer is good.

    Raises:
        TimeoutError: it was not in time; the text has the last answer.
    """
    body: Json = None

    def answers() -> bool:
        nonlocal body
        body = ask()
        return body is not None and is_good(body)

    try:
        wait_until(answers)
    except TimeoutError as error:
        raise TimeoutError(f"still {body}") from error
    return body


def check(body: Mapping[str, Json], shape: Shape) -> None:
    """Compare names and types: a type, a tuple of types, or a shape of the levels below."""
    for name, wanted in shape.items():
        assert name in body, (name, sorted(body))
        value = body[name]
        if isinstance(wanted, Mapping):
            check(value, wanted)
            continue
        kinds = wanted if isinstance(wanted, tuple) else (wanted,)
        # A boolean is an integer in Python only.
        assert type(value) in kinds, (name, value, kinds)


def shown_text(detail: Mapping[str, Json]) -> str | None:
    """Find the text of the result card: in the result, then in the events, newest first."""
    places = [detail["result"]]
    for key in ("result", "context"):
        places += [event[key] for event in detail["events"]]
    return next((text for place in places if (text := _text_in(place)) is not None), None)


def _text_in(value: object) -> str | None:
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("text"), str):
        return str(value["text"])
    below = (_text_in(value.get(key)) for key in ("context", "data", "result"))
    return next((text for text in below if text is not None), None)
