"""The configuration of the kinds that no worker runs: `wait` and `sleep`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import orjson
from noetl_contract.json import Json
from noetl_contract.tools import TOOLS
from noetl_contract.waits.form import BadForm, read_form
from noetl_contract.waits.times import LONGEST_SECONDS, moment_of, seconds_of

WAIT: Final = "wait"
SLEEP: Final = "sleep"
WAIT_KINDS: Final = frozenset({WAIT, SLEEP})
"""Kinds that the engine decides itself, without a command."""

MOST_REMINDERS: Final = 100
_SHORTEST_PAUSE: Final = 1.0
_FORM_BYTES: Final = 32_768
_SIGNAL: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}", re.ASCII)
_ENDINGS: Final = ("fail", "continue")
_COMMON: Final = frozenset({"kind", "name", "desc"})


class BadWait(ValueError):
    """A configuration that can't be waited by; the text begins with the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitConfig:
    """Configuration of a step that waits for a signal or a time.

    Attributes:
        kind: ``wait`` or ``sleep``.
        signal: Name of the signal; empty for a sleep.
        title: What people are asked, in a line.
        description: The same at length.
        form: Fields of the payload, as written.
        seconds: How long at most, counted from its beginning.
        until: When a sleep ends, in place of the seconds.
        on_timeout: ``fail`` or ``continue``.
        remind_after: Seconds until the first reminder.
        remind_every: Seconds between further ones, 0 for none.
    """

    kind: str
    signal: str = ""
    title: str = ""
    description: str = ""
    form: Json = None
    seconds: float = LONGEST_SECONDS
    until: datetime | None = None
    on_timeout: str = "fail"
    remind_after: float | None = None
    remind_every: float = 0.0


def is_template(value: Json) -> bool:
    """Return whether a value, or one inside it, is known only when it is rendered."""
    if isinstance(value, dict):
        return any(is_template(key) or is_template(inner) for key, inner in value.items())
    if isinstance(value, list):
        return any(is_template(item) for item in value)
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def read_wait(kind: str, config: Mapping[str, Json]) -> WaitConfig:
    """Read a rendered configuration.

    Raises:
        BadWait: Something is missing or wrong.
    """
    given = {key: value for key, value in config.items() if value is not None}
    known = TOOLS[kind].names
    strange = sorted(given.keys() - known - _COMMON)
    if strange:
        raise BadWait(
            f"{strange[0][:50]}: kind {kind} has no such key, only {', '.join(sorted(known))}"
        )
    return _sleep(given) if kind == SLEEP else _wait(given)


def check_written(kind: str, config: Mapping[str, Json]) -> None:
    """Check a configuration as it is written, templates in it left out.

    Raises:
        BadWait: Something is missing or wrong.
    """
    known = {key: value for key, value in config.items() if not is_template(value)}
    stand_ins = {"signal": "rendered", "duration": 1, "until": "2030-01-01"}
    for key in config.keys() - known.keys():
        if key in stand_ins:
            known[key] = stand_ins[key]
    read_wait(kind, known)


def _sleep(given: Mapping[str, Json]) -> WaitConfig:
    if ("duration" in given) == ("until" in given):
        raise BadWait("sleep needs either duration or until")
    if "until" in given:
        try:
            return WaitConfig(kind=SLEEP, until=moment_of(given["until"]))
        except ValueError as error:
            raise BadWait(f"until: {error}") from error
    return WaitConfig(kind=SLEEP, seconds=_seconds(given, "duration"))


def _wait(given: Mapping[str, Json]) -> WaitConfig:
    signal = given.get("signal")
    if not isinstance(signal, str) or not _SIGNAL.fullmatch(signal):
        raise BadWait(
            "signal: it must be a name of at most 128 letters, digits, '_', '.', ':' and '-'"
        )
    ending = given.get("on_timeout", "fail")
    if ending not in _ENDINGS:
        raise BadWait(f"on_timeout: '{str(ending)[:50]}' is neither fail nor continue")
    form = given.get("form")
    try:
        read_form(form)
    except BadForm as error:
        raise BadWait(str(error)) from error
    if form is not None and len(orjson.dumps(form)) > _FORM_BYTES:
        raise BadWait(f"form: it is larger than {_FORM_BYTES} bytes")
    every = _pause(given, "remind_every")
    return WaitConfig(
        kind=WAIT,
        signal=signal,
        title=_text(given, "title"),
        description=_text(given, "description"),
        form=form,
        seconds=_seconds(given, "timeout") if "timeout" in given else LONGEST_SECONDS,
        on_timeout=ending,
        remind_after=_pause(given, "remind_after") or every,
        remind_every=every or 0.0,
    )


def _seconds(given: Mapping[str, Json], key: str) -> float:
    try:
        return seconds_of(given[key])
    except ValueError as error:
        raise BadWait(f"{key}: {error}") from error


def _pause(given: Mapping[str, Json], key: str) -> float | None:
    if key not in given:
        return None
    seconds = _seconds(given, key)
    if seconds < _SHORTEST_PAUSE:
        raise BadWait(f"{key}: it must be at least a second")
    return seconds


def _text(given: Mapping[str, Json], key: str) -> str:
    value = given.get(key, "")
    text = value if isinstance(value, str) else str(value)
    if len(text) > _FORM_BYTES:
        raise BadWait(f"{key}: it is longer than {_FORM_BYTES} characters")
    return text
