"""Golden cases: what is asked, and the answer to the letter, with places left for what varies.

A file of ``cases`` is one story: its cases are asked in order and share the names they ``save``.
The keys of a case:

    name      what it shows
    ask       method and path; ``${name}`` stands for something saved before
    json      text of a JSON body; or ``text``, a body that is sent without a content type
    headers   of the request; null takes one out
    status    of the answer
    body      the answer's JSON text; keys in this order, compact on the wire
    plain     the answer's text where it is no JSON; ``<…>`` places as below
    detail    JSON text of the refusal's `detail` where it is not the text once more
    error     text of a refusal in the contract's shape, or ``error_like``, a pattern for it
    has       headers of the answer; null says that it is absent
    save      names for values of the answer, by dotted path
    until     ask again until the answer is this one: something happens behind it
"""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml
from noetl_contract.json import Json
from noetl_testkit.waiting import wait_until

__all__ = ["FOLDER", "TOKEN", "Case", "Story", "load", "stories"]


TOKEN = "golden-token"
FOLDER = Path(__file__).parent / "cases"
KEYS = frozenset(
    {"name", "ask", "json", "text", "headers", "status", "body", "plain"}
    | {"error", "error_like", "detail", "has", "save", "until"}
)
# What others wrote keeps no order of keys in the database.
FREE = frozenset({"context", "result", "workload", "meta", "data", "payload", "layout"})
_NAMED = re.compile(r"\$\{(\w+)\}")
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3}|\.\d{6}|\.\d{9})?"
_WORDS = {
    "id": r"[1-9]\d{14,18}",
    "time": _TIME + "Z",
    "offset time": _TIME + r"\+00:00",
    "hex": "[0-9a-f]{64}",
    "base64": r"[A-Za-z0-9+/]+={0,2}",
    "date": r"\d{4}-\d\d-\d\d",
    "text": r"[\s\S]+",
    "duration": r"((\d+d )?(\d+h )?(\d+m )?\d+s|\d+ms)",
}
_PLACE = re.compile("<(" + "|".join(_WORDS) + ")>")


@dataclass(frozen=True)
class Case:
    """One request and its answer."""

    name: str
    ask: str
    status: int
    spec: dict[str, Json]

    @property
    def method(self) -> str:
        """The request's method."""
        return self.ask.partition(" ")[0]

    @property
    def path(self) -> str:
        """The request's path without its query, names still in it."""
        return self.ask.partition(" ")[2].partition("?")[0]


def load(path: Path) -> list[Case]:
    """Read a file of cases.

    Raises:
        ValueError: a case has a key that means nothing, or a name that was used before.
    """
    cases = []
    seen: set[str] = set()
    for spec in yaml.safe_load(path.read_text()):
        if unknown := set(spec) - KEYS:
            raise ValueError(f"{path.name}: {spec.get('name')}: unknown keys {sorted(unknown)}")
        if spec["name"] in seen:
            raise ValueError(f"{path.name}: {spec['name']} occurs twice")
        seen.add(spec["name"])
        cases.append(Case(spec["name"], spec["ask"], spec.get("status", 200), spec))
    return cases


def stories() -> list[Path]:
    """Return the files of cases."""
    return sorted(FOLDER.glob("*.yaml"))


