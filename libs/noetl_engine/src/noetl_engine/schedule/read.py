"""Read a schedule's document, and report everything that is wrong with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import orjson

from noetl_engine.playbook.errors import DecodeError
from noetl_engine.playbook.levels import Level
from noetl_engine.playbook.lint import Finding, Severity
from noetl_engine.playbook.lint.finding import finding_at, finding_at_key
from noetl_engine.playbook.lint.guess import Guesser
from noetl_engine.playbook.lint.refusals import refusal_findings
from noetl_engine.playbook.lint.source import Source
from noetl_engine.playbook.model import Value
from noetl_engine.playbook.yaml import MapNode, Node, Scalar, compose, is_null, to_json
from noetl_engine.schedule.durations import whole_seconds
from noetl_engine.schedule.keys import DOCUMENT, LEVELS, SPEC
from noetl_engine.schedule.model import (
    DEFAULT_CATCH_UP_SECONDS,
    UTC_ZONE,
    Overlap,
    Schedule,
)
from noetl_engine.schedule.payload import LARGEST_PAYLOAD_BYTES, payload_problems
from noetl_engine.schedule.times import Times, cron_problem, zone_of

KIND: Final = "schedule"
_RULE: Final = "schedule"
_MOST_PROBLEMS: Final = 20
_LAST_VERSION: Final = 32_767
_LONGEST_JITTER: Final = 86_400
_SHOWN: Final = 60


@dataclass(slots=True)
class _Reading:
    """A document on its way to a schedule, with the findings on the way."""

    findings: list[Finding] = field(default_factory=list)
    guess: Guesser = field(default_factory=Guesser)

    def wrong(self, node: Node, path: str, message: str, *, hint: str | None = None) -> None:
        """Note a problem that makes the document unusable."""
        self.findings.append(
            finding_at(node, path, _RULE, message, severity=Severity.ERROR, hint=hint)
        )


def read_schedule(text: str) -> tuple[Schedule | None, list[Finding]]:
    """Return the schedule of a document, and all findings in the order of the text.

    The schedule is None exactly where a finding is an error.
    """
    source = Source(text)
    try:
        root = compose(text)
    except DecodeError as error:
        found = refusal_findings([error.problem], None, source, Guesser())
        return None, list(found)
    reading = _Reading()
    schedule = _document(root, reading)
    findings = sorted(reading.findings, key=lambda one: (one.line, one.column))
    if any(one.severity is Severity.ERROR for one in findings):
        return None, findings
    return schedule, findings


def _document(root: Node, reading: _Reading) -> Schedule | None:
    if not isinstance(root, MapNode):
        reading.wrong(root, "", "the document is no mapping")
        return None
    _keys(root, DOCUMENT, "", reading)
    kind = root.entries.get("kind")
    if kind is not None and str(to_json(kind)).lower() != KIND:
        reading.wrong(kind, "kind", "'kind' has to be Schedule")
    metadata = root.entries.get("metadata")
    if isinstance(metadata, MapNode):
        _keys(metadata, LEVELS["Metadata"], "metadata", reading)
    elif metadata is not None:
        reading.wrong(metadata, "metadata", "'metadata' is no mapping")
    spec = root.entries.get("spec")
    if not isinstance(spec, MapNode):
        if spec is not None:
            reading.wrong(spec, "spec", "'spec' is no mapping")
        return None
    _keys(spec, SPEC, "spec", reading)
    return _spec(spec, reading)


def _keys(node: MapNode, level: Level, path: str, reading: _Reading) -> None:
    """Note missing and unknown keys of a mapping."""
    for name, key in level.keys.items():
        # The version of the language is said by custom, and the name by the path.
        is_optional = name in {"apiVersion", "name"}
        if key.is_required and not is_optional and is_null(node.entries.get(name) or _NOTHING):
            what = f"'{path}.{name}'" if path else f"'{name}'"
            reading.wrong(node, path, f"{what} is missing", hint=key.doc)
    if level.is_open:
        return
    for name in node.entries:
        if name not in level.keys:
            advice = reading.guess(name, level.keys)
            message = f"unknown key '{name[:_SHOWN]}' has no effect{advice}"
            reading.findings.append(finding_at_key(node, name, path, "unknown-key", message))


def _spec(spec: MapNode, reading: _Reading) -> Schedule | None:
    zone_name = _text(spec, "timezone", reading) or UTC_ZONE
    if zone_of(zone_name) is None:
        node = spec.entries["timezone"]
        reading.wrong(
            node,
            "spec.timezone",
            f"no time zone is named '{zone_name[:_SHOWN]}'",
            hint="write an IANA name, such as Europe/Berlin",
        )
        zone_name = UTC_ZONE
    cron, interval = _times(spec, reading)
    start = _moment(spec, "start", zone_name, reading)
    end = _moment(spec, "end", zone_name, reading)
    schedule = Schedule(
        playbook=_text(spec, "playbook", reading) or "",
        version=_version(spec, reading),
        cron=cron,
        interval_seconds=interval,
        timezone=zone_name,
        overlap=_overlap(spec, reading),
        catch_up_seconds=_seconds(spec, "catch_up", reading, DEFAULT_CATCH_UP_SECONDS),
        jitter_seconds=_jitter(spec, interval, reading),
        payload=_payload(spec, reading),
        start=start,
        end=end,
        is_paused=_flag(spec, "paused", reading),
    )
    if any(one.severity is Severity.ERROR for one in reading.findings):
        return None
    if start is not None and end is not None and end <= start:
        reading.wrong(spec.entries["end"], "spec.end", "'end' is not after 'start'")
    elif Times(schedule).next_after(start or _LONG_AGO) is None:
        reading.wrong(spec, "spec", "the schedule has no time between its 'start' and 'end'")
    return schedule


def _times(spec: MapNode, reading: _Reading) -> tuple[str | None, int | None]:
    cron, interval = spec.entries.get("cron"), spec.entries.get("interval")
    has_cron, has_interval = not is_null(cron or _NOTHING), not is_null(interval or _NOTHING)
    if has_cron == has_interval:
        mistake = "both 'cron' and 'interval' are given" if has_cron else "neither is given"
        reading.wrong(spec, "spec", f"a schedule needs one of 'cron' and 'interval': {mistake}")
        return None, None
    if has_interval:
        seconds = _seconds(spec, "interval", reading, 0)
        if interval is not None and seconds == 0 and whole_seconds(to_json(interval)) == 0:
            reading.wrong(interval, "spec.interval", "'interval' has to be a second at least")
        return None, seconds
    text = _text(spec, "cron", reading)
    if cron is not None and text is not None and (problem := cron_problem(text)) is not None:
        message = f"'{text[:_SHOWN]}' is no cron expression: {problem}"
        reading.wrong(cron, "spec.cron", message, hint="such as '30 2 * * 1-5' or '@daily'")
        return None, None
    return text, None


def _jitter(spec: MapNode, interval: int | None, reading: _Reading) -> int:
    seconds = _seconds(spec, "jitter", reading, 0)
    longest = min(interval or _LONGEST_JITTER, _LONGEST_JITTER)
    if seconds > longest:
        what = "the interval" if interval and interval < _LONGEST_JITTER else "a day"
        reading.wrong(spec.entries["jitter"], "spec.jitter", f"'jitter' is longer than {what}")
    return seconds


def _seconds(spec: MapNode, name: str, reading: _Reading, default: int) -> int:
    node = spec.entries.get(name)
    if node is None or is_null(node):
        return default
    seconds = whole_seconds(to_json(node))
    if seconds is None:
        hint = "write whole seconds, or 30s, 15m, 1h30m, 2d; a year at most"
        reading.wrong(node, f"spec.{name}", f"'{name}' is no duration", hint=hint)
        return default
    return seconds


def _version(spec: MapNode, reading: _Reading) -> int | None:
    node = spec.entries.get("version")
    value = None if node is None else to_json(node)
    if node is None or value is None or value == "latest":
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LAST_VERSION:
        return value
    reading.wrong(node, "spec.version", "'version' is neither a version number nor 'latest'")
    return None


def _overlap(spec: MapNode, reading: _Reading) -> Overlap:
    node = spec.entries.get("overlap")
    word = None if node is None else to_json(node)
    if node is None or word is None:
        return Overlap.SKIP
    try:
        return Overlap(str(word))
    except ValueError:
        words = ", ".join(Overlap)
        reading.wrong(
            node, "spec.overlap", f"'overlap' is '{str(word)[:_SHOWN]}', not one of {words}"
        )
        return Overlap.SKIP


def _payload(spec: MapNode, reading: _Reading) -> Mapping[str, Value]:
    node = spec.entries.get("payload")
    payload = None if node is None else to_json(node)
    if node is None or payload is None:
        return {}
    if not isinstance(payload, dict) or not isinstance(node, MapNode):
        reading.wrong(node, "spec.payload", "'payload' is no mapping")
        return {}
    size = len(orjson.dumps(payload))
    if size > LARGEST_PAYLOAD_BYTES:
        message = f"'payload' has {size} bytes, the limit is {LARGEST_PAYLOAD_BYTES}"
        reading.wrong(node, "spec.payload", message)
        return {}
    for name, value in node.entries.items():
        for problem in payload_problems(to_json(value)):
            if len(reading.findings) < _MOST_PROBLEMS:
                reading.wrong(value, f"spec.payload.{name[:_SHOWN]}", problem)
    return payload


def _moment(spec: MapNode, name: str, zone_name: str, reading: _Reading) -> datetime | None:
    node = spec.entries.get(name)
    value = None if node is None else to_json(node)
    if node is None or value is None:
        return None
    try:
        moment = datetime.fromisoformat(str(value).strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone_of(zone_name))
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        hint = "such as 2026-01-31 or 2026-01-31T08:00:00+01:00"
        reading.wrong(node, f"spec.{name}", f"'{name}' is no moment", hint=hint)
        return None


def _text(spec: MapNode, name: str, reading: _Reading) -> str | None:
    node = spec.entries.get(name)
    value = None if node is None else to_json(node)
    if node is None or value is None:
        return None
    if isinstance(value, str) and value.strip():
        return value.strip()
    reading.wrong(node, f"spec.{name}", f"'{name}' is no text")
    return None


def _flag(spec: MapNode, name: str, reading: _Reading) -> bool | None:
    node = spec.entries.get(name)
    value = None if node is None else to_json(node)
    if node is None or value is None or isinstance(value, bool):
        return value if isinstance(value, bool) else None
    reading.wrong(node, f"spec.{name}", f"'{name}' is neither true nor false")
    return None


_NOTHING: Final = Scalar(line=1, column=1, text="", value=None)
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
