"""Reading `--payload` and `--set` as the NoETL command line does."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from noetl_contract.json import Json, JsonObject

from noetl.stack.errors import StackError


def workload(payload: str | None, assignments: Sequence[str]) -> JsonObject:
    """One object from a JSON text and `key=value` words, the words winning.

    Values are JSON where they parse as JSON, else text; dots in keys nest. The JSON text may be
    in a file, `@FILE`, or come from standard input, `-`.

    Raises:
        StackError: the payload is not a JSON object, or a word has no `=`.
    """
    values = _payload(payload)
    for word in assignments:
        key, sign, text = word.partition("=")
        if not sign or not key:
            raise StackError(f"--set wants key=value, not {word!r}")
        *path, last = key.split(".")
        place = values
        for part in path:
            inner = place.get(part)
            if not isinstance(inner, dict):
                inner = place[part] = {}
            place = inner
        place[last] = _value(text)
    return values


def _payload(text: str | None) -> JsonObject:
    if text is None:
        return {}
    try:
        values = json.loads(_read(text))
    except ValueError as error:
        raise StackError(f"--payload is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise StackError("--payload must be a JSON object")
    return values


def _read(text: str) -> str:
    try:
        if text == "-":
            return sys.stdin.read()
        return Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(f"can't read --payload {text}: {error}") from error


def _value(text: str) -> Json:
    try:
        return json.loads(text)
    except ValueError:
        return text
