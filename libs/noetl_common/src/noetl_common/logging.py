"""Logs of this process and its libraries: JSON lines, or a readable form on a terminal."""

import json
import logging
import re
import sys
from typing import Any, cast

import orjson
import structlog
from noetl_contract.json import Json
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from noetl_common.settings import LogSettings
from noetl_common.telemetry.work import add_work

MASK = "***"
_SECRET_KEY = re.compile(
    r"passw|secret|token|authorization|credential|cookie|api_?key|private_?key|encryption_?key",
    re.IGNORECASE,
)
_URL_LOGIN = re.compile(r"(?<=://)[^/@\s:]*:[^/\s]+(?=@)")
_BEARER = re.compile(r"(?i)\b(bearer|basic) [A-Za-z0-9._~+/=-]{8,}")
_DEEPEST = 6


def configure(settings: LogSettings, service: str) -> None:
    """Set up logging for the process; call this once, before any other part is created."""
    pretty = settings.log_format == "pretty" or (
        settings.log_format == "auto" and sys.stdout.isatty()
    )
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    renderers = _pretty_renderers() if pretty else [_json_line]
    shared: list[Processor] = [
        add_work,
        structlog.processors.add_log_level,
        _service_adder(service),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        *([] if pretty else [structlog.processors.format_exc_info]),
        redact,
    ]
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    handler.addFilter(_outage_in_one_line)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.INFO))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "nats"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    # One line per request would mostly be health probes.
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
    # One line per call would contain the whole address, with values that playbooks put into it.
    logging.getLogger("httpx").setLevel(logging.WARNING)


def get_logger(**context: Any) -> FilteringBoundLogger:
    """Return a logger; pass a short constant as the event, and values as fields."""
    return cast("FilteringBoundLogger", structlog.get_logger(**context))


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Mask values by the names of their keys, and logins and bearer tokens inside texts."""
    return cast("EventDict", masked(event))


def masked(value: Json, *, depth: int = 0) -> Json:
    """Return a copy of a JSON-like value without its secrets."""
    if isinstance(value, str):
        return _BEARER.sub(rf"\1 {MASK}", _URL_LOGIN.sub(MASK, value))
    if depth >= _DEEPEST:
        return value
    if isinstance(value, dict):
        return {
            key: MASK
            if isinstance(key, str) and item and _SECRET_KEY.search(key)
            else masked(item, depth=depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [masked(item, depth=depth + 1) for item in value]
    return value


def _outage_in_one_line(record: logging.LogRecord) -> bool:
    """Replace the traceback of a failed reconnect of the database pool by its error."""
    error = record.exc_info[1] if record.exc_info else None
    if error is not None and record.name.startswith("asyncpg") and record.levelno < logging.ERROR:
        record.msg, record.args = f"{record.getMessage()}: {error!r}", ()
        record.exc_info = None
    return True


def _service_adder(service: str) -> Processor:
    def add_service(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    return add_service


def _pretty_renderers() -> list[Processor]:
    # The default renderer shows the variables of each frame: it is slow and shows secrets.
    return [
        structlog.dev.ConsoleRenderer(
            event_key="event",
            timestamp_key="ts",
            exception_formatter=structlog.dev.plain_traceback,
        )
    ]


def _json_line(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    event["msg"] = event.pop("event", "")
    try:
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except orjson.JSONEncodeError:  # integers beyond 64 bits, or text that is not valid UTF-8
        line = json.dumps(event, default=str, skipkeys=True, ensure_ascii=False)
        return line.encode(errors="replace").decode()