@dataclass
class Story:
    """Asks one after the other, and remembers what was saved."""

    client: httpx.Client
    names: dict[str, str]

    def tell(self, case: Case) -> list[str]:
        """Ask, and return what is different from the case; empty when nothing is."""
        answer, found = self._compared(case)
        if found and case.spec.get("until"):

            def is_the_same() -> bool:
                nonlocal answer, found
                answer, found = self._compared(case)
                return not found

            with suppress(TimeoutError):
                wait_until(is_the_same)
        if not found:
            for name, place in case.spec.get("save", {}).items():
                self.names[name] = str(_at(answer.json(), place))
        return [*found, f"answer: {answer.status_code} {answer.text[:3000]}"] if found else []

    def _compared(self, case: Case) -> tuple[httpx.Response, list[str]]:
        answer = self._ask(case)
        return answer, list(self._differences(case, answer))

    def _filled(self, text: str) -> str:
        return _NAMED.sub(lambda match: self.names[match[1]], text)

    def _ask(self, case: Case) -> httpx.Response:
        headers: dict[str, str] = {}
        content: bytes | None = None
        if "json" in case.spec:
            content = self._filled(case.spec["json"]).encode()
            headers["content-type"] = "application/json"
        elif "text" in case.spec:
            content = self._filled(case.spec["text"]).encode()
        for name, value in case.spec.get("headers", {}).items():
            if value is None:
                headers.pop(name, None)
            else:
                headers[name] = self._filled(value)
        path = self._filled(case.ask.partition(" ")[2])
        request = self.client.build_request(case.method, path, content=content, headers=headers)
        return self.client.send(request)

    def _differences(self, case: Case, answer: httpx.Response) -> Iterator[str]:
        if answer.status_code != case.status:
            yield f"status {answer.status_code} instead of {case.status}"
            return
        for name, value in case.spec.get("has", {}).items():
            if answer.headers.get(name) != (self._filled(value) if value else value):
                yield f"header {name}: {answer.headers.get(name)!r} instead of {value!r}"
        if "plain" in case.spec:
            if not _fits(self._filled(case.spec["plain"]), answer.text):
                yield f"text {answer.text!r}"
            return
        wanted = self._wanted(case)
        if wanted is _NOTHING:
            return
        if case.method == "HEAD" or answer.headers.get("content-type") is None:
            yield f"no JSON: {answer.headers.get('content-type')}"
            return
        if not answer.headers["content-type"].startswith("application/json"):
            yield f"content type {answer.headers['content-type']}"
        got = answer.json()
        if json.dumps(got, separators=(",", ":"), ensure_ascii=False) != answer.text and not (
            _has_floats(got)
        ):
            yield "the text is not compact"
        yield from _compare("", wanted, got)

    def _wanted(self, case: Case) -> Json:
        spec = case.spec
        if "body" in spec:
            return json.loads(self._filled(spec["body"]))
        if "error" in spec or "error_like" in spec:
            text = self._filled(spec.get("error") or spec["error_like"])
            shown = text if "error" in spec else f"<like>{text}"
            detail = json.loads(self._filled(spec["detail"])) if "detail" in spec else shown
            return {"error": shown, "status": case.status, "detail": detail}
        return _NOTHING


_NOTHING: Json = object()


def _at(body: Json, place: str) -> Json:
    for word in place.split("."):
        body = body[int(word)] if isinstance(body, list) else body[word]
    return body


def _has_floats(value: Json) -> bool:
    match value:
        case float():
            return True
        case dict():
            return any(_has_floats(item) for item in value.values())
        case list():
            return any(_has_floats(item) for item in value)
        case _:
            return False


def _fits(pattern: str, text: str) -> bool:
    if pattern.startswith("<like>"):
        return re.fullmatch(pattern.removeprefix("<like>"), text, re.DOTALL) is not None
    pieces = _PLACE.split(pattern)
    built = "".join(
        f"(?:{_WORDS[piece]})" if index % 2 else re.escape(piece)
        for index, piece in enumerate(pieces)
    )
    return re.fullmatch(built, text) is not None


def _compare(where: str, wanted: Json, got: Json) -> Iterator[str]:
    match wanted:
        case "<any>":
            return
        case str():
            if not _is_kind(wanted, got):
                yield f"{where}: {got!r} instead of {wanted!r}"
        case dict():
            yield from _compare_objects(where, wanted, got)
        case list():
            yield from _compare_lists(where, wanted, got)
        case _:
            if type(wanted) is not type(got) or wanted != got:
                yield f"{where}: {got!r} instead of {wanted!r}"


def _is_kind(wanted: str, got: Json) -> bool:
    is_number = isinstance(got, int | float) and not isinstance(got, bool)
    match wanted:
        case "<int>":
            return isinstance(got, int) and is_number and got >= 0
        case "<big int>":
            return isinstance(got, int) and is_number and got >= 10**14
        case "<number>":
            return is_number and got >= 0
        case "<bool>":
            return isinstance(got, bool)
        case _:
            return isinstance(got, str) and _fits(wanted, got)


def _compare_lists(where: str, wanted: list[Json], got: Json) -> Iterator[str]:
    if not isinstance(got, list):
        yield f"{where}: {got!r} is no list"
        return
    if wanted[-1:] == ["<more>"]:
        wanted = wanted[:-1]
        got = got[: len(wanted)]
    if len(got) != len(wanted):
        yield f"{where}: {len(got)} items instead of {len(wanted)}"
    for index, (one, other) in enumerate(zip(wanted, got, strict=False)):
        yield from _compare(f"{where}[{index}]", one, other)


def _compare_objects(where: str, wanted: dict[str, Json], got: Json) -> Iterator[str]:
    if not isinstance(got, dict):
        yield f"{where}: {got!r} is no object"
        return
    if set(wanted) != set(got):
        missing, more = set(wanted) - set(got), set(got) - set(wanted)
        yield f"{where}: without {sorted(missing)}, with {sorted(more)}"
    elif list(wanted) != list(got) and not FREE & set(re.findall(r"\w+", where)):
        yield f"{where}: keys in the order {list(got)}"
    for key in wanted.keys() & got.keys():
        yield from _compare(f"{where}.{key}", wanted[key], got[key])
